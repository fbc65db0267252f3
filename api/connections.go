package api

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"exportd/internal/synfilter"
)

const (
	// defaultConnections are those that hold a request that waits (MaxWaits) and a thousand more. Idle ones
	// cost 20 KiB each: those on which no key has signed anything give way to each other beyond
	// idleStrangers, 20 MiB.
	defaultConnections = 5000
	idleStrangers      = 1000
	// maxIncomplete bounds the bytes of requests that are not whole yet, of which net/http would hold 64 KiB
	// of head and limit 64 KiB of body for each connection. Beyond it connections are cut that have sent more
	// than freeIncomplete of theirs; real requests have 3 KiB and come at once.
	maxIncomplete  = 16 << 20
	freeIncomplete = 8 << 10
)

// Why a connection was refused or cut, for the metric.
const (
	cutFull       = "full"    // all places are taken
	cutAddress    = "address" // the address has its share
	cutRate       = "rate"    // the address opens them too fast
	cutIdle       = "idle"    // made room for another one
	cutIncomplete = "unwhole" // sent much of a request and not its end
)

// connections accepts connections within bounds: before a request there is nobody but an address to hold to
// account. Of the places an address alone gets three sevenths (see places), and it opens connections no
// faster than it may make requests. What is refused is reset: nothing of it is read, and nothing outlives
// Accept; whoever is too fast is kept out for a while (see bars). Proxies that are trusted stand for many
// callers and have only the bound of all; their callers are limited by request.
//
// Idle connections give way where there is no place.
type connections struct {
	net.Listener
	places     *semaphore
	opens      *buckets
	bars       *bars
	proxies    *proxies
	now        func() time.Time
	cut        *prometheus.CounterVec
	incomplete atomic.Int64

	mu        sync.Mutex
	idle      list.List // of *conn, the one that is idle for longest first
	strangers int       // among the idle ones
}

// Accept gives the next connection that has a place.
func (cs *connections) Accept() (net.Conn, error) {
	for {
		c, err := cs.Listener.Accept()
		if err != nil {
			return nil, err // Serve's caller names it
		}
		if admitted, why := cs.admit(c); why == "" {
			return admitted, nil
		} else {
			cs.cut.WithLabelValues(why).Inc()
			reset(c)
		}
	}
}

// reset closes a connection without the exchange that a polite end takes.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // else it is closed politely
	}
	_ = c.Close()
}

func (cs *connections) admit(c net.Conn) (_ net.Conn, why string) {
	peer, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	addr := peer.Addr().Unmap()
	owner, take := network(addr), cs.places.acquire
	if within(addr, cs.proxies.get()) {
		take = cs.places.acquireAny
	} else if !cs.opens.take(owner, cs.now()).ok {
		cs.bars.strike(networkOf(addr))
		return nil, cutRate
	}
	leave, refused := take(owner, owner)
	if leave == nil && cs.makeRoom(owner, refused) {
		leave, refused = take(owner, owner)
	}
	switch refused {
	case full:
		return nil, cutFull
	case greedy:
		return nil, cutAddress
	}
	return &conn{Conn: c, of: cs, owner: owner, leave: leave}, ""
}

// makeRoom closes the connection that is idle for longest, of the address alone if it has its share, and says
// whether there was one.
func (cs *connections) makeRoom(owner string, why refusal) bool {
	cs.mu.Lock()
	var found *conn
	for e := cs.idle.Front(); e != nil && found == nil; e = e.Next() {
		if c := e.Value.(*conn); why == full || c.owner == owner {
			found = c
			c.markBusy() // nobody else finds it, too
		}
	}
	cs.mu.Unlock()
	if found == nil {
		return false
	}
	cs.cut.WithLabelValues(cutIdle).Inc()
	_ = found.Close()
	return true
}

// state is http.Server's ConnState.
func (cs *connections) state(nc net.Conn, state http.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	if state == http.StateIdle {
		c.requestEnded()
	}
	cs.mu.Lock()
	if state == http.StateIdle && !c.closed {
		c.markIdle()
	} else {
		c.markBusy()
	}
	var first *conn
	for e := cs.idle.Front(); e != nil && cs.strangers > idleStrangers && first == nil; e = e.Next() {
		if o := e.Value.(*conn); !o.signed.Load() {
			first = o
			o.markBusy() // nobody else finds it, too
		}
	}
	cs.mu.Unlock()
	if first != nil {
		cs.cut.WithLabelValues(cutIdle).Inc()
		_ = first.Close()
	}
}

