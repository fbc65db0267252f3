import { extend, parse } from './crc32c.js';
import { ChangedError, CorruptError, ExportdError, NetworkError, NoFileError, type Job } from './errors.js';
import { Pauses, Watchdog, chunks, reasonOf } from './transport.js';

/** What a download needs of a client. */
export interface DownloadHost {
  getJob(jobId: string, options?: { signal?: AbortSignal | undefined }): Promise<Job>;
  readonly attempts: number;
  readonly stallAfter: number;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface DownloadOptions {
  signal?: AbortSignal | undefined;
  /** Gets the bytes that have arrived and those of the file. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** One file on its way. crc and done cover what has been handed out, or was there before. */
export class Download {
  crc = 0;
  done = 0;
  total = 0;
  #want = 0;
  #link: string | undefined;
  #generation: string | undefined;

  constructor(
    private readonly host: DownloadHost,
    private readonly job: Job,
    private readonly options: DownloadOptions,
  ) {
    this.#take(job);
  }

  #take(job: Job): void {
    if (job.state !== 'succeeded' || job.crc32c === null || job.sizeBytes === null) {
      throw new NoFileError(`job ${job.jobId} has no file: it is ${job.state}`, { jobId: job.jobId });
    }
    const want = parse(job.crc32c);
    if (want === undefined) throw new ExportdError(`checksum ${job.crc32c} is not a CRC-32C`, { jobId: job.jobId });
    this.#want = want;
    this.total = job.sizeBytes;
    this.#link = job.csvUrl ?? undefined;
  }

  restart(): void {
    this.crc = this.done = 0;
    this.#generation = this.#link = undefined;
  }

  /**
   * Hands out what is missing, got in as many pieces as it takes; the checksum is looked at behind the last
   * byte. Attempts that brought something do not count against the bound.
   */
  async *bytes(): AsyncGenerator<Uint8Array> {
    const pauses = new Pauses();
    for (let attempt = 1; this.done < this.total; attempt++) {
      await this.#findLink();
      const before = this.done;
      let error: unknown;
      try {
        for await (const bytes of this.#piece()) {
          yield bytes;
          this.options.onProgress?.(this.done, this.total); // here, where what it throws is no fault of the network
        }
      } catch (e) {
        if (!(e instanceof NetworkError)) throw e;
        error = e;
      }
      this.options.signal?.throwIfAborted();
      this.#link = undefined; // it may be too old, or lead to where nobody is any more
      if (this.done > before) {
        attempt = 1;
        pauses.reset();
      }
      if (this.done >= this.total) break;
      if (attempt >= this.host.attempts) throw error;
      await this.host.sleep(pauses.next(), this.options.signal);
    }
    if (this.done !== this.total || this.crc !== this.#want) throw this.#corrupt('does not match its checksum');
  }

  #network(text: string, cause?: unknown): NetworkError {
    return new NetworkError(`download of job ${this.job.jobId}: ${text}`, { jobId: this.job.jobId, cause });
  }

  #corrupt(why: string): CorruptError {
    return new CorruptError(`the file of job ${this.job.jobId} ${why}`, { jobId: this.job.jobId });
  }

  #changed(): ChangedError {
    return new ChangedError(`the file of job ${this.job.jobId} has changed since the download began`, { jobId: this.job.jobId });
  }

  /** Asks for a fresh link where there is none. */
  async #findLink(): Promise<void> {
    if (this.#link) return;
    const [want, total] = [this.#want, this.total];
    this.#take(await this.host.getJob(this.job.jobId, { signal: this.options.signal }));
    if (!this.#link) throw new NoFileError(`job ${this.job.jobId} has no file any more`, { jobId: this.job.jobId });
    if ((this.#want !== want || this.total !== total) && this.done > 0) throw this.#changed();
  }

  /** Gets the file from done on, as far as the connection lasts. */
  async *#piece(): AsyncGenerator<Uint8Array> {
    const watchdog = new Watchdog(this.host.stallAfter, this.options.signal);
    // Errors that are made here have no link in them: whoever reads it could get the file.
    try {
      const response = await fetch(this.#link!, {
        // Browsers choose the encoding themselves; the checksum is of the bytes as they are.
        headers: { 'accept-encoding': 'identity', ...(this.done > 0 && { range: `bytes=${this.done}-` }) },
        credentials: 'omit',
        signal: watchdog.signal,
      });
      let skip = this.#begin(response);
      for await (const chunk of response.body ? chunks(response.body) : []) {
        watchdog.touch();
        const skipped = Math.min(skip, chunk.length);
        skip -= skipped;
        if (skipped === chunk.length) continue;
        const fresh = chunk.subarray(skipped);
        if (fresh.length > this.total - this.done) throw this.#corrupt('is longer than it should be');
        this.crc = extend(this.crc, fresh);
        this.done += fresh.length;
        watchdog.pause(); // whoever takes the bytes may take long
        yield fresh;
        watchdog.touch();
      }
    } catch (e) {
      if (e instanceof ExportdError) throw e;
      throw this.#network(reasonOf(e));
    } finally {
      watchdog.stop();
    }
    if (this.done < this.total) throw this.#network('the connection ended early');
  }

  /** Looks at the beginning of an answer, and says how many of its bytes are there already. */
  #begin(response: Response): number {
    let skip = 0;
    if (response.status === 200) {
      skip = this.done; // all of it: the range was ignored or not asked for
    } else if (response.status !== 206) {
      throw this.#network(`the link is answered with ${response.status}`);
    } else if (!(response.headers.get('content-range') ?? `bytes ${this.done}-`).startsWith(`bytes ${this.done}-`)) {
      throw this.#network('the answer begins elsewhere than asked');
    }
    const generation = response.headers.get('x-goog-generation') ?? response.headers.get('etag') ?? undefined;
    if (this.done > 0 && this.#generation && generation && generation !== this.#generation) throw this.#changed();
    this.#generation = generation;
    return skip;
  }
}
