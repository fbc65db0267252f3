// Package connectiontest has a TCP proxy that can fall silent: it goes on to take connections
// and bytes, and nothing comes out at the other end, as with load balancers and tunnels that
// have lost their state.
package connectiontest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy forwards TCP connections to one address on loopback.
type Proxy struct {
	// Addr is where it listens.
	Addr string

	to       string
	listener net.Listener
	silent   atomic.Bool
	dials    atomic.Int64
	dialed   chan struct{}
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// Start starts a proxy, which ends with the test.
func Start(tb testing.TB, to string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen for a proxy: %v", err)
	}
	p := &Proxy{Addr: l.Addr().String(), to: to, listener: l, dialed: make(chan struct{}, 1), conns: map[net.Conn]struct{}{}}
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

// Heal has it forward new connections again. Those that were silenced stay so: what was
// swallowed is lost.
func (p *Proxy) Heal() { p.silent.Store(false) }

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
	defer p.keep(c)()
	if p.silent.Load() {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer p.keep(up)()
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

// keep notes a connection for the end of the test; the function closes and forgets it.
func (p *Proxy) keep(c net.Conn) func() {
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
	return s.to.Write(b)
}
