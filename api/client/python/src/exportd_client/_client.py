from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from ._download import Download, Progress, is_whole, save
from ._errors import ExportdError, FailedError, WaitTimeout
from ._transport import LAST_PAUSE, Answer, Transport, job_id_in, retry_after

if TYPE_CHECKING:
    from .models import FilePart, Job, Manifest, Quote

#: How many seconds the service holds a request at most.
_LONG_WAIT = 25
_DATASET = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

Params = Mapping[str, object]


class Client:
    """Talks to exportd. One client may be used by several threads."""

    def __init__(
        self,
        base_url: str,
        key: str,
        secret: str,
        *,
        plain_http: bool = False,
        signature_version: int = 1,
        user_agent: str = "exportd-client-python",
        attempts: int = 10,
        answer_within: float = 45,
        stall_after: float = 30,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """base_url is where the API is, key the id of an API key, secret its secret.

        Plain http is refused for hosts other than this one, unless plain_http is set. Signatures of version
        2 hold for one request each; a key may require them. attempts bounds how often one request is sent
        when the service cannot be reached or asks to come again: 10 last for about two minutes of an outage,
        1 does not try again. An answer must begin within answer_within seconds (the service holds requests
        for 25), and a download that stands still for stall_after is taken up anew.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError("base_url is not an http or https URL without user and query")
        if parts.scheme == "http" and not plain_http and not _loopback(parts.hostname):
            raise ValueError("base_url is not https, so that others could read along: set plain_http if that is all right")
        if not key or not secret:
            raise ValueError("key and secret are required")
        if signature_version not in (1, 2):
            raise ValueError("signature_version is neither 1 nor 2")
        if attempts < 1:
            raise ValueError("attempts is less than 1")
        self._base = base_url.rstrip("/")
        self._attempts, self._stall_after, self._user_agent, self._sleep = attempts, stall_after, user_agent, sleep
        self._transport = Transport(key, secret, signature_version, user_agent, attempts, answer_within, now, sleep)
        self._now = now

    # Exports

    def export(
        self,
        kind: str,
        params: Params | None = None,
        *,
        fresh: bool = False,
        idempotency_key: str | None = None,
        test_scenario: str | None = None,
        on_progress: Callable[[Job], None] | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Run an export and wait until its file is there, for timeout seconds if that is not None.

        kind is a dataset, like "vip-users"; params are what its export route takes, of any name. A program
        that is started again and asks for the same attaches to the same job, unless it is fresh;
        idempotency_key gives the same job for 24 h. test_scenario is what is to become of the export, with a
        sandbox key. on_progress gets the job about once a second.
        """
        job_id = self._submit(kind, params, fresh, idempotency_key, test_scenario)
        return self.result_of(self.wait(job_id, on_progress=on_progress, timeout=timeout))

    def submit(
        self,
        kind: str,
        params: Params | None = None,
        *,
        fresh: bool = False,
        idempotency_key: str | None = None,
        test_scenario: str | None = None,
    ) -> Job:
        """Start an export, or attach to the job that an equal request started, and do not wait for it."""
        return self.get_job(self._submit(kind, params, fresh, idempotency_key, test_scenario))

    def _submit(
        self, kind: str, params: Params | None, fresh: bool, idempotency_key: str | None, test_scenario: str | None
    ) -> str:
        headers = {"Prefer": "respond-async"}
        if fresh:
            headers["Cache-Control"] = "no-cache"
            # An attempt whose answer was lost must not start another job.
            idempotency_key = idempotency_key or secrets.token_urlsafe(24)
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        if test_scenario:
            headers["Export-Test-Scenario"] = test_scenario
        answer = self._send("GET", f"/{_dataset(kind)}/export", params, headers)
        done = answer.status == 200
        job_id = job_id_in(answer.headers.get("Content-Location" if done else "Location"))
        if not job_id:
            raise ExportdError("the answer names no job")
        return job_id

    def wait(
        self, job_id: str, *, on_progress: Callable[[Job], None] | None = None, timeout: float | None = None
    ) -> Job:
        """Wait until a job has ended and return it, whatever became of it: result_of tells."""
        longest = 1 if on_progress else _LONG_WAIT
        began = time.monotonic()
        while True:
            left = None if timeout is None else timeout - (time.monotonic() - began)
            asked = self._now()
            wait = longest if left is None else max(0, min(longest, int(left)))
            job, after = self._poll(job_id, wait)
            if on_progress:
                on_progress(job)
            if job["state"] not in ("queued", "running"):
                return job
            if left is not None and left <= 0:
                raise WaitTimeout(f"job {job_id} is {job['state']} after {timeout} s", job_id)
            # A service that could not hold the request has said when to come again.
            held = max(0.0, self._now() - asked)
            if held < wait or wait == 0:
                pause = max(1.0, min(after, LAST_PAUSE)) - min(held, 1.0)
                self._sleep(pause if left is None else max(0.0, min(pause, left - held)))

    def get_job(self, job_id: str) -> Job:
        """A job as it is now."""
        return self._poll(job_id, 0)[0]

    def _poll(self, job_id: str, wait: int) -> tuple[Job, float]:
        try:
            answer = self._send("GET", _job(job_id), None, {"Prefer": f"wait={wait}"})
            return _object(answer), retry_after(answer.headers, self._now())
        except ExportdError as e:
            e.job_id = job_id
            raise

    def result_of(self, job: Job) -> Result:
        """The Result of a job that has succeeded; FailedError for any other."""
        if job["state"] != "succeeded" or job["totalCount"] is None:
            raise FailedError(job)
        return Result(job["totalCount"], job, self)

    def cancel(self, job_id: str, reason: str | None = None) -> Job:
        """End a job that has not ended."""
        job: Job = _object(self._send("POST", _job(job_id) + "/cancel", None, {}, _reason_body(reason)))
        return job

    def delete(self, job_id: str, reason: str | None = None) -> None:
        """End a job and erase its file."""
        self._send("DELETE", _job(job_id), None, {}, _reason_body(reason))

    def quote(self, kind: str, params: Params | None = None) -> Quote:
        """What an export would come to; starts none."""
        answer = self._send("GET", f"/{_dataset(kind)}/export", {**(params or {}), "dryRun": True}, {"Prefer": "respond-async"})
        quote: Quote = _object(answer)
        if not quote.get("dryRun"):  # it has no such parameter, or is something else
            raise ExportdError(f"answer {answer.status} is no quote")
        return quote

    # The file

    def manifest(self, job_id: str) -> Manifest:
        """What is in the file of a succeeded job: columns with types, how it is written, and what proves it."""
        manifest: Manifest = _object(self._send("GET", _job(job_id) + "/manifest", None, {}))
        return manifest

    def download(self, job: Job, file: BinaryIO, on_progress: Progress | None = None) -> int:
        """Write the file of a succeeded job to file, check it, and return its size.

        It goes on where it was when the connection breaks; CorruptError comes after the last byte.
        on_progress gets the bytes that have arrived and those of the file.
        """
        download = Download(self, job, file.write, on_progress)
        download.run()
        return download.done

    def save(self, job: Job, path: str | os.PathLike[str], on_progress: Progress | None = None) -> None:
        """Download the file of a succeeded job to path.

        What has arrived is in part_path until the file is complete and checked, and a later save goes on
        there; path itself is only ever a whole file. A file that is there is replaced.
        """
        save(self, job, path, on_progress)

    def verify(self, job_id: str, path: str | os.PathLike[str]) -> list[FilePart]:
        """Compare a file with what the service wrote as the job's, and return the parts that differ.

        A Range of their bytes brings them again. It goes by the SHA-256 of parts, and by the CRC-32C of those
        that have none. What follows the last part counts as of it.
        """
        with open(path, "rb") as file:
            parts = self.manifest(job_id)["parts"]
            return [part for i, part in enumerate(parts) if not is_whole(file, part, i == len(parts) - 1)]

    # Lists

    def rows(self, dataset: str, params: Params | None = None) -> Iterator[dict[str, Any]]:
        """All rows of a dataset, page by page; params may have the limit of each."""
        cursor = "before" if dataset == "vip-messages" else "cursor"
        query = dict(params or {})
        while True:
            page = _object(self._send("GET", f"/{_dataset(dataset)}", query, {}))
            for value in page.values():
                if isinstance(value, list):  # the one array, which datasets name
                    yield from value
            if page.get("nextCursor") is not None:
                query[cursor] = page["nextCursor"]
            elif page.get("nextOffset") is not None:
                query["offset"] = page["nextOffset"]
            else:
                return

    def jobs(self, **params: object) -> Iterator[Job]:
        """The org's jobs, the newest first, page by page; params may be state, kind and pageSize."""
        while True:
            page = _object(self._send("GET", "/exports", params, {}))
            yield from page["jobs"]
            if page["nextPageToken"] is None:
                return
            params["pageToken"] = page["nextPageToken"]

    # All else

    def request(
        self, method: str, path: str, params: Params | None = None, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Call any route of openapi.yaml: what it answers, decoded; None if that is empty."""
        raw = None if body is None else json.dumps(body).encode()
        answer = self._send(method, path, params, headers or {}, raw)
        return answer.json() if answer.body else None

    def _send(
        self, method: str, path: str, params: Params | None, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        query = urlencode([(name, _text(value)) for name, value in (params or {}).items() if value is not None])
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
        return self._transport.send(method, self._base + path + ("?" + query if query else ""), headers, body)


@dataclass(frozen=True)
class Result:
    """A finished export."""

    #: The number of rows.
    total_count: int
    #: Everything else about it.
    job: Job
    _client: Client = field(repr=False)

    def download(self, file: BinaryIO, on_progress: Progress | None = None) -> int:
        """Client.download of its file."""
        return self._client.download(self.job, file, on_progress)

    def save(self, path: str | os.PathLike[str], on_progress: Progress | None = None) -> None:
        """Client.save of its file."""
        self._client.save(self.job, path, on_progress)


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _object(answer: Answer) -> Any:
    try:
        value = answer.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ExportdError(f"answer {answer.status} is not what it should be")
    return value


def _reason_body(reason: str | None) -> bytes:
    return json.dumps({} if reason is None else {"reason": reason}).encode()


def _job(job_id: str) -> str:
    return "/exports/" + quote(job_id, safe="")


def _dataset(name: str) -> str:
    if not _DATASET.fullmatch(name):
        raise ExportdError(f'"{name}" cannot be the name of a dataset')
    return name


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
