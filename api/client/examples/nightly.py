"""Exports the messages of a day, yesterday's if DAY does not name another, to vip-messages-DAY.csv.

For cron: it may be run again at any time. Within 24 h that is the same job, whose file is taken up where it
stopped; where that job failed, another one is made.

    15 2 * * *  cd /var/exports && python3 /opt/nightly.py
"""

import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from exportd_client import Client, ExportdError, FailedError

day = os.environ.get("DAY") or f"{datetime.now(timezone.utc) - timedelta(days=1):%Y-%m-%d}"
file = Path(f"vip-messages-{day}.csv")
if file.exists():
    sys.exit(0)  # whole, as it only has its name when it is

client = Client(os.environ["URL"], os.environ["KEY"], os.environ["SECRET"])
workspace, medium = os.environ["W"], os.environ["M"]
params = {"workspaceId": workspace, "mediumId": medium, "from": day, "to": day}
try:
    try:
        result = client.export("vip-messages", params, idempotency_key=f"nightly-{workspace}-{medium}-{day}")
    except FailedError:
        result = client.export("vip-messages", params, fresh=True)  # that key stays with the job that failed
    result.save(file)
except ExportdError as e:
    sys.exit(f"{e} (job {e.job_id})")
print(f"{file} has {result.total_count} rows")
