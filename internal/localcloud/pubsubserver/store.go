package pubsubserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// Keys on disk. Numbers are big-endian, so a subscription's messages lie in publish order.
//
//	t<name>       -> Topic
//	s<name>       -> 8 bytes uid, Subscription
//	q<uid><seq>   -> uvarint deliveries so far, PubsubMessage
//	a<uid><seq>   -> the same, of what is acknowledged and kept for seeking back
//	n<name>       -> 8 bytes uid, Snapshot
//	m<uid><seq>   -> a message of a snapshot
//
// The uid is new with each creation, so messages of a deleted subscription can never turn up in its
// successor.
const (
	topicPrefix   = 't'
	subPrefix     = 's'
	messagePrefix = 'q'

	retainedPrefix = 'a'
	namePrefix     = 'n'
	snapshotPrefix = 'm'
)

// store is the disk behind the server. All methods are safe for concurrent use.
type store struct{ db *pebble.DB }

func openStore(dir string, fs vfs.FS, scheduler pebble.CompactionScheduler, log *zap.Logger) (*store, error) {
	o := &pebble.Options{
		FS: fs,
		// Messages are tiny and short-lived: a small memtable and cache keep the process small, and most
		// messages die in the memtable without ever reaching a table.
		MemTableSize:       4 << 20,
		CacheSize:          4 << 20,
		FormatMajorVersion: pebble.FormatTableFormatV6,
		Logger:             storeLogger{log},
	}
	o.Experimental.CompactionScheduler = scheduler
	db, err := pebble.Open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open pubsub store: %w", err)
	}
	return &store{db: db}, nil
}

func (st *store) close() error { return st.db.Close() }

// storeLogger passes on what the storage engine cannot recover from. Its chatter about compactions is
// dropped.
type storeLogger struct{ log *zap.Logger }

func (storeLogger) Infof(string, ...any) {}

func (l storeLogger) Errorf(format string, args ...any) {
	l.log.Error("pubsub store", zap.String("detail", fmt.Sprintf(format, args...)))
}

// Fatalf must not return: the engine calls it when the write-ahead log is lost, and going on would answer for
// messages that are not on disk.
func (l storeLogger) Fatalf(format string, args ...any) {
	l.log.WithOptions(zap.AddStacktrace(zap.FatalLevel+1)).Fatal("the pubsub store cannot go on; the process ends", zap.String("detail", fmt.Sprintf(format, args...)))
}

func nameKey(prefix byte, name string) []byte { return append([]byte{prefix}, name...) }

func messageKey(uid, seq uint64) []byte { return keyOf(messagePrefix, uid, seq) }

func keyOf(prefix byte, uid, seq uint64) []byte {
	k := make([]byte, 1, 17)
	k[0] = prefix
	k = binary.BigEndian.AppendUint64(k, uid)
	return binary.BigEndian.AppendUint64(k, seq)
}

func (st *store) putTopic(t *pubsubpb.Topic) error {
	v, err := proto.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode topic: %w", err)
	}
	return st.db.Set(nameKey(topicPrefix, t.GetName()), v, pebble.Sync)
}

func (st *store) deleteTopic(name string) error {
	return st.db.Delete(nameKey(topicPrefix, name), pebble.Sync)
}

func (st *store) putSubscription(uid uint64, sub *pubsubpb.Subscription) error {
	return setSubscription(st.db, uid, sub)
}

func setSubscription(w pebble.Writer, uid uint64, sub *pubsubpb.Subscription) error {
	v, err := proto.MarshalOptions{}.MarshalAppend(binary.BigEndian.AppendUint64(nil, uid), sub)
	if err != nil {
		return fmt.Errorf("encode subscription: %w", err)
	}
	return w.Set(nameKey(subPrefix, sub.GetName()), v, pebble.Sync)
}

// detachSubscription keeps the subscription without what waits in it.
func (st *store) detachSubscription(uid uint64, sub *pubsubpb.Subscription) error {
	return st.empty(uid, func(b *pebble.Batch) error { return setSubscription(b, uid, sub) })
}

// deleteSubscription removes the subscription and everything that waits in it.
func (st *store) deleteSubscription(uid uint64, name string) error {
	return st.empty(uid, func(b *pebble.Batch) error { return b.Delete(nameKey(subPrefix, name), nil) })
}

