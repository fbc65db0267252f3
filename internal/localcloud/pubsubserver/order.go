package pubsubserver

import (
	"container/heap"
	"slices"
	"time"
)

// With enable_message_ordering the messages of a key are delivered one after the other: the next when the one
// before is acknowledged, dropped or dead. Production may have several of a key under way, and then delivers
// all of them again after a nack; the order that a handler sees is the same.
// https://cloud.google.com/pubsub/docs/ordering

func (b *backlog) key(e *entry) string {
	if !b.sub.GetEnableMessageOrdering() {
		return ""
	}
	return e.msg.GetOrderingKey()
}

// line puts a message behind those of its key and says whether it is the first.
func (b *backlog) line(e *entry) bool {
	key := b.key(e)
	if key == "" {
		return true
	}
	// Concurrent publishers may come out of order; a number that is lower goes where it belongs, but never
	// before the first, which may be with a client.
	line := b.keys[key]
	at := len(line)
	for at > 1 && line[at-1].seq > e.seq {
		at--
	}
	b.keys[key] = slices.Insert(line, at, e)
	e.held = len(line) > 0
	e.index = -1
	return !e.held
}

// leave takes a message out of the line of its key, and lets the next go if it was the first.
func (b *backlog) leave(e *entry) {
	key := b.key(e)
	if key == "" {
		return
	}
	line := b.keys[key]
	at := slices.Index(line, e)
	if at < 0 {
		return
	}
	line = slices.Delete(line, at, at+1)
	if len(line) == 0 {
		delete(b.keys, key)
		return
	}
	b.keys[key] = line
	if next := line[0]; at == 0 && next.held {
		next.held = false
		if now := time.Now(); next.at.After(now) {
			next.at = now
		}
		heap.Push(&b.waiting, next)
	}
}
