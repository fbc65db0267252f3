package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"exportd/internal/apikey"
	"exportd/internal/webhook"
	"exportd/jobs"
)

// pingAttack is a receiver of test callbacks and what the caller is told of it.
type pingAttack struct {
	name   string
	answer string // at once
	more   string // again and again, every pause
	pause  time.Duration
	a      string // what its name resolves to; "" is a public address, which leads to the receiver
	want   webhook.Class
}

const publicPing = "93.184.215.14"

func pingAttacks(forbidden string) []pingAttack {
	const ok = "HTTP/1.1 200 OK\r\n"
	long := strings.Repeat("a", 64<<10)
	redirect := func(code, to string) string {
		return "HTTP/1.1 " + code + " x\r\nContent-Length: 0\r\nLocation: " + to + "\r\n\r\n"
	}
	return []pingAttack{
		{name: "redirect", answer: redirect("302", "http://127.0.0.1:"+forbidden+"/"), want: "http_302"},
		{name: "kept-redirect", answer: redirect("307", "http://localhost:"+forbidden+"/"), want: "http_307"},
		{name: "metadata", answer: redirect("301", "http://169.254.169.254/"), want: "http_301"},
		{name: "huge", answer: ok + "Content-Length: 10737418240\r\n\r\n", more: long, want: "http_200"},
		{name: "endless", answer: ok + "Transfer-Encoding: chunked\r\n\r\n", more: "10000\r\n" + long + "\r\n", want: "http_200"},
		{name: "headers", answer: ok, more: "X: " + strings.Repeat("a", 1000) + "\r\n", want: "bad_response"},
		{name: "slow-headers", answer: ok + "X: ", more: "a", pause: 100 * time.Millisecond, want: "timeout"},
		{name: "slow-body", answer: ok + "Content-Length: 100000\r\n\r\n", more: "a", pause: 100 * time.Millisecond, want: "timeout"},
		{name: "garbage", answer: "\x00\xff\x01garbage\r\n\r\n", want: "bad_response"},
		{name: "other-protocol", answer: "SSH-2.0-OpenSSH_9.9\r\n", want: "bad_response"},
		{name: "escapes", answer: ok + "Content-Length: 40\r\n\r\n\x1b[2J\x1b]0;x\x07<script>\u202e\x00\xff\xfe" + strings.Repeat("b", 30), want: "http_200"},
		{name: "closes", want: "bad_response"},
		{name: "rebound", a: "127.0.0.1", want: webhook.ClassBlocked},
		{name: "rebound-metadata", a: "169.254.169.254", want: webhook.ClassBlocked},
		{name: "rebound-mixed", a: publicPing + " 127.0.0.1", want: webhook.ClassBlocked},
		{name: "other-host", want: webhook.ClassBlocked}, // which the key does not allow any more
	}
}

// pingNet is the network of the attacks: names from a DNS server on loopback, public addresses led to
// receivers on loopback, all else counted. Checks of names and addresses are production's.
type pingNet struct {
	byName    map[string]*pingAttack // of a.name
	addr      map[string]string      // where its receiver listens
	forbidden atomic.Int64           // connections to what no test callback may reach
}

