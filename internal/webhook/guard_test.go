package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

var errSentinel = errors.New("sentinel: would dial")

// recorder is a Dial seam that sends nothing.
type recorder struct {
	mu     sync.Mutex
	dialed []netip.AddrPort
}

func (r *recorder) dial(_ context.Context, _, address string) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dialed = append(r.dialed, netip.MustParseAddrPort(address))
	return nil, errSentinel
}

func fixedLookup(addrs ...string) LookupFunc {
	return func(context.Context, string) ([]netip.Addr, error) {
		out := make([]netip.Addr, len(addrs))
		for i, a := range addrs {
			out[i] = netip.MustParseAddr(a)
		}
		return out, nil
	}
}

func mustTarget(tb testing.TB, raw string, rules Rules) Target {
	tb.Helper()
	target, err := ParseURL(raw, rules)
	if err != nil {
		tb.Fatalf("ParseURL(%q): %v", raw, err)
	}
	return target
}

func dialClass(err error) Class {
	var d *DialError
	if errors.As(err, &d) {
		return d.Class
	}
	return ""
}

// assertDialsPublicOnly is the property of FuzzParseURL: data is what DNS answers, 4 or 16 bytes an address.
func assertDialsPublicOnly(t *testing.T, target Target, data []byte) {
	t.Helper()
	var addrs []netip.Addr
	if len(data)%16 == 0 {
		for ; len(data) > 0; data = data[16:] {
			addrs = append(addrs, netip.AddrFrom16([16]byte(data)))
		}
	} else {
		for ; len(data) >= 4; data = data[4:] {
			addrs = append(addrs, netip.AddrFrom4([4]byte(data)))
		}
	}
	rec := &recorder{}
	guard := NewGuard(GuardConfig{Dial: rec.dial, Lookup: func(context.Context, string) ([]netip.Addr, error) { return addrs, nil }})
	if _, err := guard.Dial(t.Context(), target); err == nil {
		t.Fatal("Dial returned a connection without one being made")
	}
	for _, ap := range rec.dialed {
		if !PublicAddr(ap.Addr()) || ap.Port() != target.Port() {
			t.Fatalf("%s with addresses %v dialled %s", target, addrs, ap)
		}
	}
	for _, a := range addrs {
		if !PublicAddr(a) && len(rec.dialed) > 0 {
			t.Fatalf("%s with addresses %v dialled %v", target, addrs, rec.dialed)
		}
	}
}

// serveDNS starts a DNS server on loopback UDP and returns a look-up that asks it the way production asks its
// own.
func serveDNS(t *testing.T, handler dns.HandlerFunc) LookupFunc {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: pc, Handler: handler, NotifyStartedFunc: func() { close(started) }}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Errorf("shut DNS down: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve DNS: %v", err)
		}
	})
	address := pc.LocalAddr().String()
	// A look-up that nobody waits for any more goes on inside net until the resolver's own time limit: end it
	// with the test.
	ended, end := context.WithCancel(context.Background())
	t.Cleanup(end)
	return ResolverLookup(&net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		if ended.Err() != nil {
			return nil, ended.Err()
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address) // TCP finds nobody there
		if err == nil {
			context.AfterFunc(ended, func() { _ = conn.Close() })
		}
		return conn, err
	}})
}

// zone answers from records in zone-file form; a name without records is NXDOMAIN.
func zone(t *testing.T, records ...string) dns.HandlerFunc {
	t.Helper()
	byName := map[string][]dns.RR{}
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		byName[rr.Header().Name] = append(byName[rr.Header().Name], rr)
	}
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		if byName[name] == nil {
			m.Rcode = dns.RcodeNameError
		}
		for range 8 { // follow CNAMEs as a recursive server does
			next := ""
			for _, rr := range byName[name] {
				if c, ok := rr.(*dns.CNAME); ok {
					next = c.Target
				}
				if rr.Header().Rrtype == q.Question[0].Qtype || next != "" {
					m.Answer = append(m.Answer, rr)
				}
			}
			if name = next; name == "" {
				break
			}
		}
		_ = w.WriteMsg(m)
	}
}

// silentListener is where every private address would lead. It fails the test if anything connects.
func silentListener(t *testing.T) (port uint16) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var hits atomic.Int32
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		if n := hits.Load(); n > 0 {
			t.Errorf("%d connections reached the listener that must stay silent", n)
		}
	})
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

