from __future__ import annotations

import http.client
import json
import random
import urllib.request
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from ._errors import AnswerError, NetworkError
from ._sign import sign_request

# Pauses between attempts: ten take about two minutes.
FIRST_PAUSE, LAST_PAUSE = 0.5, 30.0
_MAX_RETRY_AFTER = 300.0  # what is believed of a Retry-After
_MAX_BODY = 256 << 20  # a page of 200 rows of 1 MiB
_MAX_ERROR_BODY = 1 << 20

#: What may go wrong on a connection. A socket's timeout is an OSError too.
NETWORK = (OSError, http.client.HTTPException)


class Pauses:
    """Each twice the one before, up to a bound, and a half more or less by chance."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._next = FIRST_PAUSE

    def next(self) -> float:
        pause = self._next * random.uniform(0.5, 1.5)
        self._next = min(self._next * 2, LAST_PAUSE)
        return pause


class _AsItIs(urllib.request.HTTPErrorProcessor):
    """Leaves redirects alone, whose target must not see signed headers, and errors to the caller."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


class Answer:
    """An answer that was read to its end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)


def read_all(response: Any, bound: int) -> bytes:
    """All of a body, or an error where it breaks off: read(n) ends as if it were whole."""
    body: bytes = response.read(bound)
    length = response.headers.get("Content-Length")
    if length is not None and len(body) < min(int(length), bound):
        raise http.client.IncompleteRead(body)
    return body


class Transport:
    """Signs and sends requests, again where that is safe, and makes errors of error answers."""

    def __init__(
        self,
        key: str,
        secret: str,
        version: int,
        user_agent: str,
        attempts: int,
        answer_within: float,
        now: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._key, self._secret, self._version = key, secret, version
        self._user_agent, self._attempts, self._answer_within = user_agent, attempts, answer_within
        self._now, self._sleep = now, sleep
        self._opener = urllib.request.build_opener(_AsItIs)

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Only requests that may be repeated are: of POST, those that cancel."""
        repeatable = method in ("GET", "DELETE") or url.partition("?")[0].endswith("/cancel")
        pauses, attempt = Pauses(), 1
        while True:
            wait = 0.0
            try:
                answer = self._once(method, url, headers, body)
            except NETWORK as e:
                error: Exception = NetworkError(f"{method} {url.partition('?')[0]}: {_reason(e)}")
                error.__cause__ = e
            else:
                if answer.status < 400:
                    return answer
                error = _error_of(answer, self._now())
                if not error.temporary:
                    raise error
                wait = min(error.retry_after, _MAX_RETRY_AFTER)
            if not repeatable or attempt >= self._attempts:
                raise error
            attempt += 1
            self._sleep(max(pauses.next(), wait))

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        signed = sign_request(self._key, self._secret, self._now(), method, url, body or b"", self._version)
        request = urllib.request.Request(
            url, data=body, method=method, headers={**headers, **signed, "User-Agent": self._user_agent}
        )
        with self._opener.open(request, timeout=self._answer_within) as response:
            bound = _MAX_BODY if response.status < 400 else _MAX_ERROR_BODY
            return Answer(response.status, response.headers, read_all(response, bound))


def _reason(e: BaseException) -> str:
    return str(getattr(e, "reason", None) or e) or type(e).__name__


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Both forms of a Retry-After, seconds and a date, which is by the clock of who answered; 0 if none."""
    text = (headers.get("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    at = _date(text)
    if at is None:
        return 0.0
    theirs = _date(headers.get("Date") or "")
    return max(0.0, at - (now if theirs is None else theirs))


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None


def job_id_in(path: str | None) -> str | None:
    """The job's id out of /exports/{jobId}."""
    return path.removeprefix("/exports/") if path and path.startswith("/exports/") else None


def _error_of(answer: Answer, now: float) -> AnswerError:
    try:
        fields = answer.json()
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or not (fields.get("message") or fields.get("error")):
        fields = {"message": "not an answer of exportd"}  # a proxy's, most likely
    return AnswerError(
        answer.status,
        fields.get("message", ""),
        faults=fields.get("error") or [],
        code=fields.get("code"),
        retryable=bool(fields.get("retryable")),
        state=fields.get("state"),
        running_job_ids=fields.get("runningJobIds") or [],
        budget=fields.get("budget"),
        request_id=answer.headers.get("X-Request-Id"),
        retry_after=retry_after(answer.headers, now),
        job_id=job_id_in(answer.headers.get("Location")),
    )


