"""Receives callbacks, and saves the file of each export that has succeeded as KIND-JOB.csv.

WEBHOOK_SECRET may have two secrets, with a comma between, while one replaces the other.
"""

import os
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from exportd_client import CallbackError, Client, verify_callback

MAX_BODY = 1 << 20

client = Client(os.environ["URL"], os.environ["KEY"], os.environ["SECRET"])
secrets = os.environ["WEBHOOK_SECRET"].split(",")
todo = queue.Queue(maxsize=1000)
seen = {}  # ids of the last 10,000 events; keep them in your database if an event must not be handled twice


class Receiver(BaseHTTPRequestHandler):
    timeout = 10  # of a connection that stands still

    def do_POST(self):
        length = int(self.headers.get("content-length") or 0)
        if not 0 <= length <= MAX_BODY:
            return self.answer(413)
        try:
            callback = verify_callback(self.headers, self.rfile.read(length), secrets)
        except CallbackError:
            return self.answer(401)
        if callback.id not in seen:
            try:
                todo.put_nowait(callback.event)
            except queue.Full:
                return self.answer(503)  # it comes again
            seen[callback.id] = True
            if len(seen) > 10_000:
                del seen[next(iter(seen))]
        self.answer(204)  # at once: the work comes afterwards

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args):
        pass


def work():
    while True:
        event = todo.get()
        data = event["data"]
        try:
            if event["type"] == "export.succeeded":
                file = f"{data['kind']}-{data['jobId']}.csv"
                client.save(client.get_job(data["jobId"]), file)
                print(f"{file} has {data['totalCount']} rows", flush=True)
            else:
                print(event["type"], data["jobId"], data["error"], flush=True)
        except Exception as e:  # a full disk too: the next event is another matter
            print(e, flush=True)


threading.Thread(target=work, daemon=True).start()
server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT") or 0)), Receiver)
print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
