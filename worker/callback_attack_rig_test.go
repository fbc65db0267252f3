package worker_test

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
	"exportd/jobs"
)

// publicAddr is what the names of hostile receivers resolve to, until they are rebound.
const publicAddr = "93.184.215.14"

// hostileNet is a DNS server on loopback whose answers change, forbidden listeners that no
// callback may reach, and connections to publicAddr led to receivers on loopback. All checks of
// names and addresses are production's.
type hostileNet struct {
	forbidden   string // port of the listeners on 127.0.0.1 and ::1
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

func newHostileNet(t *testing.T) *hostileNet {
	t.Helper()
	n := &hostileNet{rebound: map[string][]dns.RR{}, dials: map[string]int{}, read: map[string]int64{}, conns: map[string]int64{}, alternate: map[string]int{}}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, n.forbidden, _ = net.SplitHostPort(l.Addr().String())
	n.forbid(t, l)
	if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort("::1", n.forbidden)); err == nil { // not every machine has ::1
		n.forbid(t, l)
	}
	n.serveDNS(t)
	return n
}

func (n *hostileNet) forbid(t *testing.T, l net.Listener) {
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

func (n *hostileNet) serveDNS(t *testing.T) {
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

// answer gives publicAddr, or what a name was rebound to. Answers hold for no time at all.
func (n *hostileNet) answer(w dns.ResponseWriter, q *dns.Msg) {
	n.mu.Lock()
	n.questions++
	name, kind := q.Question[0].Name, q.Question[0].Qtype
	records, ok := n.rebound[name]
	if !ok {
		records = rr("A " + publicAddr)
	}
	if strings.HasPrefix(name, "alternates") && kind == dns.TypeA {
		records = [][]dns.RR{rr("A " + publicAddr), rr("A 127.0.0.1")}[n.alternate[name]%2]
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

func (n *hostileNet) rebind(host, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rebound[host+"."] = rr(to)
}

// dial leads connections to public addresses to this machine, and really makes all others.
func (n *hostileNet) dial(ctx context.Context, network, address string) (net.Conn, error) {
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

// hostileSender is the sender, and one with shorter limits for receivers that would use up all
// of production's: those run on the clock of a bubble in package webhook. Only http and any
// port are opened for it.
type hostileSender struct{ usual, hasty *webhook.Sender }

func (n *hostileNet) sender(now func() time.Time) hostileSender {
	with := func(l webhook.Limits) *webhook.Sender {
		return webhook.NewSender(webhook.SenderConfig{
			Guard: webhook.NewGuard(webhook.GuardConfig{Lookup: webhook.ResolverLookup(n.resolver), Dial: n.dial}),
			Rules: webhook.Rules{Dev: webhook.Dev{AllowHTTP: true, AllowPorts: []uint16{0}}}, Limits: l, Now: now,
		})
	}
	return hostileSender{with(webhook.Limits{}), with(webhook.Limits{Headers: time.Second, Total: 2 * time.Second})}
}

func (s hostileSender) to(url string) *webhook.Sender {
	if strings.HasPrefix(url, "http://slow-") {
		return s.hasty
	}
	return s.usual
}

func (s hostileSender) Send(ctx context.Context, d webhook.Delivery) webhook.Attempt {
	return s.to(d.URL).Send(ctx, d)
}

// attack is a receiver, what its callbacks come to, and how it is seen that it failed.
type attack struct {
	name  string
	serve func(c net.Conn) // after one request was read; c is closed when it returns
	// to is what its name is rebound to after the first try, or from the start.
	to    string
	start bool
	want  string // class of each try but the first of a name that is rebound later
	port  string
	host  string
	cb    string
	round int // tries so far
}

func (a *attack) url() string { return "http://" + a.host + ":" + a.port + "/hook" }

// listen serves an attack on loopback until the test ends.
func (a *attack) listen(t *testing.T, at int) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, a.port, _ = net.SplitHostPort(l.Addr().String())
	a.host = strings.ToLower(strings.ReplaceAll(a.name, " ", "-")) + "-" + strconv.Itoa(at) + ".hooks.example.com"
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
					a.serve(c)
				}
				// What a sender still writes must not be answered with a reset, which would
				// take the answer away before it is read.
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
}

// try waits until the n-th try of an attack's callback has ended.
func (r *rig) try(t *testing.T, id string, n int) jobs.CallbackAttempt {
	t.Helper()
	cb := r.callback(t, strings.Split(id, "_")[1], time.Minute, func(cb *jobs.Callback) bool {
		return len(cb.Tries) > n || len(cb.Tries) == n && cb.Lease.Token == ""
	})
	return cb.Tries[n-1]
}

func answer(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

func redirect(code int, location string) func(net.Conn) {
	return answer("HTTP/1.1 " + strconv.Itoa(code) + " " + http.StatusText(code) + "\r\nLocation: " + location + "\r\nContent-Length: 0\r\n\r\n")
}

// again writes part after part, with a pause, until the other side is gone or it was enough.
func again(head, part string, pause time.Duration) func(net.Conn) {
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
