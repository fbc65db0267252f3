from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._errors import CallbackError

if TYPE_CHECKING:
    from .models import Event

_MIN_SECRET = 24  # the least that Standard Webhooks allows


@dataclass(frozen=True)
class Callback:
    """What the service sends when an export has ended."""

    #: The same each time one event is sent: who has it already has seen the event.
    id: str
    #: What happened, as openapi.yaml has it: type, timestamp and data.
    event: Event

    @property
    def type(self) -> str:
        """export.succeeded, export.failed, export.canceled, or export.ping of a test."""
        return self.event["type"]


def verify_callback(
    headers: Mapping[str, str],
    body: bytes,
    secrets: str | Sequence[str],
    *,
    now: float | None = None,
    tolerance: float = 300,
) -> Callback:
    """Read a callback whose body, byte for byte as it came, is signed by one of the webhook secrets of a key.

    There are two secrets while one replaces the other. Answer with 2xx within 15 s and do the work
    afterwards; the same id may come again. Raises CallbackError, and ValueError for a secret that is none.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    message_id, stamp = lower.get("webhook-id", ""), lower.get("webhook-timestamp", "")
    if not message_id or not (stamp.isascii() and stamp.isdigit() and len(stamp) < 13):
        raise CallbackError("webhook-id or webhook-timestamp is missing")
    signatures = [s.encode() for s in lower.get("webhook-signature", "").split()]
    signed = False
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        mac = hmac.new(_key(secret), f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
        want = b"v1," + base64.b64encode(mac.digest())
        for signature in signatures:
            signed = hmac.compare_digest(signature, want) or signed
    if not signed:
        raise CallbackError("no signature matches")
    if abs((time.time() if now is None else now) - int(stamp)) > tolerance:
        raise CallbackError("webhook-timestamp is too far from now")
    try:
        event: Any = json.loads(body)
    except ValueError:
        event = None
    data = event.get("data") if isinstance(event, dict) else None
    if not isinstance(data, dict) or not data.get("jobId"):
        raise CallbackError("the body is no event")
    return Callback(message_id, event)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith("whsec_") or len(key) < _MIN_SECRET:
        raise ValueError("a webhook secret is whsec_ and base64 of 24 bytes or more")
    return key
