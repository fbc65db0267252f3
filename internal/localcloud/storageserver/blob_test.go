package storageserver

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// stored counts the segments in files and in the index.
func stored(t testing.TB, s *Server) (files, small int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.blobs.files.(folder).dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if err := scan(s.db, []byte("d"), []byte("e"), func([]byte, []byte) error { small++; return nil }); err != nil {
		t.Fatal(err)
	}
	return len(names), small
}

// Composites share bytes with their sources; who uses what is learnt again at start, and the last user's end
// frees the space.
func TestSharedBytesGoWithTheirLastUser(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, stop := open(t, Options{Dir: dir})
	restart := func() {
		t.Helper()
		stop()
		s, stop = open(t, Options{Dir: dir})
	}
	ok := func(method, target, body string) {
		t.Helper()
		if w := do(t, s, method, target, body); w.Code >= 300 {
			t.Fatalf("%s %s = %d %s", method, target, w.Code, w.Body)
		}
	}
	check := func(wantFiles, wantSmall int) {
		t.Helper()
		if files, small := stored(t, s); files != wantFiles || small != wantSmall {
			t.Errorf("%d files and %d small segments, want %d and %d", files, small, wantFiles, wantSmall)
		}
	}
	large, small := strings.Repeat("large", smallBytes), "small"
	ok("POST", "/storage/v1/b", `{"name":"bkt"}`)
	ok("POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name=l", large)
	ok("POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name=s", small)
	ok("POST", "/storage/v1/b/bkt/o/c/compose", `{"sourceObjects":[{"name":"l"},{"name":"s"},{"name":"l"}]}`)
	ok("POST", "/storage/v1/b/bkt/o/d/compose", `{"sourceObjects":[{"name":"c"},{"name":"s"}]}`)
	check(1, 1)
	ok("DELETE", "/storage/v1/b/bkt/o/l", "")
	restart()
	ok("DELETE", "/storage/v1/b/bkt/o/s", "")
	ok("DELETE", "/storage/v1/b/bkt/o/c", "")
	check(1, 1)
	restart()
	if got := do(t, s, "GET", "/storage/v1/b/bkt/o/d?alt=media", "").Body.String(); got != large+small+large+small {
		t.Errorf("composite has %d bytes, and not the right ones", len(got))
	}
	ok("POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name=d", "x") // overwritten
	check(0, 1)
	ok("DELETE", "/storage/v1/b/bkt/o/d", "")
	check(0, 0)
}

func TestStrayBytesAreRemovedAtStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, stop := open(t, Options{Dir: dir})
	do(t, s, "POST", "/storage/v1/b", `{"name":"bkt"}`)
	do(t, s, "POST", "/upload/storage/v1/b/bkt/o?uploadType=media&name=s", "small")
	if err := s.blobs.appendTo(s.nextID(), &digest{}, strings.NewReader("stray")); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Set(smallKey(s.nextID()), []byte("stray"), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if files, small := stored(t, s); files != 1 || small != 2 {
		t.Fatalf("%d files and %d small segments, want 1 and 2", files, small)
	}
	stop()
	s, _ = open(t, Options{Dir: dir})
	if files, small := stored(t, s); files != 0 || small != 1 {
		t.Errorf("%d files and %d small segments after a restart, want 0 and 1", files, small)
	}
	if w := do(t, s, "GET", "/storage/v1/b/bkt/o/s?alt=media", ""); w.Code != http.StatusOK || w.Body.String() != "small" {
		t.Errorf("object after a restart = %d %q", w.Code, w.Body)
	}
}
