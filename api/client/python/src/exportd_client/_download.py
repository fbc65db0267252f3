from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from . import _crc32c
from ._errors import CorruptError, ExportdError, NetworkError, NoFileError
from ._transport import NETWORK, Pauses, _reason

if TYPE_CHECKING:
    from ._client import Client
    from .models import FilePart, Job

_CHUNK = 256 << 10

Progress = Callable[[int, int], None]


def part_path(path: str | os.PathLike[str], job_id: str) -> Path:
    """Where save keeps an incomplete file."""
    return Path(f"{os.fspath(path)}.{job_id}.part")


class _Changed(CorruptError):
    """The beginning is of another file than the end would be."""


class Download:
    """One file on its way to write. crc and done cover what has been written."""

    def __init__(self, client: Client, job: Job, write: Callable[[bytes], Any], progress: Progress | None) -> None:
        self._client, self._job_id, self._write, self._progress = client, job["jobId"], write, progress
        self._take(job)
        self.crc = self.done = 0
        self._generation: str | None = None

    def _take(self, job: Job) -> None:
        crc, size = job["crc32c"], job["sizeBytes"]
        if job["state"] != "succeeded" or crc is None or size is None:
            raise NoFileError(f"job {self._job_id} has no file: it is {job['state']}", self._job_id)
        try:
            want = base64.b64decode(crc, validate=True)
        except binascii.Error:
            want = b""
        if len(want) != 4:
            raise ExportdError(f"checksum {crc!r} is not a CRC-32C", self._job_id)
        self._want, self.total, self._link = int.from_bytes(want, "big"), size, job["csvUrl"]

    def restart(self) -> None:
        self.crc = self.done = 0
        self._generation = self._link = None

    def run(self) -> None:
        """Get what is missing, in as many pieces as it takes.

        Attempts that brought something do not count against the bound.
        """
        pauses, attempt = Pauses(), 0
        while self.done < self.total:
            self._find_link()
            before = self.done
            try:
                self._piece()
            except NetworkError:
                self._link = None  # it may be too old, or lead to where nobody is any more
                if self.done > before:
                    attempt = 0
                    pauses.reset()
                attempt += 1
                if self.done >= self.total:
                    break
                if attempt >= self._client._attempts:
                    raise
                self._client._sleep(pauses.next())
        if self.done != self.total or self.crc != self._want:
            raise self._corrupt("does not match its checksum")

    def _error(self, text: str) -> NetworkError:
        return NetworkError(f"download of job {self._job_id}: {text}", self._job_id)

    def _corrupt(self, why: str) -> CorruptError:
        return CorruptError(f"the file of job {self._job_id} {why}", self._job_id)

    def _changed(self) -> _Changed:
        return _Changed(f"the file of job {self._job_id} has changed since the download began", self._job_id)

    def _find_link(self) -> None:
        """Ask for a fresh link where there is none."""
        if self._link:
            return
        want, total = self._want, self.total
        self._take(self._client.get_job(self._job_id))
        if not self._link:
            raise NoFileError(f"job {self._job_id} has no file any more", self._job_id)
        if (self._want, self.total) != (want, total) and self.done:
            raise self._changed()

    def _piece(self) -> None:
        """Get the file from done on, as far as the connection lasts."""
        headers = {"Accept-Encoding": "identity", "User-Agent": self._client._user_agent}
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
        # Errors of its own must not tell the link: whoever reads it could get the file.
        try:
            request = urllib.request.Request(str(self._link), headers=headers)
            response = urllib.request.urlopen(request, timeout=self._client._stall_after)
        except urllib.error.HTTPError as e:
            e.close()
            raise self._error(f"the link is answered with {e.code}") from None
        except (ValueError, http.client.InvalidURL):
            raise self._error("the link to the file is not a URL") from None
        except NETWORK as e:
            raise self._error(_reason(e)) from e
        with response:
            self._body(response)

    def _body(self, response: Any) -> None:
        skip, headers = 0, response.headers
        if response.status == 200:  # all of it: Range was ignored or not asked for
            skip = self.done
        elif response.status != 206:
            raise self._error(f"the link is answered with {response.status}")
        elif not (headers.get("Content-Range") or "").startswith(f"bytes {self.done}-"):
            raise self._error("the answer begins elsewhere than asked")
        generation = headers.get("X-Goog-Generation") or headers.get("ETag")
        if self.done and self._generation and generation and generation != self._generation:
            raise self._changed()
        self._generation = generation
        while True:
            try:
                chunk = response.read1(_CHUNK)
            except NETWORK as e:
                raise self._error(_reason(e)) from e
            if not chunk:
                break
            skipped = min(skip, len(chunk))
            skip -= skipped
            if skipped < len(chunk):
                self._arrived(chunk[skipped:])
        if self.done < self.total:
            raise self._error("the connection ended early")

    def _arrived(self, chunk: bytes) -> None:
        if len(chunk) > self.total - self.done:
            raise self._corrupt("is longer than it should be")
        self._write(chunk)
        self.crc = _crc32c.extend(self.crc, chunk)
        self.done += len(chunk)
        if self._progress:
            self._progress(self.done, self.total)


def save(client: Client, job: Job, path: str | os.PathLike[str], progress: Progress | None) -> None:
    part = part_path(path, job["jobId"])
    Download(client, job, lambda _: None, None)  # before there is a part file: has it a file?
    # Personal data: for the caller alone.
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        download = Download(client, job, file.write, progress)
        _take_up(download, file)
        resumed = download.done > 0
        try:
            try:
                download.run()
            except CorruptError as e:
                # A part file that is not a beginning of this file shows in the checksum: from the start then.
                if not resumed and not isinstance(e, _Changed):
                    raise
                download.restart()
                file.seek(0)
                file.truncate(0)
                download.run()
        except CorruptError:
            part.unlink()
            raise
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _take_up(download: Download, file: BinaryIO) -> None:
    """Count and sum what an earlier run had of the file."""
    while download.done < download.total:
        chunk = file.read(min(_CHUNK, download.total - download.done))
        if not chunk:
            break
        download.crc = _crc32c.extend(download.crc, chunk)
        download.done += len(chunk)
    file.truncate(download.done)
    file.seek(download.done)


def is_whole(file: BinaryIO, part: FilePart, last: bool) -> bool:
    """Say whether file goes on with the bytes of part, and, if it is the last, ends with them."""
    sha256, crc, left = hashlib.sha256(), 0, part["sizeBytes"]
    while left and (chunk := file.read(min(_CHUNK, left))):
        left -= len(chunk)
        if part["sha256"] is None:
            crc = _crc32c.extend(crc, chunk)
        else:
            sha256.update(chunk)
    if left or last and file.read(1):
        return False
    if part["sha256"] is None:
        return base64.b64encode(crc.to_bytes(4, "big")).decode() == part["crc32c"]
    return sha256.hexdigest() == part["sha256"]
