import { Download, type DownloadHost, type DownloadOptions } from './download.js';
import { ExportdError, FailedError, type Job } from './errors.js';
import type { components, paths } from './openapi.js';
import { Transport, jobIdIn, lastPause, retryAfterOf, sleep, type Answer, type Sent } from './transport.js';

export type Quote = components['schemas']['Quote'];
export type Manifest = components['schemas']['Manifest'];
/** A stretch of a file, of Manifest.parts. */
export type FilePart = components['schemas']['FilePart'];
export type User = components['schemas']['User'];
export type Message = components['schemas']['Message'];

/** Rows of the datasets that are built in; others are what the installation says. */
export interface Rows {
  'vip-users': User;
  'vip-messages': Message;
}

type Value = string | number | boolean | undefined;
export type Params = Record<string, Value>;

type ExportQuery<Path extends '/vip-users/export' | '/vip-messages/export'> = Partial<NonNullable<paths[Path]['get']['parameters']['query']>>;

/** What an export route takes: what is known of it, and parameters of any other name. */
export type ExportParams = Partial<Omit<ExportQuery<'/vip-users/export'> & ExportQuery<'/vip-messages/export'>, 'dryRun'>> & Params;

/** What to export. */
export interface ExportRequest {
  /** A dataset, like "vip-users". */
  kind: keyof Rows | (string & {});
  params?: ExportParams;
  /** Asks for a new export where a job in flight or a result of the last minute would do. */
  fresh?: boolean;
  /** Gives the same job for 24 h. */
  idempotencyKey?: string;
  /** What is to become of the export, with a sandbox key. */
  testScenario?: components['schemas']['TestScenario'];
}

export interface Waiting {
  signal?: AbortSignal | undefined;
  /** Gets the job about once a second while it is under way, and when it has ended. */
  onProgress?: ((job: Job) => void) | undefined;
}

export interface ClientOptions {
  /** Where the API is, like https://exportd.example.com. */
  baseUrl: string;
  /** The id of an API key, and its secret. */
  key: string;
  secret: string;
  /** Allows plain http to hosts other than this one. */
  plainHttp?: boolean;
  /** 1 if left out. Version 2 binds a signature to one request; a key may require it. */
  signatureVersion?: 1 | 2;
  userAgent?: string;
  /**
   * How often one request is sent when the service cannot be reached or asks to come again: 10 if left out,
   * which lasts for about two minutes of an outage. 1 does not try again.
   */
  attempts?: number;
  /** Milliseconds within which an answer must begin and go on: 45,000; the service holds requests for 25,000. */
  answerWithin?: number;
  /** Milliseconds for which a download may stand still before it is taken up anew: 30,000. */
  stallAfter?: number;
  now?: () => Date;
  sleep?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/** How many seconds the service holds a request at most. */
const longWait = 25;

/** Talks to exportd. It signs with WebCrypto and asks by fetch: Node 20 or newer, and browsers. */
export class Client {
  readonly #base: string;
  readonly #transport: Transport;
  readonly #files: DownloadHost;

