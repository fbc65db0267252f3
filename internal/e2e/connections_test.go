package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/machinetest"
)

const (
	idleDialled = 10_000
	slowDialled = 500
	// crowdMemory is what the API may come to; its manifest allows 256 MiB.
	crowdMemory = 160 << 20
	// crowdAddresses are whom the connections come from: one address has a share.
	crowdAddresses = 5
	// What is to be left open: 1,000 idle ones without a key, and what has sent 16 MiB in pieces of 55,000
	// bytes.
	idleStrangersLeft, slowLeft = 1000, 16<<20/55_000 + 1
)

// held is what a stranger does with a connection: it asks for something and falls silent, or sends a byte a
// second of what never ends.
type held struct {
	name  string
	n     int
	begin func(c net.Conn) error
	next  string // a byte of it a second; "" for silence
}

var helds = []held{
	{"idle", idleDialled, func(c net.Conn) error {
		if err := say(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			return err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		return errors.Join(err, r.Body.Close())
	}, ""},
	{"slow heads", slowDialled, func(c net.Conn) error {
		return say(c, "GET /workspaces HTTP/1.1\r\nHost: localhost\r\nX-Slow: %s", strings.Repeat("x", 55_000))
	}, "x"},
	{"slow bodies", slowDialled, func(c net.Conn) error {
		return say(c, "POST /exports/x/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65000\r\n\r\n%s", strings.Repeat("x", 55_000))
	}, "x"},
}

// TestManyConnections holds many connections to the API, idle ones and such whose requests do not end: its
// memory is bounded, and a caller who comes later is served. When they are cut is held in package api, in
// virtual time.
func TestManyConnections(t *testing.T) {
	const files = idleDialled + 1000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < files {
		machinetest.Lacks(t, fmt.Sprintf("leave to have %d files open (ulimit -n %d)", files, limit.Max))
	}
	binary, err := measured()
	if err != nil {
		t.Fatal(err)
	}
	_, hosts := e2etest.Emulators(t, binary, t.TempDir())
	s := e2etest.Services(t, binary, hosts, e2etest.Sizes{Users: 200, Messages: 500}, "EXPORTD_RATE_KEY_PER_SECOND=0")
	alone := percentile99(asks(t, s.Caller(), *floodFor))
	for _, h := range helds {
		t.Run(h.name, func(t *testing.T) {
			conns, refused := h.dial(t, strings.TrimPrefix(s.APIURL, "http://"))
			e2etest.CloseIdle() // the caller comes anew, to a full house
			stop := make(chan struct{})
			var wg sync.WaitGroup
			var cut atomic.Int64
			for _, c := range conns {
				if h.next != "" {
					wg.Go(func() { h.trickle(c, stop, &cut) })
				}
			}
			beside := percentile99(asks(t, s.Caller(), *floodFor))
			close(stop)
			wg.Wait()
			peak := peakRSS(t, s.Process)
			var open atomic.Int64 // asked side by side, so that each has long enough to learn that it is closed
			for _, c := range conns {
				wg.Go(func() {
					_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
					if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
						open.Add(1)
					}
					_ = c.Close()
				})
			}
			wg.Wait()
			left := int(open.Load())
			t.Logf("%d connections: %d taken, %d refused, %d cut while they wrote, %d left open; peak %.1f MiB; p99 of signed requests %.2fx (%v / %v)",
				h.n, len(conns), refused, cut.Load(), left, float64(peak)/(1<<20), float64(beside)/float64(alone), beside, alone)
			if peak > crowdMemory {
				t.Errorf("the API came to %d MiB, want at most %d", peak>>20, crowdMemory>>20)
			}
			if len(conns) == 0 {
				t.Error("no connection was held")
			}
			if most := map[string]int{"idle": idleStrangersLeft, "slow heads": slowLeft, "slow bodies": slowLeft}[h.name]; left > most {
				t.Errorf("%d are left open, want at most %d", left, most)
			}
		})
	}
}

// dial opens the connections, those that are refused not counted.
func (h held) dial(t *testing.T, addr string) (conns []net.Conn, refused int) {
	t.Helper()
	for i := range h.n {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(10+i%crowdAddresses))}}
		c, err := from.DialContext(t.Context(), "tcp", addr)
		if err != nil {
			refused++
			continue
		}
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if err := h.begin(c); err != nil {
			_ = c.Close()
			refused++
			continue
		}
		conns = append(conns, c)
	}
	return conns, refused
}

func (h held) trickle(c net.Conn, stop <-chan struct{}, cut *atomic.Int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := say(c, "%s", h.next); err != nil {
			cut.Add(1)
			return
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}
