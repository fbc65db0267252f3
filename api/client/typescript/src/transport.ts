import { AnswerError, NetworkError, type BudgetLeft, type ErrorCode, type Fault, type State } from './errors.js';
import { signRequest } from './sign.js';

/** Pauses between attempts, in milliseconds: ten attempts take about two minutes. */
const firstPause = 500;
export const lastPause = 30_000;
/** What is believed of a Retry-After. */
const maxRetryAfter = 300_000;
const maxErrorBody = 1 << 20;
/** A page of 200 rows of 1 MiB. */
const maxBody = 256 << 20;

/** Each twice the one before, up to a bound, and a half more or less by chance. */
export class Pauses {
  #next = firstPause;

  reset(): void {
    this.#next = firstPause;
  }

  next(): number {
    const pause = this.#next * (0.5 + Math.random());
    this.#next = Math.min(this.#next * 2, lastPause);
    return pause;
  }
}

/** Waits, or rejects with the signal's reason when that is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/** Aborts what stands still: touch puts it off. It is aborted with the caller's signal too. */
export class Watchdog {
  readonly #controller = new AbortController();
  readonly #after: number;
  readonly #outer: AbortSignal | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(after: number, outer: AbortSignal | undefined) {
    this.#after = after;
    this.#outer = outer;
    outer?.addEventListener('abort', this.#abort, { once: true });
    if (outer?.aborted) this.#abort();
    this.touch();
  }

  readonly #abort = (): void => this.#controller.abort(this.#outer?.reason);

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  touch(): void {
    this.pause();
    this.#timer = setTimeout(() => this.#controller.abort(new Error('it stands still')), this.#after);
  }

  /** Lets it stand still until touch. */
  pause(): void {
    clearTimeout(this.#timer);
  }

  stop(): void {
    this.pause();
    this.#outer?.removeEventListener('abort', this.#abort);
  }
}

/** An answer that was read to its end. */
export interface Answer {
  status: number;
  headers: Headers;
  body: string;
}

export interface TransportOptions {
  key: string;
  secret: string;
  version: 1 | 2;
  userAgent: string;
  attempts: number;
  answerWithin: number;
  now: () => Date;
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export interface Sent {
  headers?: Record<string, string>;
  body?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** Signs and sends requests, again where that is safe, and makes errors of error answers. */
export class Transport {
  constructor(readonly options: TransportOptions) {}

  /** Only requests that may be repeated are: of POST, those that cancel. */
  async send(method: string, url: string, sent: Sent): Promise<Answer> {
    const path = url.split('?', 1)[0]!;
    const repeatable = method === 'GET' || method === 'DELETE' || path.endsWith('/cancel');
    const pauses = new Pauses();
    for (let attempt = 1; ; attempt++) {
      let wait = 0;
      let error: AnswerError | NetworkError;
      try {
        const answer = await this.#once(method, url, sent);
        if (answer.status < 400) return answer;
        const refusal = errorOf(answer, this.options.now());
        if (!refusal.temporary) throw refusal;
        wait = Math.min(refusal.retryAfter * 1000, maxRetryAfter);
        error = refusal;
      } catch (e) {
        if (e instanceof AnswerError) throw e;
        sent.signal?.throwIfAborted();
        error = new NetworkError(`${method} ${path}: ${reasonOf(e)}`, { cause: e });
      }
      if (!repeatable || attempt >= this.options.attempts) throw error;
      await this.options.sleep(Math.max(pauses.next(), wait), sent.signal);
    }
  }

  async #once(method: string, url: string, sent: Sent): Promise<Answer> {
    const { key, secret, version, userAgent, now } = this.options;
    const signed = await signRequest(key, secret, now(), version, { method, url, body: sent.body });
    const watchdog = new Watchdog(this.options.answerWithin, sent.signal);
    try {
      const response = await fetch(url, {
        method,
        // Browsers say themselves who they are.
        headers: { 'user-agent': userAgent, ...sent.headers, ...signed },
        body: sent.body ?? null,
        redirect: 'manual', // its target must not see signed headers
        signal: watchdog.signal,
      });
      watchdog.touch();
      return { status: response.status, headers: response.headers, body: await read(response, watchdog) };
    } finally {
      watchdog.stop();
    }
  }
}

/** All of a body: one that breaks off, or has no end, is an error. */
async function read(response: Response, watchdog: Watchdog): Promise<string> {
  if (!response.body) return '';
  const bound = response.status < 400 ? maxBody : maxErrorBody;
  const decoder = new TextDecoder();
  let [text, size] = ['', 0];
  for await (const chunk of chunks(response.body)) {
    watchdog.touch();
    size += chunk.length;
    if (size > bound) {
      if (response.status >= 400) return text; // enough to tell
      throw new Error(`the answer has more than ${bound} bytes`);
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** The chunks of a stream; not all browsers can iterate one. */
export async function* chunks(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (let r = await reader.read(); !r.done; r = await reader.read()) yield r.value;
  } finally {
    reader.cancel().catch(() => undefined); // also of one that has failed, which says so
  }
}

/** Why a connection failed, without the URL that was asked for. */
export function reasonOf(e: unknown): string {
  const cause = e instanceof Error && e.cause instanceof Error ? e.cause : e;
  if (!(cause instanceof Error)) return String(cause);
  const code = (cause as { code?: unknown }).code;
  return typeof code === 'string' ? code : cause.message;
}

/** Both forms of a Retry-After in seconds; a date is by the clock of who answered. 0 if there is none. */
export function retryAfterOf(headers: Headers, now: Date): number {
  const text = (headers.get('retry-after') ?? '').trim();
  if (/^\d+$/.test(text)) return Number(text);
  const at = Date.parse(text);
  if (Number.isNaN(at) || !/GMT$/.test(text)) return 0;
  const theirs = Date.parse(headers.get('date') ?? '');
  return Math.max(0, (at - (Number.isNaN(theirs) ? now.getTime() : theirs)) / 1000);
}

/** The job's id out of /exports/{jobId}. */
export function jobIdIn(path: string | null): string | undefined {
  return path?.startsWith('/exports/') ? path.slice('/exports/'.length) : undefined;
}

function errorOf(answer: Answer, now: Date): AnswerError {
  let fields: { message?: string; error?: Fault[]; code?: ErrorCode; retryable?: boolean; state?: State; runningJobIds?: string[]; budget?: BudgetLeft } | null = null;
  try {
    fields = JSON.parse(answer.body);
  } catch {
    // a proxy's, most likely
  }
  if (!fields?.message && !fields?.error?.length) fields = { message: 'not an answer of exportd' };
  return new AnswerError(answer.status, {
    message: fields.message ?? '',
    faults: fields.error ?? [],
    code: fields.code,
    retryable: fields.retryable ?? false,
    state: fields.state,
    runningJobIds: fields.runningJobIds ?? [],
    budget: fields.budget,
    requestId: answer.headers.get('x-request-id') || undefined,
    retryAfter: retryAfterOf(answer.headers, now),
    jobId: jobIdIn(answer.headers.get('location')),
  });
}
