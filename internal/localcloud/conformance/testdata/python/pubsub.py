"""python3 pubsub.py LIBRARIES: does rows of clients/pubsub.json with Google's client for Python, which gcloud ships in
LIBRARIES, on PUBSUB_EMULATOR_HOST. A line of JSON on standard output has what came of each."""

import json
import sys
import threading

sys.path.insert(0, sys.argv[1])

from google.api_core import exceptions  # noqa: E402
from google.cloud import pubsub_v1  # noqa: E402

PROJECT = "demo-clients"
publisher = pubsub_v1.PublisherClient(publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True))
subscriber = pubsub_v1.SubscriberClient()


def made(row, **settings):
    """A topic and a subscription to it, of a row's own."""
    topic, sub = publisher.topic_path(PROJECT, f"topic-{row}"), subscriber.subscription_path(PROJECT, f"sub-{row}")
    publisher.create_topic(request={"name": topic})
    subscriber.create_subscription(request={"name": sub, "topic": topic, **settings})
    return topic, sub


def publish(topic, *texts, **more):
    return [f.result(timeout=10) for f in [publisher.publish(topic, t.encode(), **more) for t in texts]]


def received(sub, n, take=lambda m, n: m.ack()):
    """Takes messages until there are enough, and acknowledges them unless told otherwise."""
    got, lock, enough = [], threading.Lock(), threading.Event()

    def callback(m):
        with lock:
            got.append(m)
            take(m, len(got))
            if len(got) == n:
                enough.set()

    future = subscriber.subscribe(sub, callback=callback)
    future.add_done_callback(lambda _: enough.set())  # also when it fails
    if not enough.wait(15):
        raise TimeoutError(f"{len(got)} of {n} messages")
    if future.done():
        future.result()
    future.cancel()
    future.result()
    return got


def texts(messages):
    return [m.data.decode() for m in messages]


def make_again(row):
    made(row)
    made(row)


def labels(row):
    topic, _ = made(row)
    change = {"topic": {"name": topic, "labels": {"c": "d"}}, "update_mask": {"paths": ["labels"]}}
    return dict(publisher.update_topic(request=change).labels)


def ordered(row):
    topic, sub = made(row, enable_message_ordering=True)
    publish(topic, *[f"{i:02}" for i in range(20)], ordering_key="k")
    got = received(sub, 20)
    return [texts(got) == sorted(texts(got)), got[0].ordering_key]


def ack(row):
    topic, sub = made(row)
    publish(topic, "a", "b", "c")
    return sorted(texts(received(sub, 3)))


def nack(row):
    topic, sub = made(row)
    publish(topic, "a")
    return texts(received(sub, 2, lambda m, n: m.nack() if n == 1 else m.ack()))


def filtered(row):
    topic, sub = made(row, filter='attributes.kind = "x" AND NOT attributes:skip')
    publish(topic, "no", kind="y")
    publish(topic, '{"kind":"x"}', kind="x")
    return texts(received(sub, 1))


def pull(row):
    topic, sub = made(row)
    publish(topic, "a")
    m = subscriber.pull(request={"subscription": sub, "max_messages": 10}).received_messages[0]
    subscriber.modify_ack_deadline(request={"subscription": sub, "ack_ids": [m.ack_id], "ack_deadline_seconds": 60})
    subscriber.acknowledge(request={"subscription": sub, "ack_ids": [m.ack_id]})
    return m.message.data.decode()


def detach(row):
    _, sub = made(row)
    publisher.detach_subscription(request={"subscription": sub})
    try:
        code = subscriber.pull(request={"subscription": sub, "max_messages": 1}) and 0
    except exceptions.GoogleAPICallError as err:
        code = err.grpc_status_code.value[0]
    return [subscriber.get_subscription(request={"subscription": sub}).detached, code]


ROWS = {
    "createTopic of what is there": make_again,
    "createTopic of a name that is none": lambda row: publisher.create_topic(request={"name": publisher.topic_path(PROJECT, "1a")}) and "done",
    "setMetadata of a topic": labels,
    "publish nothing": lambda row: publish(made(row)[0], ""),
    "publish to no topic": lambda row: publish(publisher.topic_path(PROJECT, f"none-{row}"), "a"),
    "publish with an ordering key": ordered,
    "a deadline of more than 600 s": lambda row: made(row, ack_deadline_seconds=601) and "done",
    "a filter that is none": lambda row: made(row, filter="kind ==") and "done",
    "detachSubscription": detach,
    "receive and ack": ack,
    "nack": nack,
    "a filter": filtered,
    "pull and acknowledge": pull,
    "receive from no subscription": lambda row: texts(received(subscriber.subscription_path(PROJECT, f"none-{row}"), 1)),
}

for i, (name, row) in enumerate(ROWS.items()):
    try:
        got = row(f"python{i}")
    except exceptions.GoogleAPICallError as err:
        got = {"error": err.grpc_status_code.name, "message": err.message}
    except TimeoutError as err:
        got = {"error": "LATE", "message": str(err)}
    print(json.dumps({"name": name, "got": got}), flush=True)
