package webhook

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

var devRules = Rules{Dev: Dev{
	AllowHTTP:  true,
	AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	AllowPorts: []uint16{0},
}}

func mustHosts(tb testing.TB, entries ...string) HostList {
	tb.Helper()
	list, err := ParseHostList(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

func reasonOf(err error) Reason {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return ""
}

func TestParseURLRefuseList(t *testing.T) {
	t.Parallel()
	for _, raw := range urlList(t, "refuse.txt") {
		got, err := ParseURL(raw, Rules{})
		if reasonOf(err) == "" || got != (Target{}) {
			t.Errorf("ParseURL(%q) = %v, %v, want a refusal", raw, got, err)
			continue
		}
		if text := err.Error(); strings.HasSuffix(text, "URL ") || strings.Contains(text, "customer") {
			t.Errorf("ParseURL(%q) error = %q, want a text of its own without the URL", raw, text)
		}
	}
}

// TestParseURLNormalises holds every line of allow.txt and more.
func TestParseURLNormalises(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"https://hooks.customer.com":                                "https://hooks.customer.com/",
		"https://hooks.customer.com/":                               "https://hooks.customer.com/",
		"https://hooks.customer.com:443/cb":                         "https://hooks.customer.com/cb",
		"https://hooks.customer.com:8443/cb":                        "https://hooks.customer.com:8443/cb",
		"https://hooks.customer.com?x=1":                            "https://hooks.customer.com/?x=1",
		"https://hooks.customer.com/cb?token=abc&x=1":               "https://hooks.customer.com/cb?token=abc&x=1",
		"https://hooks.customer.com/cb?a[]=1&b=2?3":                 "https://hooks.customer.com/cb?a[]=1&b=2?3",
		"https://hooks.customer.com//a/../b/./c":                    "https://hooks.customer.com//a/../b/./c",
		"HTTPS://Hooks.Customer.COM/CB":                             "https://hooks.customer.com/CB",
		"https://bücher.com/cb":                                     "https://xn--bcher-kva.com/cb",
		"https://BÜCHER.com/cb":                                     "https://xn--bcher-kva.com/cb",
		"https://xn--bcher-kva.com/cb":                              "https://xn--bcher-kva.com/cb",
		"https://XN--BCHER-KVA.com/cb":                              "https://xn--bcher-kva.com/cb",
		"https://例え.jp/":                                            "https://xn--r8jz45g.jp/",
		"https://a-b.c1.co.uk/x/y/z":                                "https://a-b.c1.co.uk/x/y/z",
		"https://1und1.de/cb":                                       "https://1und1.de/cb",
		"https://3com.com/":                                         "https://3com.com/",
		"https://hooks.customer.com/a%20b/%E6%97%A5":                "https://hooks.customer.com/a%20b/%E6%97%A5",
		"https://hooks.customer.com/cb?u=http%3A%2F%2F127.0.0.1%2F": "https://hooks.customer.com/cb?u=http%3A%2F%2F127.0.0.1%2F",
		"https://hooks.customer.com/cb?u=http://127.0.0.1/":         "https://hooks.customer.com/cb?u=http://127.0.0.1/",
		"https://hooks.customer.com/cb?u=a@b":                       "https://hooks.customer.com/cb?u=a@b",
		"https://hooks.customer.com/%0d%0aX-Evil:1":                 "https://hooks.customer.com/%0d%0aX-Evil:1",
		"https://hook.eu1.make.com/abc":                             "https://hook.eu1.make.com/abc",
		"https://svc-abc123-ew.a.run.app/cb":                        "https://svc-abc123-ew.a.run.app/cb",
		"https://x1.execute-api.eu-west-1.amazonaws.com/p":          "https://x1.execute-api.eu-west-1.amazonaws.com/p",
		"https://127.0.0.1.nip.io/":                                 "https://127.0.0.1.nip.io/",
		"https://localtest.me/":                                     "https://localtest.me/",
		"https://customer.com.evil.net/":                            "https://customer.com.evil.net/",
	}
	for _, raw := range urlList(t, "allow.txt") {
		if _, ok := want[raw]; !ok {
			t.Errorf("allow.txt has %q, which this test does not know", raw)
		}
	}
	for raw, normal := range want {
		got, err := ParseURL(raw, Rules{})
		if err != nil || got.String() != normal {
			t.Errorf("ParseURL(%q) = %q, %v, want %q", raw, got, err, normal)
			continue
		}
		assertStable(t, got, Rules{})
	}
}

// assertStable checks what must hold of every accepted URL: it parses to itself, and net/http would ask the
// same host for the same path.
func assertStable(tb testing.TB, got Target, rules Rules) {
	tb.Helper()
	again, err := ParseURL(got.String(), rules)
	if err != nil || again != got {
		tb.Errorf("ParseURL(%q) again = %q, %v", got, again, err)
	}
	req, err := http.NewRequest(http.MethodPost, got.String(), nil)
	if err != nil {
		tb.Fatalf("http.NewRequest(%q): %v", got, err)
	}
	if req.URL.Hostname() != got.Host() || got.Origin()+req.URL.RequestURI() != got.String() || req.URL.User != nil {
		tb.Errorf("net/http reads %q as host %q, request %q", got, req.URL.Hostname(), req.URL.RequestURI())
	}
}

func TestParseURLReasons(t *testing.T) {
	t.Parallel()
	rules := Rules{OwnHosts: mustHosts(t, "api.exportd.io", "*.own.io"), AllowedHosts: mustHosts(t, "hooks.customer.com", "*.partner.com", "api.exportd.io", "*.own.io")}
	label63, label64 := strings.Repeat("a", 63), strings.Repeat("a", 64)
	tests := []struct {
		raw  string
		want Reason
	}{
		{"", ReasonNotAbsolute},
		{"hooks.customer.com", ReasonNotAbsolute},
		{"/cb?u=https://hooks.customer.com", ReasonNotAbsolute},
		{"http://hooks.customer.com/", ReasonScheme},
		{"javascript://hooks.customer.com/", ReasonScheme},
		{"https://hooks.customer.com/" + strings.Repeat("a", MaxURLBytes-27), ""},
		{"https://hooks.customer.com/" + strings.Repeat("a", MaxURLBytes-26), ReasonTooLong},
		{"https://" + label64 + ".partner.com/", ReasonHostMalformed},
		{"https://" + label63 + ".partner.com/", ""},
		{"https://" + strings.Repeat(label63+".", 4) + "partner.com/", ReasonHostMalformed},
		{"https://hooks.customer.com/a b", ReasonCharacters},
		{"https://hooks.customer.com/\r\nX-Evil: 1", ReasonCharacters},
		{"https://hooks.customer.com/\x7f", ReasonCharacters},
		{"https://hooks.customer.com/\xff", ReasonCharacters},
		{"https://hooks.customer.com/{id}", ReasonCharacters},
		{"https://hooks.customer.com/?a=%", ReasonCharacters},
		{"https://hooks.customer.com/?a=%4", ReasonCharacters},
		{"https://hooks.customer.com/[x]", ReasonCharacters},
		{"https://hooks.customer.com/?a#", ReasonFragment},
		{"https://a@hooks.customer.com/", ReasonUserInfo},
		{"https://@hooks.customer.com/", ReasonUserInfo},
		{"https:///cb", ReasonHostMissing},
		{"https://:443/cb", ReasonHostMissing},
		{"https://hooks.customer.com:99999/", ReasonPort},
		{"https://hooks.customer.com:80/", ReasonPort},
		{"https://hooks.customer.com:+443/", ReasonPort},
		{"https://8.8.8.8/", ReasonHostAddress},
		{"https://[2606:4700:4700::1111]:443/", ReasonHostAddress},
		{"https://[::1]x/", ReasonHostMalformed},
		{"https://localhost/", ReasonHostInternal},
		{"https://foo.svc/", ReasonHostInternal},
		{"https://foo.internal/", ReasonHostInternal},
		{"https://ｈooks.customer.com/", ReasonHostMalformed},
		{"https://hooks。customer.com/", ReasonHostMalformed},
		{"https://hoo\u00adks.customer.com/", ReasonHostMalformed},
		{"https://xn--localhost-.partner.com/", ReasonHostMalformed},
		{"https://api.exportd.io/", ReasonHostOwn},
		{"https://API.exportd.io/", ReasonHostOwn},
		{"https://a.b.own.io/", ReasonHostOwn},
		{"https://hooks.customer.com/", ""},
		{"https://a.partner.com/", ""},
		{"https://partner.com/", ReasonHostNotAllowed},
		{"https://evilpartner.com/", ReasonHostNotAllowed},
		{"https://hooks.customer.com.evil.net/", ReasonHostNotAllowed},
	}
	for _, tt := range tests {
		if _, err := ParseURL(tt.raw, rules); reasonOf(err) != tt.want {
			t.Errorf("ParseURL(%q) = %v, want reason %q", tt.raw, err, tt.want)
		}
	}
}

func TestParseURLDev(t *testing.T) {
	t.Parallel()
	accepted := map[string]string{
		"http://127.0.0.1:9000/cb":    "http://127.0.0.1:9000/cb",
		"http://localhost:9000":       "http://localhost:9000/",
		"http://LOCALHOST:80/":        "http://localhost/",
		"http://[::1]:9000/":          "http://[::1]:9000/",
		"https://127.9.9.9/":          "https://127.9.9.9/",
		"https://[::ffff:127.0.0.1]/": "https://127.0.0.1/",
	}
	for raw, want := range accepted {
		got, err := ParseURL(raw, devRules)
		if err != nil || got.String() != want {
			t.Errorf("ParseURL(%q) = %q, %v, want %q", raw, got, err, want)
			continue
		}
		assertStable(t, got, devRules)
	}
	for _, raw := range []string{
		"http://10.0.0.1/", "http://[::1/", "http://::1/", "http://[127.0.0.1]/", "http://[::1%25lo]/", "http://127.1/",
		"http://0x7f.0.0.1/", "ftp://127.0.0.1/", "http://user@127.0.0.1/", "http://intranet/", "http://localhost./",
	} {
		if got, err := ParseURL(raw, devRules); err == nil {
			t.Errorf("ParseURL(%q) = %q, want a refusal", raw, got)
		}
	}
	if (Dev{}).Enabled() || !devRules.Dev.Enabled() {
		t.Error("Enabled is wrong")
	}
	onlyHTTP := Rules{Dev: Dev{AllowHTTP: true}}
	for raw, ok := range map[string]bool{"http://a.com/": true, "http://a.com:80/": true, "http://a.com:81/": false, "https://a.com:80/": false, "http://127.0.0.1/": false} {
		if _, err := ParseURL(raw, onlyHTTP); (err == nil) != ok {
			t.Errorf("ParseURL(%q) = %v, want ok %v", raw, err, ok)
		}
	}
}

func TestParseHostListRefuses(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{"", "*", "*.", "*.com", "localhost", "a.com:443", "https://a.com", "1.2.3.4", "a.*.com", "a.com.", "*.*.a.com"} {
		if list, err := ParseHostList([]string{entry}); err == nil {
			t.Errorf("ParseHostList(%q) = %v, want an error", entry, list)
		}
	}
	if !(HostList{}).Empty() || (HostList{}).Contains("a.com") {
		t.Error("the zero HostList is not empty")
	}
}

// FuzzParseURL: whatever is accepted parses to itself, is read alike by net/http, and with whatever addresses
// DNS then gives, only public ones on an allowed port are ever dialled.
func FuzzParseURL(f *testing.F) {
	for i, raw := range append(urlList(f, "refuse.txt"), urlList(f, "allow.txt")...) {
		f.Add(raw, []byte{8, 8, 8, 8, 127, 0, byte(i), 1})
	}
	f.Fuzz(func(t *testing.T, raw string, addrs []byte) {
		target, err := ParseURL(raw, Rules{})
		if dev, err := ParseURL(raw, devRules); err == nil {
			assertStable(t, dev, devRules)
		}
		if err != nil {
			if reasonOf(err) == "" || target != (Target{}) {
				t.Fatalf("ParseURL(%q) = %v, %v", raw, target, err)
			}
			return
		}
		assertStable(t, target, Rules{})
		if target.Port() != 443 && target.Port() != 8443 {
			t.Fatalf("ParseURL(%q) port = %d", raw, target.Port())
		}
		assertDialsPublicOnly(t, target, addrs)
	})
}
