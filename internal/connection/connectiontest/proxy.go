// Package connectiontest has a TCP proxy that can fall silent: it goes on to take connections and bytes, and
// nothing comes out at the other end, as with load balancers and tunnels that have lost their state. It can
// also damage what it forwards, as bad memory on the way does.
package connectiontest

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy forwards TCP connections to one address on loopback.
type Proxy struct {
	// Addr is where it listens.
	Addr string

	dial     func() (net.Conn, error)
	listener net.Listener
	silent   atomic.Bool
	damage   atomic.Int64 // a byte of how many; 0: none
	passed   atomic.Int64
	damaged  atomic.Int64
	dials    atomic.Int64
	dialed   chan struct{}
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Start starts a proxy, which ends with the test.
func Start(tb testing.TB, to string) *Proxy {
	tb.Helper()
	return start(tb, listen(tb), func() (net.Conn, error) { return net.Dial("tcp", to) })
}

// StartTLS is Start where what is forwarded crosses the proxy in TLS, as it crosses the network in
// production, and is plain at both ends.
func StartTLS(tb testing.TB, to string) *Proxy {
	tb.Helper()
	known := httptest.NewTLSServer(nil) // for its certificate
	known.Close()
	server := &tls.Config{Certificates: known.TLS.Certificates, MinVersion: tls.VersionTLS13}
	client := known.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client.ServerName = "example.com" // which the certificate is for
	far := start(tb, tls.NewListener(listen(tb), server), func() (net.Conn, error) { return net.Dial("tcp", to) })
	p := Start(tb, far.Addr)
	between := p.Addr
	near := start(tb, listen(tb), func() (net.Conn, error) { return tls.Dial("tcp", between, client) })
	p.Addr = near.Addr
	return p
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen for a proxy: %v", err)
	}
	return l
}

func start(tb testing.TB, l net.Listener, dial func() (net.Conn, error)) *Proxy {
	p := &Proxy{Addr: l.Addr().String(), dial: dial, listener: l, dialed: make(chan struct{}, 1), conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// Silence has it swallow everything that comes from now on, of new connections too.
func (p *Proxy) Silence() { p.silent.Store(true) }

// Damage has it change a bit of one byte in every so many, both ways together.
func (p *Proxy) Damage(every int64) { p.damage.Store(every) }

// Damaged is how many bytes it has changed.
func (p *Proxy) Damaged() int64 { return p.damaged.Load() }

// Heal has it forward new connections again, and damage nothing more. Those that were silenced stay so: what
// was swallowed is lost.
func (p *Proxy) Heal() {
	p.silent.Store(false)
	p.damage.Store(0)
}

// Dials is how many connections were made to it.
func (p *Proxy) Dials() int64 { return p.dials.Load() }

// Await waits until n connections have been made to it.
func (p *Proxy) Await(n int64) {
	for p.Dials() < n {
		<-p.dialed
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.dials.Add(1)
		select {
		case p.dialed <- struct{}{}:
		default:
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *Proxy) serve(c net.Conn) {
	defer p.track(c)()
	if p.silent.Load() {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	up, err := p.dial()
	if err != nil {
		return
	}
	defer p.track(up)()
	var lost atomic.Bool // once silenced, for good
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, up}, {up, c}} {
		both.Go(func() {
			_, _ = io.Copy(&swallower{p, &lost, way[1]}, way[0])
			if !lost.Load() {
				_, _ = c.Close(), up.Close()
			}
		})
	}
	both.Wait()
}

// track notes a connection for the end of the test; the function closes and forgets it.
func (p *Proxy) track(c net.Conn) func() {
	p.mu.Lock()
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
		_ = c.Close()
	}
}

type swallower struct {
	p    *Proxy
	lost *atomic.Bool
	to   net.Conn
}

func (s *swallower) Write(b []byte) (int, error) {
	if s.p.silent.Load() {
		s.lost.Store(true)
	}
	if s.lost.Load() {
		return len(b), nil
	}
	s.p.harm(b)
	return s.to.Write(b)
}

// harm changes the byte, if any, with which another so many have passed, in a bit that differs from time to
// time.
func (p *Proxy) harm(b []byte) {
	every := p.damage.Load()
	if every == 0 {
		return
	}
	before := p.passed.Add(int64(len(b))) - int64(len(b))
	for at := every - before%every - 1; at < int64(len(b)); at += every {
		b[at] ^= 1 << (p.damaged.Add(1) % 8)
	}
}
