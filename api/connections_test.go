package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// dialled is a listener of connections from addresses that a test chooses.
type dialled struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newDialled() *dialled { return &dialled{make(chan net.Conn), make(chan struct{})} }

func (d *dialled) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *dialled) Close() error   { close(d.closed); return nil }
func (d *dialled) Addr() net.Addr { return &net.TCPAddr{} }

// from is a pipe whose other end has an address.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(f.addr), 1234))
}

func (d *dialled) dial(addr string) net.Conn {
	ours, theirs := net.Pipe()
	d.conns <- from{theirs, addr}
	return ours
}

// bounded serves a bench on a listener within a bubble.
func bounded(t *testing.T, change ...func(*Config)) (*bench, *dialled) {
	t.Helper()
	b := newBench(t, append([]func(*Config){func(c *Config) { c.Now = time.Now }}, change...)...)
	d := newDialled()
	cs := b.connections(d)
	h := b.httpServer(nil)
	h.ConnState, h.ConnContext = cs.state, inContext
	served := make(chan error, 1)
	go func() { served <- h.Serve(cs) }()
	t.Cleanup(func() {
		_ = h.Close()
		<-served
	})
	return b, d
}

// open says whether the server has left a connection open so far.
func open(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// asked makes a request that needs no key and leaves the connection idle.
func asked(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Time{})
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatalf("ask: %v", err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("ask: %v", err)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	synctest.Wait()
}

func (b *bench) cuts(reason string) int {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(b.metrics.cut)
	families, err := metrics.Gather()
	if err != nil {
		b.tb.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == reason {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// An address has three sevenths of the places, the next one of what is left, and one that has none gets in
// while there is any; what a proxy brings has no share.
func TestConnectionShares(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, d := bounded(t, func(c *Config) {
			c.MaxConnections, c.TrustedProxies = 14, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		})
		var held []net.Conn
		take := func(addr string, want bool) net.Conn {
			t.Helper()
			c := d.dial(addr)
			synctest.Wait()
			if got := open(c); got != want {
				t.Errorf("connection %d of %s is open: %v, want %v", len(held)+1, addr, got, want)
			}
			if held = append(held, c); !want {
				_ = c.Close()
			}
			return c
		}
		// Each asks for nothing for less than ReadHeaderTimeout, so none is idle.
		first := take("192.0.2.1", true)
		for range 5 {
			take("192.0.2.1", true)
		}
		take("192.0.2.1", false) // the seventh of 14
		for range 4 {
			take("2001:db8::1", true)
		}
		take("2001:db8::ffff", false) // of the same /64
		_ = first.Close()
		synctest.Wait()
		take("192.0.2.1", false) // 5 of the 9 held are its own, and 5 are free
		for range 5 {
			take("10.0.0.1", true)
		}
		take("10.0.0.1", false)
		take("192.0.2.9", false)
		if b.cuts(cutAddress) != 3 || b.cuts(cutFull) != 2 || b.connected.taken() != 14 {
			t.Errorf("%d refused by share, %d as all is full, %d held; want 3, 2, 14", b.cuts(cutAddress), b.cuts(cutFull), b.connected.taken())
		}
		for _, c := range held {
			_ = c.Close()
		}
		synctest.Wait()
		if b.connected.taken() != 0 {
			t.Errorf("%d places are held by nobody", b.connected.taken())
		}
	})
}

// Idle connections give way: those of the same address where it has its share, the oldest one where all is
// full.
func TestIdleConnectionsGiveWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, d := bounded(t, func(c *Config) {
			c.MaxConnections, c.TrustedProxies = 7, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		})
		var mine []net.Conn
		for range 3 {
			c := d.dial("192.0.2.1")
			defer c.Close()
			asked(t, c)
			mine = append(mine, c)
		}
		busy := d.dial("192.0.2.1")
		defer busy.Close()
		asked(t, busy)
		if open(mine[0]) || !open(mine[1]) || !open(mine[2]) {
			t.Error("want the address's oldest idle connection closed, and no other")
		}
		for range 4 {
			c := d.dial("10.0.0.1")
			defer c.Close()
			synctest.Wait()
		}
		other := d.dial("192.0.2.2")
		defer other.Close()
		asked(t, other)
		if open(mine[1]) || b.cuts(cutIdle) != 2 || b.connected.taken() != 7 {
			t.Errorf("%d idle ones closed, %d held; want 2, 7", b.cuts(cutIdle), b.connected.taken())
		}
	})
}

// Of idle connections on which no key has signed anything only the last ones are kept.
func TestIdleStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, d := bounded(t, func(c *Config) { c.Now = func() time.Time { return noon } })
		known := d.dial("192.0.2.1")
		defer known.Close()
		r := request(t, "key_one1", http.MethodGet, "/workspaces")
		go func() { _ = r.Write(known) }()
		answer, err := http.ReadResponse(bufio.NewReader(known), nil)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("a signed request: %+v, %v", answer, err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		var first net.Conn
		for i := range idleStrangers {
			c := d.dial(fmt.Sprintf("192.0.2.%d", i%250))
			defer c.Close()
			if asked(t, c); i == 0 {
				first = c
			}
		}
		if got := b.cuts(cutIdle); got != 0 || !open(first) {
			t.Errorf("%d of %d closed, want none", got, idleStrangers)
		}
		last := d.dial("198.51.100.1")
		defer last.Close()
		if asked(t, last); b.cuts(cutIdle) != 1 || open(first) || !open(last) || !open(known) {
			t.Errorf("%d closed, want the oldest alone", b.cuts(cutIdle))
		}
	})
}

