from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models import BudgetLeft, Job


class ExportdError(Exception):
    """What every error of this package is; job_id is the job that it is about, to come back with."""

    def __init__(self, message: str, job_id: str | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class AnswerError(ExportdError):
    """An answer of 400 and above."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        faults: list[dict[str, Any]],
        code: str | None,
        retryable: bool,
        state: str | None,
        running_job_ids: list[str],
        budget: BudgetLeft | None,
        request_id: str | None,
        retry_after: float,
        job_id: str | None,
    ) -> None:
        text = "; ".join(str(f.get("message")) for f in faults) or message
        super().__init__(f"{text} ({status}, request {request_id or '-'})", job_id)
        self.status = status
        self.message = message
        #: All that is wrong with the parameters, of a 422: message, path, type and context of each.
        self.faults = faults
        #: Why an export failed, and whether the same request may work later.
        self.code = code
        self.retryable = retryable
        #: What a job is that would have to be something else, of a 409.
        self.state = state
        #: What keeps an export from being queued, of a 429.
        self.running_job_ids = running_job_ids
        #: What is left of the key's day where the export is more, of a 429; such a request is not sent again.
        self.budget = budget
        #: Names the request to those who run the service.
        self.request_id = request_id
        #: Seconds that the service wants to be left alone; 0 if it did not say.
        self.retry_after = retry_after

    @property
    def temporary(self) -> bool:
        """Whether the same request may work later."""
        if self.budget:  # it is spent for the day
            return False
        return self.status in (429, 502, 503, 504)


class FailedError(ExportdError):
    """A job that ended without a file; job["error"] says why."""

    def __init__(self, job: Job) -> None:
        error = job["error"]
        why = f": {error['message']} ({error['code']})" if error else ""
        super().__init__(f"export {job['jobId']}: {job['state']}{why}", job["jobId"])
        self.job = job


class NetworkError(ExportdError):
    """The service or its storage could not be reached, as often as it was tried."""


class WaitTimeout(ExportdError):
    """The job has not ended in time. It goes on: wait for job_id again."""


class CorruptError(ExportdError):
    """A file that arrived in another form than the service wrote it, or changed meanwhile."""


class NoFileError(ExportdError):
    """A job that has no file: it has not succeeded, or the file has expired."""


class CallbackError(ExportdError):
    """A request that is not, or not surely, a callback of the service: answer it with 401."""
