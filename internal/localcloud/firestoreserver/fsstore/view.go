package fsstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// View reads the state of all databases at one instant. It may be used from one goroutine at a time and must
// be closed.
type View struct {
	s    *Store
	snap *pebble.Snapshot
	at   int64
}

// Strong opens a view that covers every acknowledged commit.
func (s *Store) Strong() (*View, error) {
	t, err := s.clock.strong()
	if err != nil {
		return nil, err
	}
	return &View{s: s, snap: s.db.NewSnapshot(), at: t}, nil
}

// At opens a view of the instant t. The error is ErrTooOld or ErrFuture when t cannot be read.
func (s *Store) At(t int64) (*View, error) {
	if s.clock.now().UnixMicro()-t > s.retention {
		return nil, ErrTooOld
	}
	if err := s.clock.at(t); err != nil {
		return nil, err
	}
	return &View{s: s, snap: s.db.NewSnapshot(), at: t}, nil
}

// View shows the state before the commit that a belongs to, its own writes not included. It is valid only
// inside of Run and for commits that are Alone.
func (a *Applier) View() *View {
	return &View{s: a.s, snap: a.s.db.NewSnapshot(), at: a.at}
}

// Now returns an instant that covers every acknowledged commit and to which no later commit can add.
func (s *Store) Now() (int64, error) { return s.clock.strong() }

// Instant returns the instant the view shows.
func (v *View) Instant() int64 { return v.at }

// Close releases the view.
func (v *View) Close() error { return v.snap.Close() }

// IndexesUsable reports whether index entries tell the truth about the view's instant; they know nothing of
// the time before they were last rebuilt.
func (v *View) IndexesUsable() bool { return v.at >= v.s.opened }

// Document is one stored version of a document.
type Document struct {
	Path   fsvalue.Path
	Update int64
	Create int64
	// Body is the wire form of the fields, then create_time and update_time: the tail of a wire Document,
	// before which only the name is missing.
	Body []byte
}

// Get returns the document, or nil when it does not exist at the instant.
func (v *View) Get(db uint32, p fsvalue.Path) (*Document, error) {
	val, err := v.Lookup(DocumentKey(nil, db, p), db, p.CollectionID())
	if val == nil || err != nil {
		return nil, err
	}
	return decodeDocument(p, val), nil
}

// Lookup returns a copy of the value that key has at the instant; key must be a document's, in the given
// collection group.
func (v *View) Lookup(key []byte, db uint32, group string) ([]byte, error) {
	val, err := getCopy(v.snap, key)
	if err != nil {
		return nil, fmt.Errorf("read document: %w", err)
	}
	if val != nil && instant(val) <= v.at {
		return val, nil
	}
	if v.s.ended(groupID{db, group}) <= v.at {
		return nil, nil
	}
	return v.lookupHistory(key)
}

func (v *View) lookupHistory(key []byte) ([]byte, error) {
	for _, b := range v.s.bucketsAfter(v.at) {
		it, err := v.snap.NewIter(&pebble.IterOptions{
			LowerBound: historyKey(nil, b, key, v.at+1),
			UpperBound: historyKey(nil, b, key, -1),
		})
		if err != nil {
			return nil, fmt.Errorf("read document history: %w", err)
		}
		// The first version that ended after the instant is the only candidate of all buckets: later ones
		// began no earlier than it ended.
		if it.First() {
			val := bytes.Clone(it.Value())
			if err := it.Close(); err != nil {
				return nil, err
			}
			if instant(val) <= v.at {
				return val, nil
			}
			return nil, nil
		}
		if err := it.Close(); err != nil {
			return nil, fmt.Errorf("read document history: %w", err)
		}
	}
	return nil, nil
}

func decodeDocument(p fsvalue.Path, val []byte) *Document {
	return &Document{Path: p, Update: instant(val), Create: instant(val[fromBytes:]), Body: val[documentHeader:]}
}

// DocumentBody returns the body part of a document's value; see Document.
func DocumentBody(value []byte) []byte { return value[documentHeader:] }

// DocumentUpdate returns the update instant of a document's value.
func DocumentUpdate(value []byte) int64 { return instant(value) }

// EntryName splits the value of an index entry: the length of the name at the end of its key, and the
// document's body when the index carries it.
func EntryName(value []byte) (nameLen int, body []byte) {
	n := binary.BigEndian.Uint16(value[fromBytes:])
	if n&entryHasBody != 0 {
		return int(n &^ entryHasBody), value[entryHeader:]
	}
	return int(n), nil
}

// Range bounds a cursor. A nil bound means the end of the prefix.
type Range struct {
	DB      uint32
	Group   string // collection group all keys belong to; "" when of many
	Lower   []byte // inclusive
	Upper   []byte // exclusive
	Reverse bool
}

