package e2e

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

const (
	slowReaders = 200
	// slowMemory is what the API may come to beside them; its manifest allows 256 MiB.
	slowMemory = 160 << 20
	// slowBytes of an answer are taken every slowTick: 100 a second.
	slowBytes, slowTick = 10, 100 * time.Millisecond
)

// TestSlowReaders: two hundred callers take their answers at 100 bytes a second, half of them lists of 200
// rows and half event streams. The API's memory is bounded, and others get their lists. When slow ones are
// cut is held in package api, in virtual time.
func TestSlowReaders(t *testing.T) {
	binary, err := measured()
	if err != nil {
		t.Fatal(err)
	}
	_, hosts := e2etest.Emulators(t, binary, t.TempDir())
	s := e2etest.Services(t, binary, hosts, e2etest.Sizes{Users: 200, Messages: 1000}, "EXPORTD_RATE_KEY_PER_SECOND=0", "EXPORTD_RATE_IP_PER_SECOND=0")
	id := s.Caller().Submit(t, "vip-messages", s.Messages())
	list := s.Caller().Get(t, "/vip-messages", s.Messages("limit", "200"), "Accept-Encoding", "identity").Want(t, http.StatusOK)
	before := peakRSS(t, s.Process)
	alone := percentile99(asks(t, s.Caller(), *floodFor))

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var taken, cut atomic.Int64
	begun := make(chan struct{}, slowReaders)
	for i := range slowReaders {
		target := "/vip-messages?" + s.Messages("limit", "200").Encode()
		if i%2 == 1 {
			target = "/exports/" + id + "/events"
		}
		c, err := slowDialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.APIURL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		wg.Go(func() { slowly(c, request(s, target), begun, stop, &taken, &cut) })
	}
	for range slowReaders {
		<-begun
	}
	beside := percentile99(asks(t, s.Caller(), max(*floodFor, 3*time.Second)))
	if r := s.Caller().Get(t, "/vip-messages", s.Messages("limit", "200")); r.Status != http.StatusOK {
		t.Errorf("a list beside them: status %d", r.Status)
	}
	peak := peakRSS(t, s.Process)
	close(stop)
	wg.Wait()
	t.Logf("%d slow readers of lists of %d bytes and of event streams: %d bytes taken, %d cut; peak %.1f MiB (%.1f before); p99 of others' requests %v (%v alone)",
		slowReaders, len(list.Body), taken.Load(), cut.Load(), float64(peak)/(1<<20), float64(before)/(1<<20), beside, alone)
	if peak > slowMemory {
		t.Errorf("the API came to %d MiB, want at most %d", peak>>20, slowMemory>>20)
	}
	if whole := int64(slowReaders/2) * int64(len(list.Body)); taken.Load() >= whole {
		t.Errorf("%d bytes were taken: the readers were not slow", taken.Load())
	}
}

// slowDialer has the kernel hold little for a reader, so that it is the server who waits.
var slowDialer = net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
	}); err != nil {
		return err
	}
	return failed
}}

// request is a signed GET as it goes over the wire.
func request(s *e2etest.Stack, target string) string {
	date := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nx-api-key: " + s.APIKey + "\r\nx-date: " + date +
		"\r\nx-signature: " + e2etest.Sign(s.Secret, date) + "\r\n\r\n"
}

// slowly asks and takes the answer slowly; it says when its first bytes have come.
func slowly(c net.Conn, ask string, begun chan<- struct{}, stop <-chan struct{}, taken, cut *atomic.Int64) {
	tick := time.NewTicker(slowTick)
	defer tick.Stop()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, err := io.WriteString(c, ask)
	piece, first := make([]byte, slowBytes), true
	for {
		if err == nil {
			var n int
			n, err = c.Read(piece)
			taken.Add(int64(n))
		}
		if first {
			begun <- struct{}{}
			first = false
		}
		if err != nil {
			cut.Add(1)
			return
		}
		select {
		case <-tick.C:
		case <-stop:
			_ = c.Close()
			return
		}
	}
}
