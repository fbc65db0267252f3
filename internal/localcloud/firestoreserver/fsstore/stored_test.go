package fsstore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FuzzStored opens a store with any entry in it beside a document's own: it is an error, when it is opened or
// verified, or harmless.
func FuzzStored(f *testing.F) {
	f.Add([]byte{spaceMeta}, []byte{})
	for _, space := range []byte{spaceDocument, spaceGroup, spaceIndex, spaceCovering, spaceHistory} {
		f.Add([]byte{space, 0, 0, 0, 1, 'c', 0, 1, 0, 1, 'd', 0, 1}, make([]byte, documentHeader))
		f.Add([]byte{space}, []byte{})
	}
	for _, name := range []string{"format", "lease", "indexes", "db/projects/q/databases/(default)"} {
		f.Add(metaKey(name), []byte{0, 0, 0, 0, 0, 0, 0, 9})
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		fs := vfs.NewMem()
		opt := Options{Dir: t.TempDir(), FS: fs}
		s, err := Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.DatabaseID("projects/p/databases/(default)"); err != nil {
			t.Fatal(err)
		}
		put(t, s, path(t, "c/d"), 1)
		put(t, s, path(t, "c/d"), 2)
		if len(key) == 0 {
			key = []byte{0}
		}
		if err := s.db.Set(key, value, pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(opt); err != nil {
			return
		}
		_, _ = s.Verify() // says what it finds
		if err := s.dropHistory(t.Context()); err == nil {
			put(t, s, path(t, "c/e"), 3)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