// Cursor walks the keys of a range that exist at its view's instant.
type Cursor struct {
	heads   []head
	cur     int // index of the current head, -1 when exhausted
	at      int64
	reverse bool
	err     error
}

// head is one source of keys: the present, or one history bucket.
type head struct {
	it   *pebble.Iterator
	skip int // bytes before the key proper
	drop int // bytes after it
	ok   bool

	bucket [historyKeyPrefix]byte // what the keys of a bucket begin with
}

func (h *head) key() []byte {
	k := h.it.Key()
	return k[h.skip : len(k)-h.drop]
}

// Scan opens a cursor, which must be closed before the view. It stands before its first key: call Next or
// Seek.
func (v *View) Scan(r Range) (*Cursor, error) {
	c := &Cursor{at: v.at, reverse: r.Reverse, cur: -1}
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: r.Lower, UpperBound: r.Upper})
	if err != nil {
		return nil, fmt.Errorf("open cursor: %w", err)
	}
	c.heads = append(c.heads, head{it: it})
	if r.Group != "" && v.s.ended(groupID{r.DB, r.Group}) <= v.at {
		return c, nil
	}
	for _, b := range v.s.bucketsAfter(v.at) {
		p := historyPrefix(nil, b)
		lower := append(bytes.Clone(p), r.Lower...)
		it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: append(p, r.Upper...)})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open history cursor: %w", err), c.Close())
		}
		c.heads = append(c.heads, head{it: it, skip: historyKeyPrefix, drop: historyKeySuffix, bucket: [historyKeyPrefix]byte(p)})
	}
	return c, nil
}

// Next moves to the next key in the cursor's direction and reports whether there is one.
func (c *Cursor) Next() bool {
	switch {
	case c.err != nil:
		return false
	case c.cur < 0:
		for i := range c.heads {
			c.first(&c.heads[i])
		}
	default:
		h := &c.heads[c.cur]
		h.ok = c.step(h)
		c.settle(h)
	}
	return c.choose()
}

// Seek moves to the first key at or after key in the cursor's direction: at or above it, or strictly below it
// when reversed.
func (c *Cursor) Seek(key []byte) bool {
	if c.err != nil {
		return false
	}
	for i := range c.heads {
		h := &c.heads[i]
		target := key
		if h.skip > 0 {
			target = append(bytes.Clone(h.bucket[:]), key...)
		}
		if c.reverse {
			h.ok = h.it.SeekLT(target)
		} else {
			h.ok = h.it.SeekGE(target)
		}
		c.settle(h)
	}
	return c.choose()
}

func (c *Cursor) first(h *head) {
	if c.reverse {
		h.ok = h.it.Last()
	} else {
		h.ok = h.it.First()
	}
	c.settle(h)
}

func (c *Cursor) step(h *head) bool {
	if c.reverse {
		return h.it.Prev()
	}
	return h.it.Next()
}

// settle moves h on until it stands on a key visible at the instant.
func (c *Cursor) settle(h *head) {
	for h.ok && !c.visible(h) {
		h.ok = c.step(h)
	}
	if !h.ok && c.err == nil {
		c.err = h.it.Error()
	}
}

func (c *Cursor) visible(h *head) bool {
	if h.drop > 0 {
		k := h.it.Key()
		if instant(k[len(k)-historyKeySuffix:]) <= c.at {
			return false
		}
	}
	return instant(h.it.Value()) <= c.at
}

// choose makes the head with the next key the current one. A key is visible in at most one head, since the
// periods of its versions do not overlap.
func (c *Cursor) choose() bool {
	c.cur = -1
	if c.err != nil {
		return false
	}
	if len(c.heads) == 1 {
		if c.heads[0].ok {
			c.cur = 0
			return true
		}
		return false
	}
	for i := range c.heads {
		if !c.heads[i].ok {
			continue
		}
		if c.cur < 0 {
			c.cur = i
			continue
		}
		d := bytes.Compare(c.heads[i].key(), c.heads[c.cur].key())
		if c.reverse {
			d = -d
		}
		if d < 0 {
			c.cur = i
		}
	}
	return c.cur >= 0
}

// Key returns the current key, valid until the cursor moves.
func (c *Cursor) Key() []byte { return c.heads[c.cur].key() }

// Value returns the current value, valid until the cursor moves.
func (c *Cursor) Value() []byte { return c.heads[c.cur].it.Value() }

// Err returns the error that ended the walk, if any.
func (c *Cursor) Err() error { return c.err }

// Close releases the cursor.
func (c *Cursor) Close() error {
	var err error
	for i := range c.heads {
		err = errors.Join(err, c.heads[i].it.Close())
	}
	c.heads = nil
	return err
}
