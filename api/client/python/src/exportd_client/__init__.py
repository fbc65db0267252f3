"""Client of exportd: signs requests, tries again what may be tried again, and turns an export into one call.

    client = Client("https://exportd.example.com", key, secret)
    result = client.export("vip-users", {"workspaceId": w, "mediumId": m})
    result.save("users.csv")
"""

from ._callback import Callback, verify_callback
from ._client import Client, Result
from ._download import part_path
from ._errors import (
    AnswerError,
    CallbackError,
    CorruptError,
    ExportdError,
    FailedError,
    NetworkError,
    NoFileError,
    WaitTimeout,
)
from ._sign import sign, sign_request, sign_v2

__all__ = [
    "AnswerError",
    "Callback",
    "CallbackError",
    "Client",
    "CorruptError",
    "ExportdError",
    "FailedError",
    "NetworkError",
    "NoFileError",
    "Result",
    "WaitTimeout",
    "part_path",
    "sign",
    "sign_request",
    "sign_v2",
    "verify_callback",
]
