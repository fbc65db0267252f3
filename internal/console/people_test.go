package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"exportd/internal/console"
	"exportd/internal/identity"
	"exportd/internal/identity/identitytest"
	"exportd/jobs"
)

// withPeople has a desk be behind an Identity-Aware Proxy, and know a provider.
func withPeople(d *desk, cfg *console.Config) {
	d.proxy, d.provider = identitytest.NewProxy(d.tb, d.clock), identitytest.NewProvider(d.tb, d.clock)
	cfg.Roles = identity.Roles{Viewers: []string{"viewer@example.com", "support"}, Operators: []string{"op@example.com"}, Admins: []string{"admin@example.com"}}
	cfg.URL, cfg.Contact = "http://"+d.Listener.Addr().String(), "the platform team <platform@example.com>"
	cfg.Proxy = identity.NewIAP(identity.IAPConfig{Audience: identitytest.Audience, KeysURL: d.proxy.KeysURL, Now: d.clock})
	cfg.Provider = identity.NewOIDC(identity.OIDCConfig{
		Issuer: d.provider.URL, ClientID: identitytest.ClientID, Secret: identitytest.ClientSecret, RedirectURL: cfg.URL + console.CallbackPath, Claim: "groups", Roles: cfg.Roles, Now: d.clock,
	})
}

// byProxy is somebody whom Identity-Aware Proxy names with each request.
func (d *desk) byProxy(email string) *person {
	p := d.visitor()
	p.proxy = func() string { return d.proxy.Assertion(email) }
	return p
}

// goes goes to the provider, as somebody, and says with what the browser is sent back.
func (p *person) goes(next string, claims map[string]any) (back string) {
	p.d.tb.Helper()
	p.d.provider.Is(claims)
	away := p.get("/console/sign-in/oidc?" + url.Values{"next": {next}}.Encode())
	r, err := http.NewRequestWithContext(p.d.tb.Context(), http.MethodGet, away.header.Get("Location"), nil)
	if err != nil || away.status != http.StatusSeeOther {
		p.d.tb.Fatalf("to the provider = %d %s, %v", away.status, away.body, err)
	}
	a := p.do(r)
	if a.status != http.StatusFound {
		p.d.tb.Fatalf("the provider = %d %s", a.status, a.body)
	}
	return strings.TrimPrefix(a.header.Get("Location"), p.d.URL)
}

func verified(email string) map[string]any {
	return map[string]any{"email": email, "email_verified": true}
}

// byProvider is somebody whom the provider has signed in.
func (d *desk) byProvider(email string) *person {
	d.tb.Helper()
	p := d.visitor()
	if a := p.get(p.goes("/console/jobs", verified(email))); a.status != http.StatusOK || a.header.Get("Refresh") != "0; url=/console/jobs" {
		d.tb.Fatalf("back from the provider = %d %v %s", a.status, a.header, a.body)
	}
	return p
}

// everybody is each role, by each way of signing in. Those who are like a key may what it may.
func (d *desk) everybody() map[string]*person {
	all := map[string]*person{}
	for role := range roles {
		if role != "key_reader" {
			all[role] = d.signedIn(role)
			all[role].like = []string{role}
		}
	}
	for email, like := range map[string][]string{"viewer@example.com": {"key_viewer"}, "op@example.com": {"key_operator"}, "admin@example.com": {"key_operator", "key_platform"}} {
		all["proxy "+email], all["provider "+email] = d.byProxy(email), d.byProvider(email)
		all["proxy "+email].like, all["provider "+email].like = like, like
	}
	return all
}

