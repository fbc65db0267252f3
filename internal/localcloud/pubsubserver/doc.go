// Package pubsubserver is a Pub/Sub server for one machine: the part of google.pubsub.v1 that the official Go
// client uses for topics and pull subscriptions, with messages kept on disk.
//
// What it promises
//
//   - A published message is on disk (fsync) in every subscription of its topic before Publish answers, and an
//     acknowledged one is off the disk before Acknowledge answers. Concurrent calls share one fsync.
//   - Delivery is at least once, about in publish order. A message returns when its lease ends without an acknowledgement,
//     when it is nacked, when its stream ends before the client confirmed it, and after a restart of the server.
//   - max_outstanding_messages and max_outstanding_bytes are honoured exactly, so a slow client never holds more than it
//     asked for; streams of one subscription are served in turn.
//   - Retry policies, dead-letter policies (each message forwarded exactly once, with the attributes Google sets) and
//     retention (7 days unless set) work as documented for the real service.
//   - Filters let messages pass as documented; with ordering, those of a key come one after the other.
//   - Seek to a time or to a snapshot, with what retain_acked_messages keeps.
//   - Push to this machine: wrapped messages, one request each, acknowledged by the answer, with retries until
//     they are taken.
//   - A subscription's backlog is bounded. Beyond the bound Publish answers RESOURCE_EXHAUSTED; nothing is evicted.
//
// What it refuses with UNIMPLEMENTED rather than pretend: push to other machines, with tokens or unwrapped,
// BigQuery, Bigtable and Cloud Storage subscriptions, exactly-once delivery, message transforms, schemas and
// retention of topics; fields.go has each field. Subscriptions never expire for being idle, and there is no
// authentication: serve it on loopback only.
package pubsubserver
