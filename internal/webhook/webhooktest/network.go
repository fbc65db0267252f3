// Package webhooktest is a hostile network for callbacks: names that are rebound, addresses that nobody may
// reach, receivers that redirect, are slow, endless or garbage.
package webhooktest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"exportd/internal/webhook"
)

// PublicAddr is what the names of hostile receivers resolve to, until they are rebound.
const PublicAddr = "93.184.215.14"

// Network is a DNS server on loopback whose answers change, forbidden listeners that no callback may reach,
// and connections to public addresses led to receivers on loopback. All checks of names and addresses are
// production's.
type Network struct {
	// Forbidden is the port of the listeners on 127.0.0.1 and ::1.
	Forbidden string

	reached     atomic.Int64
	resolver    *net.Resolver
	mu          sync.Mutex
	rebound     map[string][]dns.RR // by name: what it resolves to from now on
	dials       map[string]int      // addresses that were dialled and are not public
	most        uint64              // bytes of heap in use at a dial
	questions   int
	read, conns map[string]int64 // by port
	alternate   map[string]int   // by name: answers so far, where each differs from the one before
}

// NewNetwork starts a Network that ends with the test.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	n := &Network{rebound: map[string][]dns.RR{}, dials: map[string]int{}, read: map[string]int64{}, conns: map[string]int64{}, alternate: map[string]int{}}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, n.Forbidden, _ = net.SplitHostPort(l.Addr().String())
	n.forbid(t, l)
	if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort("::1", n.Forbidden)); err == nil { // not every machine has ::1
		n.forbid(t, l)
	}
	n.serveDNS(t)
	return n
}

func (n *Network) forbid(t testing.TB, l net.Listener) {
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.reached.Add(1)
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
}

func (n *Network) serveDNS(t testing.TB) {
	t.Helper()
	pc, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(n.answer), NotifyStartedFunc: func() { close(started) }}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown(); <-done })
	n.resolver = &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, pc.LocalAddr().String())
	}}
}

// answer gives PublicAddr, or what a name was rebound to. Answers hold for no time at all.
func (n *Network) answer(w dns.ResponseWriter, q *dns.Msg) {
	n.mu.Lock()
	n.questions++
	name, kind := q.Question[0].Name, q.Question[0].Qtype
	records, ok := n.rebound[name]
	if !ok {
		records = rr("A " + PublicAddr)
	}
	if strings.HasPrefix(name, "alternates") && kind == dns.TypeA {
		records = [][]dns.RR{rr("A " + PublicAddr), rr("A 127.0.0.1")}[n.alternate[name]%2]
		n.alternate[name]++
	}
	n.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	for _, r := range records {
		if r.Header().Rrtype == kind {
			r = dns.Copy(r)
			r.Header().Name = name
			m.Answer = append(m.Answer, r)
		}
	}
	_ = w.WriteMsg(m)
}

// rr reads records like "A 127.0.0.1, AAAA ::1".
func rr(text string) (out []dns.RR) {
	for record := range strings.SplitSeq(text, ", ") {
		r, err := dns.NewRR(". 0 IN " + record)
		if err != nil {
			panic(err)
		}
		out = append(out, r)
	}
	return out
}

// Rebind has a name resolve to other records from now on, like "A 127.0.0.1, AAAA ::1".
func (n *Network) Rebind(host, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rebound[host+"."] = rr(to)
}

// dial leads connections to public addresses to this machine, and really makes all others.
func (n *Network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ap := netip.MustParseAddrPort(address)
	port := strconv.Itoa(int(ap.Port()))
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	n.mu.Lock()
	n.most = max(n.most, m.HeapInuse)
	if webhook.PublicAddr(ap.Addr()) {
		address = "127.0.0.1:" + port
	} else {
		n.dials[address]++
	}
	n.conns[port]++
	n.mu.Unlock()
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return metered{c, func(read int) {
		n.mu.Lock()
		n.read[port] += int64(read)
		n.mu.Unlock()
	}}, err
}

// metered counts what is read from a receiver.
type metered struct {
	net.Conn
	count func(int)
}

func (c metered) Read(b []byte) (int, error) {
	got, err := c.Conn.Read(b)
	c.count(got)
	return got, err
}

// Sender is a sender of callbacks into the network. Only http and any port are opened for it.
func (n *Network) Sender(l webhook.Limits, now func() time.Time) *webhook.Sender {
	return webhook.NewSender(webhook.SenderConfig{
		Guard: webhook.NewGuard(webhook.GuardConfig{Lookup: webhook.ResolverLookup(n.resolver), Dial: n.dial}),
		Rules: Rules, Limits: l, Now: now,
	})
}

// Rules are those of Sender.
var Rules = webhook.Rules{Dev: webhook.Dev{AllowHTTP: true, AllowPorts: []uint16{0}}}

// Through is how many connections came through to what no callback may reach: at the listeners, or dialled at
// other addresses, which are named.
func (n *Network) Through() (count int, addresses []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	count = int(n.reached.Load())
	for address, times := range n.dials {
		count += times
		addresses = append(addresses, address)
	}
	return count, addresses
}

// Questions is how many names were asked for, and Heap the most bytes in use at a connection.
func (n *Network) Questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.questions
}

// Heap is the most bytes of heap in use at a connection.
func (n *Network) Heap() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.most
}

// PerConnection is what was read of the receiver at a port, for each connection.
func (n *Network) PerConnection(port string) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.read[port] / max(n.conns[port], 1)
}

// Listen serves a hostile receiver on loopback until the test ends, and says at which port. serve is called
// after a request, or the first of it, was read; the connection is closed when it returns.
func Listen(t testing.TB, serve func(net.Conn)) (port string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close() //nolint:errcheck // hostile
				head := make([]byte, 64<<10)
				if _, err := c.Read(head); err == nil {
					serve(c)
				}
				// What a sender still writes must not be answered with a reset, which would take the answer
				// away before it is read.
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return port
}

// Answer writes a text.
func Answer(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// Redirect answers with a redirect.
func Redirect(code int, location string) func(net.Conn) {
	return Answer("HTTP/1.1 " + strconv.Itoa(code) + " " + http.StatusText(code) + "\r\nLocation: " + location + "\r\nContent-Length: 0\r\n\r\n")
}

// Again writes part after part, with a pause, until the other side is gone or it was enough.
func Again(head, part string, pause time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, head)
		for sent := 0; err == nil && sent < 64<<20; sent += len(part) {
			if pause > 0 {
				<-time.After(pause)
			}
			_, err = io.WriteString(c, part)
		}
	}
}
