package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
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
	b := newBench(t, append(change, func(c *Config) { c.Now = time.Now })...)
	d := newDialled()
	cs, err := b.connections(d)
	if err != nil {
		t.Fatal(err)
	}
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

// An address has three sevenths of the places, the next one of what is left, and one that has
// none gets in while there is any; what a proxy brings has no share.
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

// Idle connections give way: those of the same address where it has its share, the oldest one
// where all is full.
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

// An address opens connections as fast as it may make requests, and at once as many as it may
// hold; proxies have no such bound.
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
		small := begin(0, "GET /healthz HTTP/1.1\r\nX-Small: "+padding[:patientBytes/2])
		most := maxUnwhole/each - 1
		for i := range most {
			begin(i, []string{"GET / HTTP/1.1\r\nX-Large: ", "POST /exports/x/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n"}[i%2]+padding)
		}
		synctest.Wait()
		if got := b.cuts(cutUnwhole); got != 0 {
			t.Errorf("%d cut of %d below the bound", got, most)
		}
		for i := range 50 {
			begin(i, "GET / HTTP/1.1\r\nX-Large: "+padding)
		}
		synctest.Wait()
		if got := b.cuts(cutUnwhole); got < 47 {
			t.Errorf("%d cut of 50 beyond the bound", got)
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
