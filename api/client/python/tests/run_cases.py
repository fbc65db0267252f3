"""Does the cases of ../../testdata/cases.json that come on standard input, and says what came of each.

The server that answers as they say is at the address in the first argument: TestPython starts both.
"""

import io
import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

import exportd_client as ec


class Clock:
    """Waiting takes no time."""

    def __init__(self, at):
        self.at, self.waited = datetime.fromisoformat(at).timestamp(), 0.0

    def now(self):
        return self.at

    def sleep(self, seconds):
        self.at += seconds
        self.waited += seconds


def main():
    cases = json.load(sys.stdin)
    for number, case in enumerate(cases["cases"]):
        clock = Clock(cases["clock"])
        outcome = {}
        try:
            run(cases, case, f"{sys.argv[1]}/case/{number}", clock, outcome)
        except (ec.ExportdError, ValueError) as e:
            outcome["error"] = tell(e)
        outcome = {k: v for k, v in outcome.items() if v not in (None, "", 0, False)}
        print(json.dumps({"name": case["name"], "outcome": outcome, "waited": round(clock.waited, 6)}))


def run(cases, case, base, clock, out):
    call = case["call"]
    do = call["do"]
    if do == "sign":
        out["signature"] = ec.sign(call["secret"], call["date"])
    elif do == "sign2":
        out["signature"] = ec.sign_v2(
            call["secret"], call["key"], call["date"], call["nonce"], call["method"], call["url"], call["body"].encode()
        )
    elif do == "verify":
        got = ec.verify_callback(call["headers"], call["body"].encode(), call["secrets"], now=call["now"])
        data = got.event["data"]
        out.update(id=got.id, type=got.type, jobId=data["jobId"], rows=data["totalCount"])
    elif do == "new":
        ec.Client(
            call.get("baseUrl", "https://api.test"), call.get("key", "k"), call.get("secret", "s"),
            signature_version=call.get("signatureVersion", 1), attempts=call.get("attempts", 10),
        )
        out["made"] = True
    else:
        # For what stands still, a server on a busy machine must not be taken.
        within = 0.5 if any(a.get("stall") for a in case.get("answers") or ()) else 60
        client = ec.Client(
            base, cases["key"], cases["secret"], signature_version=call.get("signatureVersion", 1),
            attempts=call.get("attempts", 10), now=clock.now, sleep=clock.sleep, answer_within=within, stall_after=within,
        )
        CALLS[do](client, call, out)


def export(client, call, out):
    states = []
    if call["do"] == "resume":
        result = client.result_of(client.wait(call["jobId"]))
    else:
        result = client.export(
            call["kind"], call["params"], fresh=call.get("fresh", False), idempotency_key=call.get("idempotencyKey"),
            on_progress=(lambda job: states.append(job["state"])) if call.get("progress") else None,
        )
    file = io.BytesIO()
    result.download(file)
    out.update(rows=result.total_count, jobId=result.job["jobId"], file=file.getvalue().decode())
    if states:
        out["states"] = states


def submit(client, call, out):
    job = client.submit(call["kind"], call["params"])
    out.update(jobId=job["jobId"], state=job["state"])


def cancel(client, call, out):
    job = client.cancel(call["jobId"], call["reason"])
    out.update(jobId=job["jobId"], state=job["state"])


def delete(client, call, out):
    client.delete(call["jobId"])
    out["deleted"] = True


def save(client, call, out):
    job = client.wait(call["jobId"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.csv")
        part = ec.part_path(path, call["jobId"])
        if "part" in call:
            part.write_text(call["part"], newline="")
        try:
            client.save(job, path)
        finally:
            for name, member in (path, "file"), (part, "left"):
                if name.exists():
                    out[member] = name.read_bytes().decode()


def quote(client, call, out):
    q = client.quote(call["kind"], call["params"])
    out.update(
        rows=q["rows"], bytes=q["estimatedBytes"], seconds=q["estimatedSeconds"], ahead=q["jobsAhead"],
        attachesTo=q["attachesTo"]["jobId"], refusals=[r["code"] for r in q["refusals"]],
    )


def manifest(client, call, out):
    m = client.manifest(call["jobId"])
    out.update(rows=m["rows"], columns=[c["name"] for c in m["tableSchema"]["columns"]], without=m["withoutSortField"])


def verify_file(client, call, out):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out.csv")
        path.write_text(call["part"], newline="")
        out["broken"] = [part["offset"] for part in client.verify(call["jobId"], path)]


def listed(client, call, out):
    out["ids"] = []
    rows = client.jobs(**call["params"]) if call["do"] == "jobs" else client.rows(call["kind"], call["params"])
    for row in rows:
        out["ids"].append(row["jobId"] if call["do"] == "jobs" else row["id"])


CALLS = {
    "export": export, "resume": export, "submit": submit, "cancel": cancel, "delete": delete, "save": save, "quote": quote,
    "manifest": manifest, "verifyFile": verify_file,
    "rows": listed, "jobs": listed,
}

KINDS = {
    ec.AnswerError: "answer", ec.FailedError: "failed", ec.NetworkError: "network", ec.CorruptError: "corrupt",
    ec.NoFileError: "noFile", ec.CallbackError: "callback",
}


def tell(e):
    kind = next((kind for cls, kind in KINDS.items() if isinstance(e, cls)), "other")
    out = {"kind": kind, "says": str(e), "jobId": getattr(e, "job_id", None)}
    if kind == "answer":
        out.update(
            status=e.status, code=e.code, retryable=e.retryable, state=e.state, requestId=e.request_id, retryAfter=e.retry_after,
            running=e.running_job_ids or None, budget=e.budget, faults=[f"{f['type']} {'.'.join(f['path'])}" for f in e.faults] or None,
        )
    if kind == "failed":
        out["state"] = e.job["state"]
        if e.job["error"]:
            out.update(code=e.job["error"]["code"], retryable=e.job["error"]["retryable"])
    return {k: v for k, v in out.items() if v not in (None, "", 0, False)}


main()