// Connections that come to rest at the same moment do not choose the same one to be closed.
func TestIdleStrangersAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	cs := b.connections(newDialled())
	var wg sync.WaitGroup
	for range 4 * idleStrangers {
		wg.Go(func() {
			ours, theirs := net.Pipe()
			t.Cleanup(func() { _ = ours.Close() })
			cs.state(&conn{Conn: theirs, of: cs, leave: func() {}}, http.StateIdle)
		})
	}
	wg.Wait()
	if cs.strangers != idleStrangers || cs.idle.Len() != idleStrangers {
		t.Errorf("%d idle ones are kept, want %d", cs.strangers, idleStrangers)
	}
}

// An address opens connections as fast as it may make requests, and at once as many as it may hold; proxies
// have no such bound.
func TestConnectionRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, d := bounded(t, func(c *Config) {
			c.MaxConnections, c.IPRate, c.TrustedProxies = 7, Rate{PerSecond: 2, Burst: 1}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		})
		churn := func(addr string, n int) (refused int) {
			before := b.cuts(cutRate)
			for range n {
				c := d.dial(addr)
				synctest.Wait()
				_ = c.Close()
				synctest.Wait()
			}
			return b.cuts(cutRate) - before
		}
		if got := churn("192.0.2.1", 7); got != 0 {
			t.Errorf("%d of 7 refused, want all within the burst", got)
		}
		if got := churn("192.0.2.1", 5); got != 5 {
			t.Errorf("%d of 5 more refused, want all", got)
		}
		if got := churn("192.0.2.2", 1) + churn("10.0.0.1", 50); got != 0 {
			t.Errorf("%d of others refused, want none", got)
		}
		time.Sleep(time.Second)
		if got := churn("192.0.2.1", 3); got != 1 {
			t.Errorf("%d of 3 refused after a second, want 1", got)
		}
	})
}

// Requests that do not end hold no more than a bound; small ones are let be.
func TestUnwholeRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, d := bounded(t)
		const each = 60 << 10
		padding := strings.Repeat("x", each)
		var conns []net.Conn
		begin := func(i int, text string) net.Conn {
			c := d.dial(fmt.Sprintf("192.0.2.%d", i%250))
			_, _ = io.WriteString(c, text) // fails where it is cut
			conns = append(conns, c)
			return c
		}
		small := begin(0, "GET /healthz HTTP/1.1\r\nX-Small: "+padding[:freeIncomplete/2])
		most := maxIncomplete/each - 1
		large := func(i int) string {
			return []string{"GET / HTTP/1.1\r\nX-Large: ", "POST /exports/x/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n"}[i%2] + padding
		}
		for i := range most {
			begin(i, large(i))
		}
		synctest.Wait()
		if got := b.cuts(cutIncomplete); got != 0 {
			t.Errorf("%d cut of %d below the bound", got, most)
		}
		// What is left of the bound is less than one of them, and what one gives back when it is cut was its
		// own: each is cut, once, and none of those before.
		for i := range 50 {
			begin(i, large(i))
		}
		synctest.Wait()
		if got := b.cuts(cutIncomplete); got != 50 {
			t.Errorf("%d cut of 50 beyond the bound", got)
		}
		if got := b.connected.taken(); got != most+1 {
			t.Errorf("%d connections are left of %d below the bound", got, most+1)
		}
		if _, err := io.WriteString(small, "\r\nHost: x\r\n\r\n"); err != nil {
			t.Errorf("a small one was cut: %v", err)
		}
		time.Sleep(16 * time.Second) // ReadHeaderTimeout and ReadTimeout
		for _, c := range conns {
			_ = c.Close()
		}
		synctest.Wait()
		if all := b.connected.taken(); all != 0 {
			t.Errorf("%d places are held by nobody", all)
		}
	})
}

// A refusal to an address is held back, and of many at once only some.
func TestRefusalsAreHeldBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.IPRate, c.Now = Rate{PerSecond: 0.01, Burst: 1}, time.Now })
		wantStatus(t, b.get(t, "/workspaces"), http.StatusUnauthorized) // the tests' date is another day's
		begun := time.Now()
		took := make(chan time.Duration, heldAtOnce+1)
		for range heldAtOnce {
			go func() {
				wantCode(t, b, http.StatusTooManyRequests)
				took <- time.Since(begun)
			}()
		}
		synctest.Wait()
		wantCode(t, b, http.StatusTooManyRequests)
		if over := time.Since(begun); over != 0 {
			t.Errorf("one beyond %d took %s, want it at once", heldAtOnce, over)
		}
		for range heldAtOnce {
			if d := <-took; d != heldFor {
				t.Errorf("took %s, want %s", d, heldFor)
			}
		}
		wantCode(t, b, http.StatusTooManyRequests)
		if all := time.Since(begun); all != 2*heldFor {
			t.Errorf("the next one ended after %s, want %s", all, 2*heldFor)
		}
	})
}

