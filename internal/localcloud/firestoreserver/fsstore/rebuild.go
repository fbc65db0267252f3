package fsstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	firestorepb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// rebuildBatch bounds the memory of an index rebuild.
const rebuildBatch = 2 << 20

// syncIndexes builds all index entries anew when the configuration is not that of the last run.
func (s *Store) syncIndexes() error {
	opened, err := s.metaInstant("indexed")
	if err != nil {
		return err
	}
	if opened != nil {
		s.opened = instant(opened)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(s.fingerprint))
	want := binary.BigEndian.AppendUint64(nil, h.Sum64())
	have, err := s.meta("indexes")
	if err != nil || bytes.Equal(have, want) {
		return err
	}
	if have != nil {
		if err := s.rebuild(); err != nil {
			return fmt.Errorf("rebuild indexes: %w", err)
		}
	}
	return s.db.Set(metaKey("indexes"), want, pebble.Sync)
}

// rebuild drops all entries and their history and derives them again from the documents. It runs before the
// store serves anyone.
func (s *Store) rebuild() error {
	begun := time.Now()
	s.opened = s.clock.last
	if err := s.db.Set(metaKey("indexed"), putInstant(nil, s.opened), pebble.Sync); err != nil {
		return err
	}
	if err := s.db.DeleteRange([]byte{spaceIndex}, []byte{spaceCovering + 1}, pebble.NoSync); err != nil {
		return err
	}
	for _, b := range s.buckets {
		p := historyPrefix(nil, b)
		if err := s.db.DeleteRange(append(bytes.Clone(p), spaceIndex), append(p, spaceCovering+1), pebble.NoSync); err != nil {
			return err
		}
	}
	n := 0
	for name, id := range s.databases {
		db, err := fsvalue.ParseDatabase(name)
		if err != nil {
			return err
		}
		k, err := s.rebuildDatabase(db, id)
		if err != nil {
			return err
		}
		n += k
	}
	s.log.Info("indexes rebuilt", "documents", n, "took", time.Since(begun))
	return nil
}

func (s *Store) rebuildDatabase(db fsvalue.Database, id uint32) (n int, err error) {
	lower := databasePrefix(nil, spaceDocument, id)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: databasePrefix(nil, spaceDocument, id+1)})
	if err != nil {
		return 0, err
	}
	b := s.db.NewBatch()
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if err = s.rebuildDocument(b, db, id, it.Key()[len(lower):], it.Value()); err != nil {
			break
		}
		n++
		if b.Len() > rebuildBatch {
			err = b.Commit(pebble.NoSync)
			b.Reset()
		}
	}
	if err == nil {
		err = it.Error()
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	return n, err
}

func (s *Store) rebuildDocument(b *pebble.Batch, db fsvalue.Database, id uint32, key, val []byte) error {
	p, err := documentPath(db, key)
	if err != nil {
		return err
	}
	d := decodeDocument(p, val)
	var msg firestorepb.Document
	if err := proto.Unmarshal(d.Body, &msg); err != nil {
		return err
	}
	entries, err := s.catalog.entries(id, d.Path, msg.Fields)
	if err != nil {
		return err
	}
	for i := range entries {
		if err := setEntry(b, &entries[i], d.Update, d.Body); err != nil {
			return err
		}
	}
	return nil
}