// empty removes everything that waits in a subscription, in one write with another change.
func (st *store) empty(uid uint64, change func(*pebble.Batch) error) error {
	b := st.db.NewBatch()
	defer func() { _ = b.Close() }()
	if err := change(b); err != nil {
		return err
	}
	for _, prefix := range []byte{messagePrefix, retainedPrefix, snapshotPrefix} {
		if err := b.DeleteRange(keyOf(prefix, uid, 0), keyOf(prefix, uid+1, 0), nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

// dropRetained forgets what was kept of a subscription for seeking back.
func (st *store) dropRetained(uid uint64) error {
	return st.db.DeleteRange(keyOf(retainedPrefix, uid, 0), keyOf(retainedPrefix, uid+1, 0), pebble.NoSync)
}

// deleteSnapshot removes a snapshot with its messages.
func (st *store) deleteSnapshot(uid uint64, name string) error {
	return st.empty(uid, func(b *pebble.Batch) error { return b.Delete(nameKey(namePrefix, name), nil) })
}

// messages calls visit for those of a subscription or snapshot, in publish order.
func (st *store) messages(prefix byte, uid uint64, visit func(*entry)) error {
	return st.span(keyOf(prefix, uid, 0), keyOf(prefix, uid+1, 0), func(k, v []byte) error {
		_, e, err := decodeMessage(k, v)
		if err == nil {
			visit(e)
		}
		return err
	})
}

// change is a set of messages to add, update and remove in one atomic write.
type change struct {
	batch *pebble.Batch
	err   error
}

func (st *store) newChange() *change { return &change{batch: st.db.NewBatch()} }

func (c *change) put(uid uint64, e *entry) { c.set(messagePrefix, uid, e.seq, e.attempts, e.msg) }

func (c *change) set(prefix byte, uid, seq uint64, attempts int, m *pubsubpb.PubsubMessage) {
	if c.err != nil {
		return
	}
	v, err := proto.MarshalOptions{}.MarshalAppend(binary.AppendUvarint(nil, uint64(attempts)), m)
	if err != nil {
		c.err = fmt.Errorf("encode message: %w", err)
		return
	}
	c.err = c.batch.Set(keyOf(prefix, uid, seq), v, nil)
}

func (c *change) putSnapshot(s *snapshot) {
	if c.err != nil {
		return
	}
	v, err := proto.MarshalOptions{}.MarshalAppend(binary.BigEndian.AppendUint64(nil, s.uid), s.config)
	if err != nil {
		c.err = fmt.Errorf("encode snapshot: %w", err)
		return
	}
	c.err = c.batch.Set(nameKey(namePrefix, s.config.GetName()), v, nil)
}

func (c *change) remove(uid, seq uint64) { c.drop(messagePrefix, uid, seq) }

func (c *change) drop(prefix byte, uid, seq uint64) {
	if c.err == nil {
		c.err = c.batch.Delete(keyOf(prefix, uid, seq), nil)
	}
}

// commit writes the change and waits for the disk. Concurrent commits share one fsync.
func (c *change) commit() error { return c.finish(pebble.Sync) }

// post writes the change without waiting: it is on disk with the next commit of anybody. For what may be
// lost.
func (c *change) post() error { return c.finish(pebble.NoSync) }

func (c *change) finish(o *pebble.WriteOptions) error {
	err := c.err
	if err == nil && !c.batch.Empty() {
		err = c.batch.Commit(o)
	}
	return errors.Join(err, c.batch.Close())
}

// load calls the functions for everything on disk, topics first, then subscriptions, then messages in publish
// order.
func (st *store) load(topic func(*pubsubpb.Topic), sub func(uint64, *pubsubpb.Subscription), msg func(uid uint64, e *entry)) error {
	err := st.scan(topicPrefix, func(_, v []byte) error {
		t := new(pubsubpb.Topic)
		if err := proto.Unmarshal(v, t); err != nil {
			return fmt.Errorf("decode topic: %w", err)
		}
		topic(t)
		return nil
	})
	if err != nil {
		return err
	}
	err = st.scan(subPrefix, func(_, v []byte) error {
		s := new(pubsubpb.Subscription)
		if len(v) < 8 {
			return errors.New("decode subscription: record too short")
		}
		if err := proto.Unmarshal(v[8:], s); err != nil {
			return fmt.Errorf("decode subscription: %w", err)
		}
		sub(binary.BigEndian.Uint64(v), s)
		return nil
	})
	if err != nil {
		return err
	}
	return st.scan(messagePrefix, func(k, v []byte) error {
		uid, e, err := decodeMessage(k, v)
		if err == nil {
			msg(uid, e)
		}
		return err
	})
}

// loadSnapshots calls the function for each snapshot on disk.
func (st *store) loadSnapshots(snap func(*snapshot)) error {
	return st.scan(namePrefix, func(_, v []byte) error {
		if len(v) < 8 {
			return errors.New("decode snapshot: record too short")
		}
		s := &snapshot{binary.BigEndian.Uint64(v), new(pubsubpb.Snapshot)}
		if err := proto.Unmarshal(v[8:], s.config); err != nil {
			return fmt.Errorf("decode snapshot: %w", err)
		}
		snap(s)
		return nil
	})
}

func decodeMessage(k, v []byte) (uid uint64, e *entry, err error) {
	if len(k) != 17 {
		return 0, nil, errors.New("decode message: key of the wrong length")
	}
	attempts, n := binary.Uvarint(v)
	if n <= 0 {
		return 0, nil, errors.New("decode message: bad delivery count")
	}
	m := new(pubsubpb.PubsubMessage)
	if err := proto.Unmarshal(v[n:], m); err != nil {
		return 0, nil, fmt.Errorf("decode message: %w", err)
	}
	e = newEntry(binary.BigEndian.Uint64(k[9:]), m)
	e.attempts = int(attempts)
	return binary.BigEndian.Uint64(k[1:]), e, nil
}

func (st *store) scan(prefix byte, visit func(k, v []byte) error) error {
	return st.span([]byte{prefix}, []byte{prefix + 1}, visit)
}

func (st *store) span(lower, upper []byte, visit func(k, v []byte) error) (err error) {
	it, err := st.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if err := visit(it.Key(), v); err != nil {
			return err
		}
	}
	return it.Error()
}

// newEntry wraps a message that has its id and publish time.
func newEntry(seq uint64, m *pubsubpb.PubsubMessage) *entry {
	at := m.GetPublishTime().AsTime()
	return &entry{seq: seq, msg: m, size: int64(proto.Size(m)), published: at, at: at}
}

// retentionOf is how long an unacknowledged message of the subscription lives.
func retentionOf(sub *pubsubpb.Subscription) time.Duration {
	return sub.GetMessageRetentionDuration().AsDuration()
}