// TestLongWayBack: whoever wants to a page with a long filter can sign in by the provider all the same:
// browsers keep no cookie of more than 4 KiB.
func TestLongWayBack(t *testing.T) {
	t.Parallel()
	d := open(t, withPeople)
	for next, back := range map[string]string{
		"/console/jobs?text=" + strings.Repeat("x", 1000):       "/console/jobs?text=" + strings.Repeat("x", 1000),
		"/console/jobs?text=" + strings.Repeat("x", 5000):       "/console",
		"/console/jobs?" + strings.Repeat("id=a&", 400) + "id=": "/console", // each & is six bytes sealed
	} {
		p := d.visitor()
		a := p.get("/console/sign-in/oidc?" + url.Values{"next": {next}}.Encode())
		if n := len(a.header.Get("Set-Cookie")); n == 0 || n > 4096 {
			t.Errorf("to %.60s: the cookie has %d bytes", next, n)
		}
		if a := p.get(p.goes(next, verified("op@example.com"))); a.status != http.StatusOK || a.header.Get("Refresh") != "0; url="+back {
			t.Errorf("to %.60s: back from the provider = %d %v", next, a.status, a.header)
		}
	}
}

// What a person does is done in their name, whoever says what it is.
func TestPeopleAreNamed(t *testing.T) {
	t.Parallel()
	d := open(t, withPeople)
	for way, p := range map[string]*person{"proxy": d.byProxy("op@example.com"), "provider": d.byProvider("op@example.com")} {
		bad := d.failed("org1", "https://hooks.example/x", jobs.CodeInternal, "x", "")
		if a := p.act("do=rerun&id="+bad.ID, "by "+way); a.status != http.StatusSeeOther {
			t.Errorf("%s: run again = %d %s", way, a.status, a.body)
		}
		events, err := d.store.Events(t.Context(), bad.ID)
		if last := events[len(events)-1]; err != nil || last.Type != jobs.EventRerun || last.Actor != "op@example.com" {
			t.Errorf("%s: the timeline ends with %+v, %v", way, last, err)
		}
		if a := p.get("/console/audit"); !strings.Contains(a.body, "op@example.com") || !strings.Contains(a.body, "by "+way) {
			t.Errorf("%s: the audit does not say who", way)
		}
		if a := p.get("/console"); !strings.Contains(a.body, `title="signed in">op@example.com<`) {
			t.Errorf("%s: the page does not say who is signed in", way)
		}
		if a := p.act("do=pause&queue=exports", "r"); a.status != http.StatusSeeOther {
			t.Errorf("%s: pause = %d", way, a.status)
		}
		if s, err := d.store.Switches(t.Context()); err != nil || s.Paused[jobs.QueueExports].Actor != "op@example.com" {
			t.Errorf("%s: the switch is %+v, %v", way, s, err)
		}
		if a := p.act("do=resume&queue=exports", "r"); a.status != http.StatusSeeOther {
			t.Errorf("%s: resume = %d", way, a.status)
		}
	}
}

// Whoever has no role is told whom to ask, and gets no session.
func TestNoRole(t *testing.T) {
	t.Parallel()
	d := open(t, withPeople)
	stranger := d.visitor()
	for name, a := range map[string]reply{"provider": stranger.get(stranger.goes("/console", verified("nobody@example.com"))), "proxy": d.byProxy("nobody@example.com").get("/console/jobs")} {
		if a.status != http.StatusForbidden || !strings.Contains(a.body, "nobody@example.com") || !strings.Contains(a.body, "platform@example.com") || strings.Contains(a.body, "/console/sign-out") {
			t.Errorf("%s = %d %s", name, a.status, a.body)
		}
	}
	if a := stranger.get("/console"); a.status != http.StatusSeeOther {
		t.Errorf("afterwards = %d", a.status)
	}
	// An address that the provider has not verified gives no role.
	if a := stranger.get(stranger.goes("/console", map[string]any{"email": "admin@example.com", "email_verified": false})); a.status != http.StatusForbidden {
		t.Errorf("an address of one's own choice = %d", a.status)
	}
	// A group does.
	if a := stranger.get(stranger.goes("/console", map[string]any{"groups": []string{"support"}})); a.status != http.StatusOK {
		t.Errorf("a group = %d", a.status)
	}
}

