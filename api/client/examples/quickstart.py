"""Exports messages to messages.csv. It may be interrupted and run again: then it attaches to the same job."""

import os

from exportd_client import Client

client = Client(os.environ["URL"], os.environ["KEY"], os.environ["SECRET"])
result = client.export(
    "vip-messages",
    {"workspaceId": os.environ["W"], "mediumId": os.environ["M"], "from": os.environ["FROM"], "to": os.environ["TO"]},
)
result.save("messages.csv")
print("messages.csv has", result.total_count, "rows")