// TestRefuseListNeverConnects sends every refused URL, and every name that DNS alone can tell, with
// production's guard and real sockets.
func TestRefuseListNeverConnects(t *testing.T) {
	t.Parallel()
	port := silentListener(t)
	var asked atomic.Int32
	lookup := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(m)
	})
	sender := NewSender(SenderConfig{
		Guard: NewGuard(GuardConfig{Lookup: lookup}),
		Rules: Rules{Dev: Dev{AllowPorts: []uint16{port}}}, // only so that the listener's port is not what saves us
	})
	send := func(url string) Attempt {
		return sender.Send(t.Context(), Delivery{URL: url, ID: "msg_1", Timestamp: time.Now(), Secrets: []Secret{randomSecret()}})
	}
	for _, raw := range urlList(t, "refuse.txt") {
		a := send(raw)
		if a.Class != ClassBlocked || a.Status != 0 || a.Response != "" {
			t.Errorf("Send(%q) = %+v, want %s", raw, a, ClassBlocked)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d questions to DNS for URLs refused by form", n)
	}
	for _, host := range []string{"127.0.0.1.nip.io", "localtest.me", "hooks.customer.com"} {
		a := send(fmt.Sprintf("https://%s:%d/", host, port))
		if a.Class != ClassBlocked || !errors.Is(a.Err, ErrBlocked) {
			t.Errorf("Send(%s) = %+v, want %s", host, a, ClassBlocked)
		}
	}
	if asked.Load() == 0 {
		t.Error("DNS was never asked")
	}
}

func TestGuardDNS(t *testing.T) {
	t.Parallel()
	const pub, pub6 = "93.184.215.14", "2606:4700:4700::1111"
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprintf("many.test.com. 0 A 8.8.4.%d", i+1)
	}
	lookup := serveDNS(t, zone(t, append(many,
		"private.test.com. 0 A 10.0.0.5",
		"metadata.test.com. 0 A 169.254.169.254",
		"mapped.test.com. 0 AAAA ::ffff:127.0.0.1",
		"cname.test.com. 0 CNAME metadata.google.internal.", "metadata.google.internal. 0 A 169.254.169.254",
		"mixed.test.com. 0 A "+pub, "mixed.test.com. 0 A 127.0.0.1",
		"mixed6.test.com. 0 A "+pub, "mixed6.test.com. 0 AAAA fd00::1",
		"nat64.test.com. 0 AAAA 64:ff9b::7f00:1",
		"own.test.com. 0 A 8.8.8.8",
		"good.test.com. 0 A "+pub,
		"good6.test.com. 0 A "+pub, "good6.test.com. 0 AAAA "+pub6,
		"alias.test.com. 0 CNAME good.test.com.",
		"empty.test.com. 0 TXT none",
	)...))
	tests := []struct {
		host  string
		class Class
		dials int
	}{
		{"private", ClassBlocked, 0},
		{"metadata", ClassBlocked, 0},
		{"mapped", ClassBlocked, 0},
		{"cname", ClassBlocked, 0},
		{"mixed", ClassBlocked, 0},
		{"mixed6", ClassBlocked, 0},
		{"nat64", ClassBlocked, 0},
		{"own", ClassBlocked, 0},
		{"many", ClassDNS, 0},
		{"empty", ClassDNS, 0},
		{"nxdomain", ClassDNS, 0},
		{"good", ClassConnect, 1},
		{"good6", ClassConnect, 2},
		{"alias", ClassConnect, 1},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			t.Parallel()
			rec := &recorder{}
			guard := NewGuard(GuardConfig{Lookup: lookup, Dial: rec.dial, Deny: prefixes("8.8.8.0/24")})
			_, err := guard.Dial(t.Context(), mustTarget(t, "https://"+tt.host+".test.com/", Rules{}))
			if dialClass(err) != tt.class || len(rec.dialed) != tt.dials {
				t.Errorf("Dial = %v with dials %v, want %s with %d", err, rec.dialed, tt.class, tt.dials)
			}
			if tt.dials > 0 && !errors.Is(err, errSentinel) {
				t.Errorf("Dial = %v, want the sentinel", err)
			}
		})
	}
}

// TestGuardDNSFailures: answers that are no answers are retryable, not blocked.
func TestGuardDNSFailures(t *testing.T) {
	t.Parallel()
	answer := func(q *dns.Msg, ip string) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.ParseIP(ip)}}
		}
		return m
	}
	tests := map[string]dns.HandlerFunc{
		"servfail": func(w dns.ResponseWriter, q *dns.Msg) {
			_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
		},
		"silence": func(dns.ResponseWriter, *dns.Msg) {},
		"truncated": func(w dns.ResponseWriter, q *dns.Msg) {
			m := answer(q, "8.8.8.8")
			m.Truncated = true
			_ = w.WriteMsg(m)
		},
		"half": func(w dns.ResponseWriter, q *dns.Msg) { // A is fine, AAAA stays unseen
			if q.Question[0].Qtype == dns.TypeA {
				_ = w.WriteMsg(answer(q, "8.8.8.8"))
				return
			}
			_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
		},
		"garbage": func(w dns.ResponseWriter, _ *dns.Msg) { _, _ = w.Write([]byte("not DNS")) },
	}
	for name, handler := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := &recorder{}
			guard := NewGuard(GuardConfig{Lookup: serveDNS(t, handler), Dial: rec.dial, DNSTimeout: 300 * time.Millisecond})
			_, err := guard.Dial(t.Context(), mustTarget(t, "https://a.test.com/", Rules{}))
			if dialClass(err) != ClassDNS || len(rec.dialed) > 0 {
				t.Errorf("Dial = %v with dials %v, want %s", err, rec.dialed, ClassDNS)
			}
		})
	}
}

