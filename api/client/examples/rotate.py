"""Gives the key ROTATE a new secret, and prints it. KEY and SECRET are those of a key with the scope admin."""

import os
import sys

from exportd_client import Client

client = Client(os.environ["URL"], os.environ["KEY"], os.environ["SECRET"], signature_version=2)
body = {"secret": "signing", "overlapSeconds": 24 * 60 * 60, "reason": "yearly rotation"}
rotated = client.request("POST", f"/admin/keys/{os.environ['ROTATE']}/rotate", body=body)
print("the old secret works until", rotated["oldSecretExpiresAt"], file=sys.stderr)
print(rotated["secret"])