// conn is a connection that has a place until it is closed.
type conn struct {
	net.Conn
	of         *connections
	owner      string
	leave      func()
	incomplete atomic.Int64
	signed     atomic.Bool // a key has signed a request on it
	refused    atomic.Bool // it was cut for what it had sent

	idle   *list.Element // guarded by of.mu, as is closed
	closed bool
}

// markIdle and markBusy put it among the idle ones and take it out again, under of.mu. A connection becomes
// known while it is not idle.
func (c *conn) markIdle() {
	if c.idle != nil {
		return
	}
	c.idle = c.of.idle.PushBack(c)
	if !c.signed.Load() {
		c.of.strangers++
	}
}

func (c *conn) markBusy() {
	if c.idle == nil {
		return
	}
	c.of.idle.Remove(c.idle)
	if c.idle = nil; !c.signed.Load() {
		c.of.strangers--
	}
}

var errIncomplete = errors.New("too much of requests that do not end")

// Read counts what belongs to no whole request yet.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if all := c.of.incomplete.Add(int64(n)); c.incomplete.Add(int64(n)) > freeIncomplete && all > maxIncomplete {
		if !c.refused.Swap(true) { // net/http may read on
			c.of.cut.WithLabelValues(cutIncomplete).Inc()
			reset(c.Conn)
		}
		return 0, errIncomplete
	}
	return n, err
}

// requestEnded says that the request is whole, or was given up.
func (c *conn) requestEnded() { c.of.incomplete.Add(-c.incomplete.Swap(0)) }

// Close gives the place back.
func (c *conn) Close() error {
	c.of.mu.Lock()
	c.markBusy()
	c.closed = true
	c.of.mu.Unlock()
	c.requestEnded()
	c.leave()
	return c.Conn.Close()
}

type connKey struct{}

// inContext is http.Server's ConnContext.
func inContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// hasEnded says that a request has been read to its end.
func hasEnded(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.requestEnded()
	}
}

// isKnown says that a key has signed a request.
func isKnown(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.signed.Store(true)
	}
}

// connections bounds a listener.
func (s *Server) connections(l net.Listener) *connections {
	b := &bars{opens: s.opened, now: s.now, log: s.log, panics: s.panics, number: s.metrics.barred, bars: map[netip.Prefix]*bar{}}
	if filter, err := synfilter.New(l); err == nil {
		b.set = filter.Set
	}
	return &connections{Listener: l, places: s.connected, opens: s.opened, bars: b, proxies: &s.proxies, now: s.now, cut: s.metrics.cut}
}

// Listen gives a listener for Serve. It does not speak Multipath TCP, which Go's listeners do otherwise: what
// joins a connection is a connection that nobody counts, and sockets of that kind take no filter.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	return c.Listen(ctx, "tcp", addr)
}

// openRate is how fast an address may open connections: as fast as it may make requests, and at once as many
// as it may hold, so that whoever opens one for each request meets the limit of requests first, which says
// so.
func (s *Server) openRate() Rate {
	r := s.byIP.rate()
	if r == (Rate{}) {
		return r
	}
	return Rate{PerSecond: r.PerSecond, Burst: max(r.Burst, s.connected.limit)}
}

// connectionsView is what a caller may know of the bounds of connections: its address', as it connected, and
// of all. The connections of a trusted proxy are its own and have the bound of all alone.
type connectionsView struct {
	Address quotaView   `json:"address"`
	Opened  *bucketView `json:"opened"`
	Total   int         `json:"total"`
}

func (s *Server) connectionsView(r *http.Request) connectionsView {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr := peer.Addr().Unmap()
	owner := network(addr)
	v := connectionsView{Total: s.connected.limit, Address: quotaView{Used: int64(s.connected.heldBy(owner))}}
	if !within(addr, s.proxies.get()) {
		alone := s.connected.alone()
		v.Address.Limit, v.Opened = &alone, s.opened.view(owner, s.now())
	}
	return v
}
