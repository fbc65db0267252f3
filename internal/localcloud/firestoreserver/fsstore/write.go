package fsstore

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	firestorepb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// write puts what a finished commit changed into the group's batch.
func (g *group) write(a *Applier) (*Change, error) {
	change := &Change{DB: a.db, Instant: a.at}
	w := writer{s: g.s, b: g.batch, at: a.at}
	for _, d := range a.order {
		if d.old == nil && d.current == nil {
			continue
		}
		if d.old != nil && d.current != nil && d.current.Prepared == nil {
			continue // only looked at
		}
		if d.old != nil && d.current != nil && !d.forced && sameVersion(d) {
			continue
		}
		dc, err := w.document(a.db, d)
		if err != nil {
			return nil, err
		}
		g.dirty[docID{a.db, d.path}] = true
		g.s.noteChange(groupID{a.db, d.path.CollectionID()}, a.at, d.old != nil)
		change.Docs = append(change.Docs, dc)
	}
	return change, nil
}

// sameVersion reports whether writes of one commit cancelled each other out.
func sameVersion(d *docState) bool {
	return d.current.Create == d.old.Create && d.current.Update == d.old.Update
}

func (s *Store) noteChange(g groupID, at int64, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.touched) > maxCachedFields {
		clear(s.touched)
		clear(s.closed)
		s.restored = at
	}
	s.touched[g] = at
	if ended {
		s.closed[g] = at
	} else if _, ok := s.closed[g]; !ok {
		s.closed[g] = s.restored
	}
}

// writer turns document changes into engine operations.
type writer struct {
	s      *Store
	b      *pebble.Batch
	at     int64
	bucket int64 // 0 until needed
	buf    []byte
}

func (w *writer) document(db uint32, d *docState) (DocChange, error) {
	dc := DocChange{Path: d.path, Old: d.old}
	var after []entry
	if d.current != nil {
		p := d.current.Prepared
		body := appendTimes(p.wire, d.current.Create, d.current.Update) // into the room that Prepare left
		dc.New = &Document{Path: d.path, Create: d.current.Create, Update: d.current.Update, Body: body}
		after = p.entries
	}
	if err := w.body(db, d, dc); err != nil {
		return dc, err
	}
	return dc, w.entries(db, dc, after)
}

func (w *writer) body(db uint32, d *docState, dc DocChange) error {
	if dc.Old != nil {
		w.buf = putInstant(putInstant(w.buf[:0], dc.Old.Update), dc.Old.Create)
		w.buf = append(w.buf, dc.Old.Body...)
		if err := w.retire(d.key, w.buf); err != nil {
			return err
		}
	}
	gk := groupKey(nil, db, d.path)
	if dc.Old != nil && (dc.New == nil || dc.New.Create != dc.Old.Create) {
		if err := w.retire(gk, putInstant(nil, dc.Old.Create)); err != nil {
			return err
		}
		if dc.New == nil {
			if err := w.b.Delete(d.key, nil); err != nil {
				return fmt.Errorf("delete document: %w", err)
			}
			return w.b.Delete(gk, nil)
		}
	}
	if dc.Old == nil || dc.New.Create != dc.Old.Create {
		if err := w.b.Set(gk, putInstant(nil, dc.New.Create), nil); err != nil {
			return fmt.Errorf("write group entry: %w", err)
		}
	}
	op := w.b.SetDeferred(len(d.key), documentHeader+len(dc.New.Body))
	copy(op.Key, d.key)
	binary.BigEndian.PutUint64(op.Value, uint64(dc.New.Update))
	binary.BigEndian.PutUint64(op.Value[fromBytes:], uint64(dc.New.Create))
	copy(op.Value[documentHeader:], dc.New.Body)
	return op.Finish()
}

func (w *writer) entries(db uint32, dc DocChange, after []entry) error {
	gone, come, stay := []entry(nil), after, []entry(nil)
	if dc.Old != nil {
		before, err := w.oldEntries(db, dc.Old)
		if err != nil {
			return err
		}
		gone, come, stay = diffEntries(before, after)
	}
	w.s.wear.wrote(db, dc.Path, come)
	for i := range stay {
		if !stay[i].covers {
			continue
		}
		stale, err := w.hasBody(stay[i].key)
		if err != nil {
			return err
		}
		if stale {
			gone, come = append(gone, stay[i]), append(come, stay[i])
		}
	}
	for i := range gone {
		key := gone[i].key
		val, err := getCopy(w.s.db, key)
		if err != nil {
			return fmt.Errorf("read index entry: %w", err)
		}
		if val == nil {
			return fmt.Errorf("index of %s: %w", dc.Path, errCorrupt)
		}
		if err := w.retire(key, val); err != nil {
			return err
		}
		if err := w.b.Delete(key, nil); err != nil {
			return fmt.Errorf("delete index entry: %w", err)
		}
	}
	var body []byte
	if dc.Old == nil {
		// Only a new document's entries carry its body. One that changes will change again, and each change
		// would cost as many copies, and as many in the history, as there are indexes.
		body = dc.New.Body
	}
	for i := range come {
		if err := setEntry(w.b, &come[i], w.at, body); err != nil {
			return fmt.Errorf("write index entry: %w", err)
		}
	}
	return nil
}

// hasBody reports whether the entry carries a document's body.
func (w *writer) hasBody(key []byte) (bool, error) {
	val, err := getCopy(w.s.db, key)
	if err != nil || len(val) < entryHeader {
		return false, err
	}
	_, body := EntryName(val)
	return body != nil, nil
}

func (w *writer) oldEntries(db uint32, old *Document) ([]entry, error) {
	var doc firestorepb.Document
	if err := proto.Unmarshal(old.Body, &doc); err != nil {
		return nil, fmt.Errorf("decode stored document: %w", err)
	}
	return w.s.catalog.entries(db, old.Path, doc.Fields)
}

// retire keeps the value that key had before this commit readable.
func (w *writer) retire(key, value []byte) error {
	if w.bucket == 0 {
		w.bucket = w.s.bucketFor(w.at)
	}
	return w.b.Set(historyKey(nil, w.bucket, key, w.at), value, nil)
}