// Without a proxy the header is no more than any other.
func TestHeaderWithoutProxy(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.proxy = identitytest.NewProxy(t, d.clock)
	for _, path := range []string{"/console", "/console/jobs", "/console/keys", "/console/audit"} {
		if a := d.byProxy("admin@example.com").get(path); a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), "/console/sign-in") {
			t.Errorf("%s = %d", path, a.status)
		}
	}
	if d.proxy.Asked() > 0 {
		t.Error("the keys of a proxy were asked for")
	}
	if a := d.visitor().get("/console/sign-in/oidc"); a.status == http.StatusSeeOther && !strings.HasPrefix(a.header.Get("Location"), "/console/sign-in?") {
		t.Errorf("without a provider one is sent to %s", a.header.Get("Location"))
	}
}

// What does not hold lets nobody in, and what is down is told from it.
func TestProxyInTrouble(t *testing.T) {
	t.Parallel()
	d := open(t, withPeople)
	p := d.byProxy("admin@example.com")
	for name, by := range map[string]map[string]any{"another audience": {"aud": "x"}, "expired": {"exp": d.clock().Add(-time.Minute).Unix()}, "another issuer": {"iss": "x"}, "nobody": {"email": nil}} {
		p.proxy = func() string { return d.proxy.Key.Sign(d.proxy.Claims("admin@example.com", by)) }
		if a := p.get("/console/jobs"); a.status != http.StatusForbidden || !strings.Contains(a.body, "Identity-Aware Proxy") {
			t.Errorf("%s = %d %s", name, a.status, a.body)
		}
	}
	// Nor do two, of which each holds.
	r := p.request(http.MethodGet, "/console/jobs", nil)
	r.Header[identity.HeaderIAP] = []string{d.proxy.Assertion("admin@example.com"), d.proxy.Assertion("op@example.com")}
	p.proxy = nil
	if a := p.do(r); a.status != http.StatusForbidden {
		t.Errorf("two assertions = %d", a.status)
	}
	// The session of a key goes on whatever the header is.
	p = d.signedIn("key_operator")
	p.proxy = func() string { return "x" }
	if a := p.get("/console/jobs"); a.status != http.StatusOK {
		t.Errorf("a key's session with a wrong header = %d", a.status)
	}
	down := open(t, withPeople)
	down.proxy.Fails(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) })
	if a := down.byProxy("admin@example.com").get("/console/jobs"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "cannot be read at present") {
		t.Errorf("without its keys = %d %s", a.status, a.body)
	}
}

