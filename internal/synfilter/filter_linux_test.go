package synfilter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func listen(t *testing.T, addr string) (net.Listener, *Filter) {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false) // it takes no filter
	l, err := config.Listen(t.Context(), "tcp", addr)
	if err != nil {
		if addr[0] == '[' {
			t.Skipf("no address to listen on: %v", err) // not every machine has ::1
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	f, err := New(l)
	if err != nil {
		t.Fatal(err)
	}
	return l, f
}

// connects says whether an attempt from an address gets through: one that is dropped is not made again before
// a second is over.
func connects(t *testing.T, l net.Listener, from string, within time.Duration) (net.Conn, bool) {
	t.Helper()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	to := "127.0.0.1"
	if netip.MustParseAddr(from).Is6() {
		to = "::1"
	}
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(to, port))
	if err != nil {
		if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
			t.Errorf("from %s: %v, want a timeout", from, err)
		}
		return nil, false
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, true
}

const (
	dropped = 200 * time.Millisecond // long enough to see that it is
	passed  = 30 * time.Second
)

func TestSources(t *testing.T) {
	t.Parallel()
	rule := func(cidr string) Rule { return Rule{From: netip.MustParsePrefix(cidr)} }
	full := []Rule{rule("127.0.0.2/32")} // the first and the last of as many as fit
	for i := range MaxRules - 2 {
		full = append(full, Rule{netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x:1::/64", i)), 32})
	}
	full = append(full, rule("127.0.0.4/32"))
	for _, tc := range []struct {
		name, listen    string
		rules           []Rule
		dropped, passed []string
	}{
		{"none", "127.0.0.1:0", nil, nil, []string{"127.0.0.2", "127.0.0.3"}},
		{"one address", "127.0.0.1:0", []Rule{rule("127.0.0.2/32")}, []string{"127.0.0.2"}, []string{"127.0.0.1", "127.0.0.3"}},
		{"all addresses", ":0", []Rule{rule("127.0.0.2/32"), rule("2001:db8::/64")}, []string{"127.0.0.2"}, []string{"127.0.0.1", "127.0.0.3"}},
		{"network", "127.0.0.1:0", []Rule{rule("127.0.2.0/23")}, []string{"127.0.2.1", "127.0.3.255"}, []string{"127.0.1.255", "127.0.4.0"}},
		{"everything", "127.0.0.1:0", []Rule{rule("0.0.0.0/0")}, []string{"127.0.0.1"}, nil},
		{"as many as fit", "127.0.0.1:0", full, []string{"127.0.0.2", "127.0.0.4"}, []string{"127.0.0.1", "127.0.0.3"}},
		{"IPv6", "[::1]:0", []Rule{rule("::/64")}, []string{"::1"}, nil},
		{"another of IPv6", "[::1]:0", []Rule{rule("::1:0:0:0:0/64"), rule("0:0:0:1::/64"), rule("0.0.0.0/0")}, nil, []string{"::1"}},
		{"part of a word", "[::1]:0", []Rule{rule("::/126")}, []string{"::1"}, nil},
		{"another part of a word", "[::1]:0", []Rule{rule("::4/126")}, nil, []string{"::1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l, f := listen(t, tc.listen)
			if err := f.Set(tc.rules); err != nil {
				t.Fatal(err)
			}
			for _, from := range tc.dropped {
				if _, ok := connects(t, l, from, dropped); ok {
					t.Errorf("from %s: connected, want it dropped", from)
				}
			}
			for _, from := range tc.passed {
				if _, ok := connects(t, l, from, passed); !ok {
					t.Errorf("from %s: dropped", from)
				}
			}
		})
	}
}

// What is connected goes on, though it has the filter itself; and a dropped attempt comes again by itself.
func TestConnectedGoOn(t *testing.T) {
	t.Parallel()
	l, f := listen(t, "127.0.0.1:0")
	if err := f.Set([]Rule{{From: netip.MustParsePrefix("127.0.0.9/32")}}); err != nil {
		t.Fatal(err)
	}
	c, _ := connects(t, l, "127.0.0.2", passed)
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if err := f.Set([]Rule{{From: netip.MustParsePrefix("127.0.0.2/32")}}); err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct{ from, to net.Conn }{{c, accepted}, {accepted, c}} {
		if _, err := io.WriteString(way.from, "on"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2)
		if _, err := io.ReadFull(way.to, got); err != nil || string(got) != "on" {
			t.Errorf("read %q, %v", got, err)
		}
	}
	if _, ok := connects(t, l, "127.0.0.2", dropped); ok {
		t.Fatal("connected, want it dropped")
	}
	again := make(chan bool)
	go func() {
		_, ok := connects(t, l, "127.0.0.2", passed)
		again <- ok
	}()
	if err := f.Set(nil); err != nil {
		t.Fatal(err)
	}
	if err := f.Set(nil); err != nil {
		t.Errorf("once more: %v", err)
	}
	if !<-again {
		t.Error("an attempt does not get through when the rules are gone")
	}
}

// Of attempts that are to pass by half, about half do.
func TestSomePass(t *testing.T) {
	t.Parallel()
	l, f := listen(t, "127.0.0.1:0")
	if err := f.Set([]Rule{{netip.MustParsePrefix("127.0.0.2/32"), 128}}); err != nil {
		t.Fatal(err)
	}
	const tries = 60
	var through atomic.Int32
	var wg sync.WaitGroup
	for range tries {
		wg.Go(func() {
			if _, ok := connects(t, l, "127.0.0.2", 2*dropped); ok {
				through.Add(1)
			}
		})
	}
	wg.Wait()
	if n := through.Load(); n < 5 || n > tries-5 { // 1 in 10^10 by chance
		t.Errorf("%d of %d got through", n, tries)
	}
}

func TestUnsupported(t *testing.T) {
	t.Parallel()
	unix, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	if _, err := New(unix); !errors.Is(err, ErrUnsupported) {
		t.Errorf("of another socket: %v", err)
	}
	l, f := listen(t, "127.0.0.1:0")
	if err := f.Set(make([]Rule, MaxRules+1)); err == nil {
		t.Error("too many rules are taken")
	}
	if err := f.Set([]Rule{{}}); err == nil {
		t.Error("a rule for no network is taken")
	}
	_ = l.Close()
	if err := f.Set(nil); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a closed listener: %v", err)
	}
}
