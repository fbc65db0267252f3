package objectstore_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"exportd/internal/connection"
	"exportd/internal/connection/connectiontest"
	"exportd/internal/objectstore"
)

// Calls that began while the way to Storage was silent end well soon after it is good again, on connections
// of their own; it once took 36 s, and 90 s for others.
func TestSilence(t *testing.T) {
	t.Parallel()
	host := listen(t, serve(t))
	direct := open(t, objectstore.Config{EmulatorHost: host})
	if err := direct.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy := connectiontest.Start(t, host)
	guard := &connection.Guard{}
	s := open(t, objectstore.Config{EmulatorHost: proxy.Addr, Guard: guard, AnswerTimeout: time.Second, Backoff: 10 * time.Millisecond})
	content := bytes.Repeat([]byte("line\n"), 200_000)
	put := func(name string) error {
		_, err := write(t, s, name, content)
		return err
	}
	if err := put("exports/before"); err != nil {
		t.Fatal(err)
	}
	proxy.Silence()
	done := make(chan error, 3)
	go func() { done <- put("exports/a") }()
	go func() { done <- s.Ping(t.Context()) }()
	go func() {
		r, err := s.NewReader(t.Context(), "exports/before", 0)
		if err == nil {
			var got []byte
			got, err = io.ReadAll(r)
			if err == nil && !bytes.Equal(got, content) {
				t.Errorf("read %d bytes of %d", len(got), len(content))
			}
			_ = r.Close()
		}
		done <- err
	}()
	proxy.Await(proxy.Dials() + 3) // they have tried again
	proxy.Heal()
	healed := time.Now()
	for range 3 {
		if err := <-done; err != nil {
			t.Errorf("a call through silence = %v", err)
		}
	}
	t.Logf("all ended %s after healing", time.Since(healed))
	if _, err := direct.Attrs(t.Context(), "exports/a"); err != nil {
		t.Errorf("the object is not there: %v", err)
	}
}