func wantCode(t *testing.T, b *bench, want int) {
	t.Helper()
	if w := b.do(request(t, "key_one1", http.MethodGet, "/workspaces")); w.Code != want {
		t.Errorf("status %d, want %d", w.Code, want)
	}
}

// Hundreds of requests of a byte a second are cut when their time is over: heads after 5 s, bodies 15 s after
// they began, however they go on; and so are connections that say nothing.
func TestSlowRequests(t *testing.T) {
	t.Parallel()
	for _, slow := range []struct {
		name, begin string
		within      time.Duration
	}{
		{"silence", "", 5 * time.Second},
		{"head", "GET /workspaces HTTP/1.1\r\nX-Slow: ", 5 * time.Second},
		{"body", "POST /exports/x/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", 15 * time.Second},
		{"chunks", "POST /exports/x/cancel HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 15 * time.Second},
	} {
		t.Run(slow.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, d := bounded(t)
				const conns = 300
				ended := make(chan time.Duration, conns)
				begun := time.Now()
				for i := range conns {
					c := d.dial(fmt.Sprintf("192.0.2.%d", i%250))
					go func() {
						defer c.Close()
						go func() { _, _ = io.Copy(io.Discard, c) }() // an answer goes before the end
						_, err := io.WriteString(c, slow.begin)
						for err == nil {
							time.Sleep(time.Second)
							if slow.begin == "" {
								_, err = c.Write(nil)
								if time.Since(begun) <= slow.within {
									continue
								}
								err = io.EOF
								continue
							}
							_, err = io.WriteString(c, map[bool]string{true: "1\r\nx\r\n", false: "x"}[slow.name == "chunks"])
						}
						ended <- time.Since(begun)
					}()
				}
				time.Sleep(slow.within - time.Second)
				synctest.Wait()
				if got := b.connected.taken(); got != conns {
					t.Errorf("%d of %d are left a second before the end", got, conns)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if got := b.connected.taken(); got != 0 {
					t.Errorf("%d of %d are left a second after the end of %s", got, conns, slow.within)
				}
				for range conns {
					<-ended
				}
			})
		})
	}
}

// HTTP/2 in clear is not spoken: neither its preface with whatever frames behind it nor an upgrade gets
// anything of it, and the connection ends with the answer.
func TestNoHTTP2(t *testing.T) {
	t.Parallel()
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	frame := func(kind, flags byte, stream uint32, payload string) string {
		n := len(payload)
		return string([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream)}) + payload
	}
	settings := frame(4, 0, 0, "")
	for name, frames := range map[string]string{
		"settings flood":      strings.Repeat(settings, 10_000),
		"ping flood":          settings + strings.Repeat(frame(6, 0, 0, "12345678"), 10_000),
		"empty headers":       settings + frame(1, 0, 1, "") + strings.Repeat(frame(9, 0, 1, ""), 10_000),
		"empty data":          settings + frame(1, 4, 1, "\x82\x84\x86") + strings.Repeat(frame(0, 0, 1, ""), 10_000),
		"rapid reset":         settings + strings.Repeat(frame(1, 5, 1, "\x82\x84\x86")+frame(3, 0, 1, "\x00\x00\x00\x08"), 10_000),
		"window 0":            frame(4, 0, 0, "\x00\x04\x00\x00\x00\x00") + frame(1, 5, 1, "\x82\x84\x86"),
		"a million of header": settings + frame(1, 4, 1, "\x82\x84\x86\x40\x01a\x01b"+strings.Repeat("\xbe", 1_000_000)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, d := bounded(t)
				c := d.dial("192.0.2.1")
				defer c.Close()
				got, sent := exchange(c, preface+frames)
				if !strings.HasPrefix(got, "HTTP/1.1 404 ") || strings.Count(got, "HTTP/") != 1 {
					t.Errorf("answer %.100q, want one 404 of HTTP/1.1 and the end", got)
				}
				if sent > 8<<10 {
					t.Errorf("%d bytes were read of it", sent)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, d := bounded(t)
		c := d.dial("192.0.2.1")
		defer c.Close()
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusOK || r.Header.Get("Upgrade") != "" {
			t.Errorf("an upgrade = %d, Upgrade %q; want it passed over", r.StatusCode, r.Header.Get("Upgrade"))
		}
	})
}

// exchange sends raw bytes, as many as the other side takes, and gives all that comes back until the end.
func exchange(c net.Conn, raw string) (answer string, sent int) {
	all := make(chan string, 1)
	go func() {
		got, _ := io.ReadAll(c)
		all <- string(got)
	}()
	sent, _ = io.WriteString(c, raw) // fails where it is cut
	return <-all, sent
}
