package connection_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"exportd/internal/connection"
	"exportd/internal/connection/connectiontest"
)

// A request into silence ends in its time with an error that is tried again, whether it waits for the head,
// sends, or receives; the next one finds another connection.
func TestSilentHTTP(t *testing.T) {
	t.Parallel()
	const answer = 100 * time.Millisecond
	half := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/half" {
			_, _ = w.Write(make([]byte, 64<<10))
			_ = http.NewResponseController(w).Flush()
			<-half
		}
	}))
	defer server.Close()
	defer close(half)
	proxy := connectiontest.Start(t, server.Listener.Addr().String())
	g := &connection.Guard{}
	transport := g.Transport(answer)
	defer transport.Close()
	client := &http.Client{Transport: transport}
	do := func(path string, body io.Reader) error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+proxy.Addr+path, body)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return errors.Join(err, res.Body.Close())
	}
	if err := do("/", nil); err != nil {
		t.Fatal(err)
	}
	if err := do("/half", nil); !isTimeout(err) {
		t.Errorf("half an answer = %v", err)
	}
	proxy.Silence()
	if err := do("/", nil); !isTimeout(err) {
		t.Errorf("no answer = %v", err)
	}
	if err := do("/", bytes.NewReader(make([]byte, 8<<20))); !isTimeout(err) {
		t.Errorf("no answer to much = %v", err)
	}
	if s := g.Silent(time.Now().Add(time.Hour)); s < time.Hour {
		t.Errorf("silent for %s", s)
	}
	proxy.Heal()
	if err := do("/", nil); err != nil { // by another connection: those of before stay silent
		t.Errorf("after healing = %v", err)
	}
	if s := g.Silent(time.Now().Add(time.Hour)); s != 0 {
		t.Errorf("silent for %s after an answer", s)
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout() && errors.Is(err, connection.ErrSilent)
}

// What moves slowly is not silent: a long upload, a long download, a reader that takes its time.
func TestSlowHTTP(t *testing.T) {
	t.Parallel()
	const answer = 200 * time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for range 6 {
			_, _ = w.Write([]byte("piece"))
			_ = http.NewResponseController(w).Flush()
			pass(answer / 3)
		}
	}))
	defer server.Close()
	transport := (&connection.Guard{}).Transport(answer)
	defer transport.Close()
	client := &http.Client{Transport: transport}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, &slowReader{pieces: 6, pause: answer / 3})
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	pass(2 * answer) // the reader's own pause
	got, err := io.ReadAll(res.Body)
	if err != nil || len(got) != 30 {
		t.Errorf("read %q, %v", got, err)
	}
	_ = res.Body.Close()
}

// pass lets real time pass, which the other side of a real connection takes.
func pass(d time.Duration) { <-time.After(d) }

type slowReader struct {
	pieces int
	pause  time.Duration
}

func (s *slowReader) Read(p []byte) (int, error) {
	if s.pieces == 0 {
		return 0, io.EOF
	}
	s.pieces--
	pass(s.pause)
	return copy(p, "piece"), nil
}