func TestGuardRebinding(t *testing.T) {
	t.Parallel()
	var lookups atomic.Int32
	lookup := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			ip := net.IPv4(127, 0, 0, 1)
			if lookups.Add(1) == 1 {
				ip = net.IPv4(93, 184, 215, 14)
			}
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: ip}}
		}
		_ = w.WriteMsg(m)
	})
	rec := &recorder{}
	guard := NewGuard(GuardConfig{Lookup: lookup, Dial: rec.dial})
	target := mustTarget(t, "https://rebind.test.com/", Rules{})
	_, first := guard.Dial(t.Context(), target)
	_, second := guard.Dial(t.Context(), target)
	if dialClass(first) != ClassConnect || dialClass(second) != ClassBlocked {
		t.Errorf("classes = %v, %v", first, second)
	}
	if want := netip.MustParseAddrPort("93.184.215.14:443"); len(rec.dialed) != 1 || rec.dialed[0] != want {
		t.Errorf("dialled %v, want only %s", rec.dialed, want)
	}
}

// TestLookupIsAbsolute: one question a type, with the name as it is.
func TestLookupIsAbsolute(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var names []string
	lookup := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg) {
		mu.Lock()
		defer mu.Unlock()
		names = append(names, q.Question[0].Name)
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})
	if _, err := lookup(t.Context(), "foo.svc"); err == nil {
		t.Fatal("look-up found a name that is not there")
	}
	mu.Lock()
	defer mu.Unlock()
	for _, n := range names {
		if n != "foo.svc." {
			t.Errorf("asked for %q, want only foo.svc.", n)
		}
	}
	if len(names) != 2 {
		t.Errorf("asked for %v, want one A and one AAAA", names)
	}
}

// TestGuardControl: the socket itself refuses, whatever came before.
func TestGuardControl(t *testing.T) {
	t.Parallel()
	port := silentListener(t)
	guard := NewGuard(GuardConfig{})
	for _, address := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0", "[::]"} {
		conn, err := guard.dial(t.Context(), "tcp", fmt.Sprintf("%s:%d", address, port))
		if !errors.Is(err, ErrBlocked) {
			t.Errorf("dial %s = %v, %v, want ErrBlocked", address, conn, err)
		}
	}
	for _, bad := range [][2]string{{"udp4", "8.8.8.8:443"}, {"tcp4", "no address"}, {"tcp6", "[fe80::1%lo]:443"}, {"unix", "/run/x"}} {
		if err := guard.control(t.Context(), bad[0], bad[1], nil); !errors.Is(err, ErrBlocked) {
			t.Errorf("control(%s, %s) = %v, want ErrBlocked", bad[0], bad[1], err)
		}
	}
	if err := guard.control(t.Context(), "tcp4", "8.8.8.8:443", nil); err != nil {
		t.Errorf("control of a public address = %v", err)
	}
}

func TestGuardDev(t *testing.T) {
	t.Parallel()
	rec := &recorder{}
	guard := NewGuard(GuardConfig{Dial: rec.dial, Dev: devRules.Dev, Lookup: fixedLookup("10.0.0.1")})
	for _, raw := range []string{"http://127.0.0.1:9000/", "http://localhost:9000/"} {
		if _, err := guard.Dial(t.Context(), mustTarget(t, raw, devRules)); !errors.Is(err, errSentinel) {
			t.Errorf("Dial(%s) = %v, want the sentinel", raw, err)
		}
	}
	if got := fmt.Sprint(rec.dialed); got != "[127.0.0.1:9000 127.0.0.1:9000 [::1]:9000]" {
		t.Errorf("dialled %s", got)
	}
	if _, err := guard.Dial(t.Context(), mustTarget(t, "https://a.test.com/", devRules)); dialClass(err) != ClassBlocked {
		t.Errorf("Dial to 10.0.0.1 = %v, want blocked: it is not in the ranges", err)
	}
	strict := NewGuard(GuardConfig{Dial: rec.dial})
	if _, err := strict.Dial(t.Context(), mustTarget(t, "http://localhost:9000/", devRules)); dialClass(err) != ClassDNS {
		t.Errorf("Dial(localhost) without development ranges = %v", err)
	}
}

// TestGuardConnectShares: a dead first address leaves time for the next.
func TestGuardConnectShares(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tried []string
		guard := NewGuard(GuardConfig{
			Lookup: fixedLookup("8.8.8.1", "8.8.8.2", "8.8.8.3", "8.8.8.4", "8.8.8.5"),
			Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
				tried = append(tried, address)
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		start := time.Now()
		_, err := guard.Dial(t.Context(), mustTarget(t, "https://a.test.com/", Rules{}))
		if dialClass(err) != ClassTimeout || time.Since(start) != 3*time.Second || len(tried) != maxDials {
			t.Errorf("Dial = %v after %v and %s", err, time.Since(start), strings.Join(tried, " "))
		}
	})
}