  constructor(options: ClientOptions) {
    const { baseUrl, key, secret, signatureVersion: version = 1, attempts = 10 } = options;
    const url = URL.canParse(baseUrl) ? new URL(baseUrl) : undefined;
    if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search) {
      throw new TypeError('baseUrl is not an http or https URL without user and query');
    }
    if (url.protocol === 'http:' && !options.plainHttp && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)) {
      throw new TypeError('baseUrl is not https, so that others could read along: set plainHttp if that is all right');
    }
    if (!key || !secret) throw new TypeError('key and secret are required');
    if (version !== 1 && version !== 2) throw new TypeError('signatureVersion is neither 1 nor 2');
    if (!(attempts >= 1)) throw new TypeError('attempts is less than 1');
    this.#base = baseUrl.replace(/\/+$/, '');
    const wait = options.sleep ?? sleep;
    this.#transport = new Transport({
      key,
      secret,
      version,
      attempts,
      userAgent: options.userAgent ?? 'exportd-client-typescript',
      answerWithin: options.answerWithin ?? 45_000,
      now: options.now ?? ((): Date => new Date()),
      sleep: wait,
    });
    this.#files = { getJob: (id, o) => this.getJob(id, o), attempts, stallAfter: options.stallAfter ?? 30_000, sleep: wait };
  }

  /**
   * Runs an export and waits until its file is there, however long that takes: bound it with a signal. A
   * program that is started again and asks for the same attaches to the same job, unless it is fresh.
   */
  async export(request: ExportRequest, waiting: Waiting = {}): Promise<Result> {
    return this.resultOf(await this.wait(await this.#submit(request, waiting.signal), waiting));
  }

  /** Starts an export, or attaches to the job that an equal request started, and does not wait for it. */
  async submit(request: ExportRequest, options: { signal?: AbortSignal } = {}): Promise<Job> {
    return this.getJob(await this.#submit(request, options.signal), options);
  }

  async #submit(request: ExportRequest, signal: AbortSignal | undefined): Promise<string> {
    // An attempt whose answer was lost must not start another job.
    const idempotencyKey = request.idempotencyKey ?? (request.fresh ? crypto.randomUUID() : undefined);
    const answer = await this.#send('GET', `${dataset(request.kind)}/export`, request.params, {
      headers: {
        prefer: 'respond-async',
        ...(request.fresh && { 'cache-control': 'no-cache' }),
        ...(idempotencyKey && { 'idempotency-key': idempotencyKey }),
        ...(request.testScenario && { 'export-test-scenario': request.testScenario }),
      },
      signal,
    });
    const jobId = jobIdIn(answer.headers.get(answer.status === 200 ? 'content-location' : 'location'));
    if (!jobId) throw new ExportdError('the answer names no job');
    return jobId;
  }

  /** Waits until a job has ended and gives it, whatever became of it: resultOf tells. */
  async wait(jobId: string, waiting: Waiting = {}): Promise<Job> {
    const seconds = waiting.onProgress ? 1 : longWait;
    for (;;) {
      const asked = this.#transport.options.now();
      const { job, after } = await this.#poll(jobId, seconds, waiting.signal);
      waiting.onProgress?.(job);
      if (job.state !== 'queued' && job.state !== 'running') return job;
      // A service that could not hold the request has said when to come again.
      const held = Math.max(0, this.#transport.options.now().getTime() - asked.getTime());
      if (held < seconds * 1000) {
        const pause = Math.max(1000, Math.min(after * 1000, lastPause));
        await this.#files.sleep(pause - Math.min(held, 1000), waiting.signal);
      }
    }
  }

  /** A job as it is now. */
  async getJob(jobId: string, options: { signal?: AbortSignal | undefined } = {}): Promise<Job> {
    return (await this.#poll(jobId, 0, options.signal)).job;
  }

  async #poll(jobId: string, seconds: number, signal: AbortSignal | undefined): Promise<{ job: Job; after: number }> {
    try {
      const answer = await this.#send('GET', path(jobId), {}, { headers: { prefer: `wait=${seconds}` }, signal });
      return { job: objectOf<Job>(answer), after: retryAfterOf(answer.headers, this.#transport.options.now()) };
    } catch (e) {
      if (e instanceof ExportdError) e.jobId = jobId;
      throw e;
    }
  }

  /** The Result of a job that has succeeded; throws FailedError for any other. */
  resultOf(job: Job): Result {
    if (job.state !== 'succeeded' || job.totalCount === null) throw new FailedError(job);
    return { totalCount: job.totalCount, job };
  }

  /** Ends a job that has not ended. */
  async cancel(jobId: string, reason?: string): Promise<Job> {
    return objectOf(await this.#send('POST', `${path(jobId)}/cancel`, {}, { body: JSON.stringify({ reason }) }));
  }

  /** Ends a job and erases its file. */
  async delete(jobId: string, reason?: string): Promise<void> {
    await this.#send('DELETE', path(jobId), {}, { body: JSON.stringify({ reason }) });
  }

  /** What an export would come to; starts none. */
  async quote(request: Pick<ExportRequest, 'kind' | 'params'>, options: { signal?: AbortSignal } = {}): Promise<Quote> {
    const params = { ...request.params, dryRun: true };
    const sent = { headers: { prefer: 'respond-async' }, signal: options.signal };
    const answer = await this.#send('GET', `${dataset(request.kind)}/export`, params, sent);
    const quote = objectOf<Quote>(answer);
    // A service that has no such parameter, or is something else.
    if (!quote.dryRun) throw new ExportdError(`answer ${answer.status} is no quote`);
    return quote;
  }

  /** What is in the file of a succeeded job: columns with types, how it is written, and what proves it. */
  async manifest(jobId: string, options: { signal?: AbortSignal } = {}): Promise<Manifest> {
    return objectOf(await this.#send('GET', `${path(jobId)}/manifest`, {}, options));
  }

  /**
   * The bytes of a succeeded job's file. It goes on where it was when the connection breaks; CorruptError
   * comes behind the last byte.
   */
  download(job: Job, options: DownloadOptions = {}): AsyncIterable<Uint8Array> {
    return this.openDownload(job, options).bytes();
  }

  /** A download that can be taken up: for saving it. */
  openDownload(job: Job, options: DownloadOptions = {}): Download {
    return new Download(this.#files, job, options);
  }

  /** All rows of a dataset, page by page; params may have the limit of each. */
  rows<Kind extends keyof Rows>(kind: Kind, params?: Params, options?: { signal?: AbortSignal }): AsyncGenerator<Rows[Kind]>;
  rows(kind: string, params?: Params, options?: { signal?: AbortSignal }): AsyncGenerator<Record<string, unknown>>;
  async *rows(kind: string, params: Params = {}, options: { signal?: AbortSignal } = {}): AsyncGenerator<unknown> {
    const cursor = kind === 'vip-messages' ? 'before' : 'cursor';
    for (let query = params; ; ) {
      const page = objectOf<Record<string, unknown>>(await this.#send('GET', dataset(kind), query, options));
      // The one array, which datasets name.
      for (const value of Object.values(page)) if (Array.isArray(value)) yield* value;
      if (typeof page['nextCursor'] === 'string') query = { ...query, [cursor]: page['nextCursor'] };
      else if (typeof page['nextOffset'] === 'number') query = { ...query, offset: page['nextOffset'] };
      else return;
    }
  }

  /** The org's jobs, the newest first, page by page; params may have state, kind and pageSize. */
  async *jobs(params: Params = {}, options: { signal?: AbortSignal } = {}): AsyncGenerator<Job> {
    for (let query = params; ; ) {
      const answer = await this.#send('GET', '/exports', query, options);
      const page = objectOf<{ jobs: Job[]; nextPageToken: string | null }>(answer);
      yield* page.jobs;
      if (page.nextPageToken === null) return;
      query = { ...query, pageToken: page.nextPageToken };
    }
  }

  /** Calls any GET route of openapi.yaml, with the types that it has there. */
  async get<Path extends GetPath>(route: Path, params: Params = {}, options: { signal?: AbortSignal } = {}): Promise<GetAnswer<Path>> {
    return JSON.parse((await this.#send('GET', route, params, options)).body);
  }

  /** Calls any route: what it answers, decoded; undefined if that is empty. */
  async request(method: string, route: string, params: Params = {}, body?: unknown): Promise<unknown> {
    const answer = await this.#send(method, route, params, { body: body === undefined ? undefined : JSON.stringify(body) });
    return answer.body === '' ? undefined : JSON.parse(answer.body);
  }

  #send(method: string, route: string, params: Params | undefined, sent: Sent): Promise<Answer> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(params ?? {})) if (value !== undefined) query.set(name, String(value));
    const url = this.#base + route + (query.size > 0 ? `?${query}` : '');
    const type = sent.body === undefined ? {} : { 'content-type': 'application/json' };
    return this.#transport.send(method, url, { ...sent, headers: { ...type, ...sent.headers } });
  }
}

/** A finished export. */
export interface Result {
  /** The number of rows. */
  totalCount: number;
  /** Everything else about it. */
  job: Job;
}

type Json<T> = T extends { content: { 'application/json': infer Body } } ? Body : never;
/** Paths of GET routes that answer with JSON and have nothing to fill in. */
export type GetPath = {
  [P in keyof paths]: P extends `${string}{${string}` ? never : paths[P] extends { get: { responses: { 200: { content: { 'application/json': unknown } } } } } ? P : never;
}[keyof paths];
type GetAnswer<P extends GetPath> = paths[P] extends { get: { responses: { 200: infer Answer } } } ? Json<Answer> : never;

function objectOf<T>(answer: Answer): T {
  let value: unknown;
  try {
    value = JSON.parse(answer.body);
  } catch {
    // not an answer of exportd
  }
  if (typeof value !== 'object' || value === null) throw new ExportdError(`answer ${answer.status} is not what it should be`);
  return value as T;
}

function path(jobId: string): string {
  return `/exports/${encodeURIComponent(jobId)}`;
}

function dataset(name: string): string {
  if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name)) throw new ExportdError(`"${name}" cannot be the name of a dataset`);
  return `/${name}`;
}