// TestPingAttacks asks for test callbacks over HTTP at receivers that lead elsewhere, send too much or
// nothing sensible, are slow, or whose names resolve to forbidden addresses: each is answered by 200
// with what became of it and nothing else of the receiver than 2 KiB of harmless text, and the places of
// all are given back. The same receivers of live callbacks are worker's.
func TestPingAttacks(t *testing.T) {
	t.Parallel()
	n := &pingNet{byName: map[string]*pingAttack{}, addr: map[string]string{}}
	_, port, _ := net.SplitHostPort(listenPing(t, nil, &n.forbidden))
	list := pingAttacks(port)
	for i := range list {
		n.byName[list[i].name] = &list[i]
		n.addr[list[i].name] = listenPing(t, &list[i], &n.forbidden)
	}
	rules := webhook.Rules{Dev: webhook.Dev{AllowHTTP: true, AllowPorts: []uint16{0}}}
	resolver := n.serveDNS(t)
	b := newBench(t, func(c *Config) {
		c.CallbackRules = rules
		c.Sender = webhook.NewSender(webhook.SenderConfig{
			Guard: webhook.NewGuard(webhook.GuardConfig{Lookup: webhook.ResolverLookup(resolver), Dial: n.dial}), Rules: rules,
			Limits: webhook.Limits{Headers: time.Second, Total: 2 * time.Second},
		})
	})
	ping := func(a *pingAttack) {
		org := "org-" + a.name
		j := succeeded()
		j.ID, j.OrgID, j.KeyID = jobs.NewID(), org, "key_"+strings.ReplaceAll(a.name, "-", "_")
		j.CallbackURL = "http://" + a.name + ".hooks.example.com/hook?token=secret-of-the-url"
		b.jobs.set(j)
		w := b.do(request(t, j.KeyID, http.MethodPost, "/exports/"+j.ID+"/callback/test"))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", a.name, w.Code, w.Body)
			return
		}
		v := decode(t, w)
		text, _ := v["response"].(string)
		if v["class"] != string(a.want) || v["delivered"] != (a.want == "http_200") || len(text) > 2<<10 || strings.ContainsAny(text, "\x1b\x07\x00\u202e") {
			t.Errorf("%s: %v, want class %s and at most 2 KiB of harmless text", a.name, v, a.want)
		}
		if a.want == webhook.ClassBlocked && (text != "" || v["status"] != nil) || strings.Contains(w.Body.String(), "secret-of") || strings.Contains(w.Body.String(), "127.0.0.1") {
			t.Errorf("%s: tells of addresses or of the query: %s", a.name, w.Body)
		}
	}
	for name := range n.byName {
		key := &apikey.Key{ID: "key_" + strings.ReplaceAll(name, "-", "_"), OrgID: "org-" + name, State: apikey.Active, Scopes: []apikey.Scope{apikey.ScopeExport, apikey.ScopeRead},
			Secrets: []apikey.SigningSecret{{Secret: apikey.NewSecret(testSecret)}}}
		if name == "other-host" {
			key.CallbackHosts = []string{"hooks.customer.com"}
		}
		b.keys.keys = append(b.keys.keys, key)
	}
	var all sync.WaitGroup
	for i := range list {
		all.Go(func() { ping(&list[i]) })
	}
	all.Wait()
	for range pingRate.Burst - 1 { // places of an org are two: none was lost
		ping(n.byName["garbage"])
	}
	if got := n.forbidden.Load(); got != 0 {
		t.Errorf("%d connections to forbidden addresses", got)
	}
	if strings.Contains(b.log.String(), "secret-of-the-url") || strings.Contains(b.log.String(), testSecret) {
		t.Error("the log has a secret")
	}
}

// listenPing serves an attack until the test ends; without one, whoever connects is counted in got.
func listenPing(t *testing.T, a *pingAttack, got *atomic.Int64) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if a == nil {
				got.Add(1)
				_ = c.Close()
				continue
			}
			serving.Go(func() { a.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr().String()
}

func (a *pingAttack) serve(c net.Conn) {
	defer c.Close() //nolint:errcheck // hostile
	if _, err := c.Read(make([]byte, 64<<10)); err != nil {
		return
	}
	_, err := io.WriteString(c, a.answer)
	for sent := 0; err == nil && a.more != "" && sent < 64<<20; sent += len(a.more) {
		if a.pause > 0 {
			<-time.After(a.pause)
		}
		_, err = io.WriteString(c, a.more)
	}
	// What is still written must not be answered by a reset, which would take the answer away.
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, c)
}

func (n *pingNet) serveDNS(t *testing.T) *net.Resolver {
	t.Helper()
	pc, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan error, 1)
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(n.resolve), NotifyStartedFunc: func() { close(started) }}
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown(); <-done })
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, pc.LocalAddr().String())
	}}
}

// resolve answers with a public address that has the receiver's port in it, or with what the name is
// rebound to.
func (n *pingNet) resolve(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	name, _, _ := strings.Cut(q.Question[0].Name, ".")
	if a := n.byName[name]; a != nil && q.Question[0].Qtype == dns.TypeA {
		to := a.a
		if to == "" {
			_, port, _ := net.SplitHostPort(n.addr[name])
			p, _ := strconv.Atoi(port)
			to = netip.AddrFrom4([4]byte{93, 184, byte(p >> 8), byte(p)}).String()
		}
		for addr := range strings.FieldsSeq(to) {
			r, err := dns.NewRR(q.Question[0].Name + " 0 IN A " + addr)
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, r)
		}
	}
	_ = w.WriteMsg(m)
}

// dial leads a public address to the receiver whose port is in it.
func (n *pingNet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	addr := netip.MustParseAddrPort(address).Addr()
	if !webhook.PublicAddr(addr) {
		n.forbidden.Add(1)
		return nil, net.ErrClosed
	}
	ip := addr.As4()
	return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+strconv.Itoa(int(ip[2])<<8|int(ip[3])))
}
