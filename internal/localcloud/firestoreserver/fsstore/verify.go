package fsstore

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	firestorepb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Verify checks that the index entries are exactly those that the documents call for, and returns the number
// of documents. It reads everything, and it needs memory for one document only.
func (s *Store) Verify() (documents int, err error) {
	snap := s.db.NewSnapshot()
	defer func() {
		if cerr := snap.Close(); err == nil {
			err = cerr
		}
	}()
	s.mu.RLock()
	names := make(map[uint32]string, len(s.databases))
	for name, id := range s.databases {
		names[id] = name
	}
	s.mu.RUnlock()
	want := 0
	for id, name := range names {
		db, err := fsvalue.ParseDatabase(name)
		if err != nil {
			return documents, err
		}
		docs, entries, err := s.verifyDatabase(snap, db, id)
		if err != nil {
			return documents, err
		}
		documents += docs
		want += entries + docs
	}
	have := 0
	for _, space := range []byte{spaceGroup, spaceIndex, spaceCovering} {
		n, err := countKeys(snap, []byte{space}, []byte{space + 1})
		if err != nil {
			return documents, err
		}
		have += n
	}
	if have != want {
		return documents, fmt.Errorf("documents call for %d index entries, there are %d", want, have)
	}
	return documents, nil
}

func (s *Store) verifyDatabase(snap *pebble.Snapshot, db fsvalue.Database, id uint32) (docs, entries int, err error) {
	lower := databasePrefix(nil, spaceDocument, id)
	it, err := snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: databasePrefix(nil, spaceDocument, id+1)})
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		p, err := documentPath(db, it.Key()[len(lower):])
		if err != nil {
			return docs, entries, err
		}
		if len(it.Value()) < documentHeader {
			return docs, entries, fmt.Errorf("%s: %w", p, errCorrupt)
		}
		var msg firestorepb.Document
		if err := proto.Unmarshal(it.Value()[documentHeader:], &msg); err != nil {
			return docs, entries, fmt.Errorf("decode %s: %w", p, err)
		}
		list, err := s.catalog.entries(id, p, msg.Fields)
		if err != nil {
			return docs, entries, err
		}
		for i := range list {
			val, err := getCopy(snap, list[i].key)
			if err != nil {
				return docs, entries, err
			}
			if val == nil {
				return docs, entries, fmt.Errorf("%s: %w", p, errCorrupt)
			}
		}
		docs++
		entries += len(list)
	}
	return docs, entries, it.Error()
}

// documentPath decodes what follows the database in a document's key.
func documentPath(db fsvalue.Database, key []byte) (fsvalue.Path, error) {
	coll, rest, err := fsvalue.CutPath(db, key, fsvalue.Ascending)
	if err != nil {
		return coll, err
	}
	id, _, err := fsvalue.CutString(rest)
	return coll.Child(id), err
}

func countKeys(snap *pebble.Snapshot, lower, upper []byte) (n int, err error) {
	it, err := snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Error(); err != nil {
		return n, err
	}
	return n, it.Close()
}