// The way to a provider and back is one's own, once, within ten minutes, and leads to a page of the console.
func TestProviderFlow(t *testing.T) {
	t.Parallel()
	d := open(t, withPeople)
	in := func(a reply) bool {
		for _, c := range (&http.Response{Header: a.header}).Cookies() {
			if c.Name == "exportd-console" && c.MaxAge > 0 {
				return true
			}
		}
		return false
	}
	tried := 0
	for name, try := range map[string]func(p *person) reply{
		"no cookie": func(p *person) reply { return d.visitor().get(p.goes("/console", verified("admin@example.com"))) },
		"another browser": func(p *person) reply {
			to := p.goes("/console", verified("admin@example.com"))
			p.agent = "browser/2"
			return p.get(to)
		},
		"another's code": func(p *person) reply {
			other := d.visitor()
			theirs, err := url.Parse(other.goes("/console", verified("admin@example.com")))
			if err != nil {
				t.Fatal(err)
			}
			mine, err := url.Parse(p.goes("/console", verified("op@example.com")))
			if err != nil {
				t.Fatal(err)
			}
			q := mine.Query()
			q.Set("code", theirs.Query().Get("code"))
			return p.get(mine.Path + "?" + q.Encode())
		},
		"another's answer": func(p *person) reply {
			p.goes("/console", verified("op@example.com"))
			return p.get(d.visitor().goes("/console", verified("admin@example.com")))
		},
		"eleven minutes": func(p *person) reply {
			to := p.goes("/console", verified("admin@example.com"))
			d.pass(11 * time.Minute)
			return p.get(to)
		},
		"twice": func(p *person) reply {
			to := p.goes("/console", verified("admin@example.com"))
			jar := p.client.Jar.Cookies(mustParse(d.URL + "/console"))
			if !in(p.get(to)) {
				t.Error("once is not enough")
			}
			again := d.visitor()
			again.client.Jar.SetCookies(mustParse(d.URL+"/console"), jar)
			return again.get(to)
		},
		"wrong nonce": func(p *person) reply {
			return p.get(p.goes("/console", map[string]any{"email": "admin@example.com", "email_verified": true, "nonce": "x"}))
		},
		"wrong audience": func(p *person) reply {
			return p.get(p.goes("/console", map[string]any{"email": "admin@example.com", "email_verified": true, "aud": "x"}))
		},
		"expired": func(p *person) reply {
			return p.get(p.goes("/console", map[string]any{"email": "admin@example.com", "email_verified": true, "exp": d.clock().Add(-time.Hour).Unix()}))
		},
		"no code": func(p *person) reply {
			p.goes("/console", verified("admin@example.com"))
			return p.get("/console/sign-in/oidc/callback")
		},
		"by itself": func(p *person) reply { return p.get("/console/sign-in/oidc/callback?code=x&state=y") },
		"declined": func(p *person) reply {
			to := mustParse(p.goes("/console", nil))
			return p.get(to.Path + "?" + url.Values{"state": {to.Query().Get("state")}, "error": {"access_denied"}, "error_description": {"<script>alert(1)</script>"}}.Encode())
		},
	} {
		tried++
		if a := try(d.visitor()); a.status != http.StatusForbidden || in(a) || !strings.Contains(a.body, `role="alert"`) || strings.Contains(a.body, "<script>alert") {
			t.Errorf("%s = %d %s", name, a.status, a.body)
		}
	}
	for to, want := range map[string]string{"/console/jobs?state=failed": "/console/jobs?state=failed", "https://evil.example": "/console", "//evil.example": "/console", "/console/../x;url=y": "/console/../x;url=y"} {
		p := d.visitor()
		if a := p.get(p.goes(to, verified("op@example.com"))); a.header.Get("Refresh") != "0; url="+want && !strings.HasPrefix(a.header.Get("Refresh"), "0; url=/console") {
			t.Errorf("next=%s leads to %s", to, a.header.Get("Refresh"))
		}
	}
	// Whoever begins elsewhere is sent to where the browser comes back to, once.
	p := d.visitor()
	p.host = "localhost:1"
	if a := p.get("/console/sign-in/oidc"); a.header.Get("Location") != d.URL+"/console/sign-in/oidc?here=1&next=%2Fconsole" {
		t.Errorf("begun elsewhere = %d %s", a.status, a.header.Get("Location"))
	}
	if a := p.get("/console/sign-in/oidc?here=1"); !strings.HasPrefix(a.header.Get("Location"), d.provider.URL) {
		t.Errorf("begun elsewhere again = %d %s", a.status, a.header.Get("Location"))
	}
	t.Logf("%d ways to come back wrongly: 0 let in", tried)
}

func mustParse(raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err)
	}
	return u
}

// A provider that is down is said to be, at the page where one signs in; the console itself goes on.
func TestProviderDown(t *testing.T) {
	t.Parallel()
	d := open(t, withPeople)
	failing := func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "a secret of the provider", http.StatusInternalServerError)
	}
	in, waiting := d.byProvider("op@example.com"), d.visitor()
	back := waiting.goes("/console", verified("op@example.com"))
	d.provider.Fails("/token", failing)
	if a := waiting.get(back); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "Try again") || strings.Contains(a.body, "a secret") {
		t.Errorf("without tokens = %d %s", a.status, a.body)
	}
	d.provider.Fails("/.well-known/openid-configuration", failing)
	d.pass(time.Minute)
	if a := in.get("/console/jobs"); a.status != http.StatusOK {
		t.Errorf("who is in already = %d", a.status)
	}
	cold := open(t, withPeople)
	cold.provider.Fails("/.well-known/openid-configuration", failing)
	if a := cold.visitor().get("/console/sign-in/oidc"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "cannot be asked at present") || !strings.Contains(a.body, `name="secret"`) {
		t.Errorf("without discovery = %d %s", a.status, a.body)
	}
}
