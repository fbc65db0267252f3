package objectstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"exportd/internal/objectstore"
	"exportd/internal/objectstore/crc32c"
	"exportd/jobs"
)

// cutter is a TCP proxy that resets every connection after a random number of bytes, on the way to the server
// (before or in the middle of a chunk) or on the way back (when the chunk was taken).
type cutter struct {
	listener net.Listener
	target   string
	cuts     atomic.Int64
	done     sync.WaitGroup

	mu    sync.Mutex
	rng   *rand.Rand
	early int // connections in a row that were cut early
	conns map[net.Conn]bool
}

func newCutter(t testing.TB, target string, seed uint64) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: listener, target: target, rng: rand.New(rand.NewPCG(seed, 0)), conns: map[net.Conn]bool{}}
	c.done.Go(c.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		c.mu.Lock()
		for conn := range c.conns {
			_ = conn.Close()
		}
		c.mu.Unlock()
		c.done.Wait()
	})
	return c
}

func (c *cutter) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		up, down := c.budget()
		c.mu.Lock()
		c.conns[client], c.conns[server] = true, true
		c.mu.Unlock()
		c.done.Go(func() { c.pipe(server, client, up) })
		c.done.Go(func() { c.pipe(client, server, down) })
	}
}

// budget is how many bytes go each way. At most three connections in a row are cut before they can have
// carried a chunk, so that tries are never used up.
func (c *cutter) budget() (up, down int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.early == 3 {
		c.early = 0
		return 1<<20 + c.rng.Int64N(1<<20), 16 << 10
	}
	c.early++
	if c.rng.IntN(2) == 0 {
		return c.rng.Int64N(700 << 10), 1 << 40
	}
	return 1 << 40, c.rng.Int64N(2 << 10)
}

func (c *cutter) pipe(to, from net.Conn, budget int64) {
	if n, _ := io.CopyN(to, from, budget); n == budget {
		c.cuts.Add(1)
	}
	for _, conn := range []net.Conn{to, from} {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, which loses what is on its way
		}
		_ = conn.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, to)
	delete(c.conns, from)
}

func TestUploadsThroughBrokenConnectionsAreWhole(t *testing.T) {
	t.Parallel()
	host := listen(t, serve(t))
	direct := open(t, objectstore.Config{EmulatorHost: host})
	if err := direct.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			proxy := newCutter(t, host, seed)
			s := open(t, objectstore.Config{EmulatorHost: proxy.listener.Addr().String(), ChunkBytes: 256 << 10})
			for i, size := range []int{100, 900 << 10, 4<<20 + int(seed)} {
				name := fmt.Sprintf("%d/%d", seed, i)
				data := random(byte(seed), size)
				got, err := write(t, s, name, data)
				if err != nil {
					t.Fatalf("write %d bytes: %v", size, err)
				}
				if got.Size != int64(size) || got.CRC32C != crc32.Checksum(data, crc32c.Table) {
					t.Errorf("Commit of %d bytes = %+v", size, got)
				}
				if back := readAll(t, direct, name, 0); !bytes.Equal(back, data) {
					t.Errorf("storage has %d bytes, not the %d written", len(back), size)
				}
				if back := readAll(t, s, name, 0); !bytes.Equal(back, data) {
					t.Errorf("read %d bytes through the proxy, not the %d written", len(back), size)
				}
			}
			if proxy.cuts.Load() == 0 {
				t.Error("no connection was cut")
			}
		})
	}
}

// Every answer to an upload request is lost once, after the server did the work.
func TestLostAnswersAreNotErrors(t *testing.T) {
	t.Parallel()
	inner := serve(t)
	var seen sync.Map
	host := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := fmt.Sprint(r.Method, r.URL, r.Header.Get("Content-Range"), r.Header.Get("X-Goog-Gcs-Idempotency-Token"))
		if _, again := seen.LoadOrStore(key, true); again || r.Method == http.MethodGet {
			inner.ServeHTTP(w, r)
			return
		}
		inner.ServeHTTP(&lostAnswer{header: http.Header{}, ResponseWriter: w}, r)
		panic(http.ErrAbortHandler)
	}))
	s := open(t, objectstore.Config{EmulatorHost: host, ChunkBytes: 256 << 10})
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	var names []string
	var crc uint32
	var size int64
	for i, n := range []int{0, 10, 1<<20 + 1, 2 << 20} {
		name := fmt.Sprint("part-", i)
		data := random(7, n)
		o := mustWrite(t, s, name, data)
		if back := readAll(t, s, name, 0); !bytes.Equal(back, data) {
			t.Errorf("storage has %d bytes, not the %d written", len(back), n)
		}
		names, crc, size = append(names, name), crc32c.Combine(crc, o.CRC32C, o.Size), size+o.Size
	}
	if _, err := s.Compose(t.Context(), "final", names, jobs.ObjectAttrs{}, size, crc); err != nil {
		t.Error(err)
	}
	if n, err := s.DeletePrefix(t.Context(), "part-"); err != nil {
		t.Errorf("DeletePrefix = %d, %v", n, err)
	}
}

// lostAnswer keeps the answer from the client.
type lostAnswer struct {
	http.ResponseWriter
	header http.Header
}

func (l *lostAnswer) Header() http.Header         { return l.header }
func (l *lostAnswer) WriteHeader(int)             {}
func (l *lostAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (l *lostAnswer) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// The server fails for good in the middle of an upload: nothing is visible, and the error says why.
func TestUploadThatFailsHalfWayPublishesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		want   error
	}{"disk full": {507, objectstore.ErrQuota}, "permission lost": {403, objectstore.ErrPermission}, "server down": {503, objectstore.ErrUnavailable}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner := serve(t)
			var chunks atomic.Int64
			host := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.RawQuery, "upload_id") && chunks.Add(1) > 5 {
					_, _ = io.Copy(io.Discard, r.Body)
					w.WriteHeader(c.status)
					return
				}
				inner.ServeHTTP(w, r)
			}))
			s := open(t, objectstore.Config{EmulatorHost: host, ChunkBytes: 256 << 10})
			if err := s.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := write(t, s, "a", random(1, 8<<20)); !errors.Is(err, c.want) {
				t.Errorf("write = %v, want %v", err, c.want)
			}
			for o, err := range s.List(context.WithoutCancel(t.Context()), "") {
				t.Errorf("after the failure there is %+v, %v", o, err)
			}
		})
	}
}
