"""A receiver of export callbacks that verifies each of them.

Python 3.8 or newer, standard library alone. Run it with the secret of your key:

    WEBHOOK_SECRET=whsec_... python3 receiver.py

It prints the address it listens on. Copy verify(); the rest is an example.
"""

import base64
import hashlib
import hmac
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_SECONDS = 5 * 60  # older or newer requests may be replays
MAX_BODY = 1 << 20


def verify(secret, headers, body, now):
    """Raise ValueError unless body, byte for byte as it came, was signed with secret."""
    message_id = headers.get("webhook-id", "")
    stamp = headers.get("webhook-timestamp", "")
    if not secret.startswith("whsec_"):
        raise ValueError("the secret does not start with whsec_")
    key = base64.b64decode(secret[len("whsec_"):], validate=True)
    if len(key) < 24:
        raise ValueError("the secret is too short")
    if not message_id or not (stamp.isascii() and stamp.isdigit()):
        raise ValueError("webhook-id or webhook-timestamp is missing")
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        raise ValueError("webhook-timestamp is too far from now")
    signed = f"{message_id}.{stamp}.".encode() + body
    want = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    # There are several signatures while a secret is being rotated.
    signatures = headers.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(s.encode(), want.encode()) for s in signatures):
        raise ValueError("no signature matches")


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        try:
            length = int(self.headers.get("content-length", ""))
            if not 0 <= length <= MAX_BODY:
                raise ValueError("the body is too long")
            verify(os.environ["WEBHOOK_SECRET"], self.headers, self.rfile.read(length), time.time())
        except ValueError:
            self.answer(401)
            return
        # Remember webhook-id: the same event may come again. Answer at once with
        # 2xx and do the work afterwards; 15 s after the call it counts as failed.
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT") or 0)), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
