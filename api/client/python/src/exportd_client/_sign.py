from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timezone
from urllib.parse import urlsplit


def _mac(key: bytes, text: str) -> hmac.HMAC:
    return hmac.new(key, text.encode(), hashlib.sha256)


def sign(secret: str, date: str) -> str:
    """Version 1 of the signature: HMAC-SHA256 of the exact bytes of a date, in lower-case hex."""
    return _mac(secret.encode(), date).hexdigest()


def sign_v2(secret: str, key: str, date: str, nonce: str, method: str, url: str, body: bytes) -> str:
    """Version 2: what a request asks for, where, when, and once. url is the one that is sent."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    text = "\n".join(
        [
            "EXPORT-HMAC-V2", key, date, nonce, method, host, parts.path,
            "&".join(sorted(parts.query.split("&"))),  # proxies reorder the pairs
            hashlib.sha256(body).hexdigest(),
        ]
    )
    # A key of its own, so that a signature of one version is never one of the other.
    return _mac(_mac(secret.encode(), "export-api/request-signing/v2").digest(), text).hexdigest()


def sign_request(
    key: str, secret: str, now: float, method: str, url: str, body: bytes = b"", version: int = 1
) -> dict[str, str]:
    """The headers of a request that is sent within a minute of now, seconds since 1970."""
    at = datetime.fromtimestamp(now, timezone.utc)
    date = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
    if version == 1:
        return {"X-Api-Key": key, "X-Date": date, "X-Signature": sign(secret, date)}
    nonce = secrets.token_urlsafe(24)
    return {
        "X-Api-Key": key,
        "X-Date": date,
        "X-Nonce": nonce,
        "X-Signature-Version": "2",
        "X-Content-Sha256": hashlib.sha256(body).hexdigest(),
        "X-Signature": sign_v2(secret, key, date, nonce, method, url, body),
    }
