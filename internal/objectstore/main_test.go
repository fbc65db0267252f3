package objectstore_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/localcloud/storageserver"
	"exportd/internal/objectstore"
	"exportd/jobs"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...)
}

// serve runs the embedded server and returns its handler.
func serve(t testing.TB) http.Handler {
	t.Helper()
	s, err := storageserver.Open(storageserver.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Handler()
}

func listen(t testing.TB, h http.Handler) (host string) {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
	})
	return web.Listener.Addr().String()
}

func open(t testing.TB, cfg objectstore.Config) *objectstore.Store {
	t.Helper()
	cfg.Bucket = "exports-test"
	cfg.Backoff = time.Millisecond
	s, err := objectstore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newStore is a store with its bucket on a fresh embedded server.
func newStore(t testing.TB, cfg objectstore.Config) *objectstore.Store {
	t.Helper()
	cfg.EmulatorHost = listen(t, serve(t))
	s := open(t, cfg)
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// write writes data in pieces of uneven size.
func write(t testing.TB, s *objectstore.Store, name string, data []byte) (jobs.Object, error) {
	t.Helper()
	w := s.Create(t.Context(), name, jobs.ObjectAttrs{ContentType: "text/csv; charset=utf-8"})
	defer w.Abort()
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 100_003)
		if _, err := w.Write(rest[:n]); err != nil {
			return jobs.Object{}, err
		}
		rest = rest[n:]
	}
	return w.Commit(t.Context())
}

func mustWrite(t testing.TB, s *objectstore.Store, name string, data []byte) jobs.Object {
	t.Helper()
	o, err := write(t, s, name, data)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func readAll(t testing.TB, s *objectstore.Store, name string, offset int64) []byte {
	t.Helper()
	r, err := s.NewReader(t.Context(), name, offset)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

func random(seed byte, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}
