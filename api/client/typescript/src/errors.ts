import type { components } from './openapi.js';

export type Job = components['schemas']['Job'];
export type State = components['schemas']['State'];
export type BudgetLeft = components['schemas']['BudgetLeft'];
export type ErrorCode = components['schemas']['ErrorCode'];

/** What every error of this package is. */
export class ExportdError extends Error {
  override name = 'ExportdError';
  /** The job that it is about, to come back with. */
  jobId: string | undefined;

  constructor(message: string, options?: { jobId?: string | undefined; cause?: unknown }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.jobId = options?.jobId;
  }
}

/** One thing that is wrong with a parameter. */
export interface Fault {
  message: string;
  path: string[];
  type: string;
  context: Record<string, unknown>;
}

/** An answer of 400 and above. */
export class AnswerError extends ExportdError {
  override name = 'AnswerError';

  constructor(
    readonly status: number,
    readonly details: {
      message: string;
      /** All that is wrong with the parameters, of a 422. */
      faults: Fault[];
      /** Why an export failed, and whether the same request may work later. */
      code: ErrorCode | undefined;
      retryable: boolean;
      /** What a job is that would have to be something else, of a 409. */
      state: State | undefined;
      /** What keeps an export from being queued, of a 429. */
      runningJobIds: string[];
      /** What is left of the key's day where the export is more, of a 429; such a request is not sent again. */
      budget: BudgetLeft | undefined;
      /** Names the request to those who run the service. */
      requestId: string | undefined;
      /** Seconds that the service wants to be left alone; 0 if it did not say. */
      retryAfter: number;
      jobId: string | undefined;
    },
  ) {
    const text = details.faults.map((f) => f.message).join('; ') || details.message;
    super(`${text} (${status}, request ${details.requestId ?? '-'})`, { jobId: details.jobId });
  }

  get code(): ErrorCode | undefined {
    return this.details.code;
  }

  get requestId(): string | undefined {
    return this.details.requestId;
  }

  get retryAfter(): number {
    return this.details.retryAfter;
  }

  /** Whether the same request may work later. */
  get temporary(): boolean {
    if (this.details.budget) return false; // it is spent for the day
    return [429, 502, 503, 504].includes(this.status);
  }
}

/** A job that ended without a file; job.error says why. */
export class FailedError extends ExportdError {
  override name = 'FailedError';

  constructor(readonly job: Job) {
    const why = job.error ? `: ${job.error.message} (${job.error.code})` : '';
    super(`export ${job.jobId}: ${job.state}${why}`, { jobId: job.jobId });
  }
}

/** The service or its storage could not be reached, as often as it was tried. */
export class NetworkError extends ExportdError {
  override name = 'NetworkError';
}

/** A file that arrived in another form than the service wrote it, or changed meanwhile. */
export class CorruptError extends ExportdError {
  override name = 'CorruptError';
}

/** The beginning of a file is of another one than its end would be; from the start, all of it can be had. */
export class ChangedError extends CorruptError {
  override name = 'ChangedError';
}

/** A job that has no file: it has not succeeded, or the file has expired. */
export class NoFileError extends ExportdError {
  override name = 'NoFileError';
}

/** A request that is not, or not surely, a callback of the service: answer it with 401. */
export class CallbackError extends ExportdError {
  override name = 'CallbackError';
}
