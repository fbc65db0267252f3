package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/console"
	"exportd/jobs"
)

// A browser is let in by a key that is for operators, and its cookie can be read, sent and stolen by nobody.
func TestSignIn(t *testing.T) {
	t.Parallel()
	d := open(t)
	for name, tc := range map[string]struct {
		key, secret string
		want        int
		says        string
	}{
		"operator": {"key_operator", secret, http.StatusSeeOther, ""}, "viewer": {"key_viewer", secret, http.StatusSeeOther, ""},
		"platform": {"key_platform", secret, http.StatusSeeOther, ""}, "admin": {"key_admin1", secret, http.StatusSeeOther, ""},
		"reader":       {"key_reader", secret, http.StatusForbidden, "needs the scope ops, view, admin or platform"},
		"wrong secret": {"key_operator", secret + "x", http.StatusUnauthorized, "No key in use"},
		"unknown key":  {"key_nobody", secret, http.StatusUnauthorized, "No key in use"},
		"no secret":    {"key_operator", "", http.StatusUnprocessableEntity, "Both are needed"},
		"no key":       {"<script>", secret, http.StatusUnprocessableEntity, "Both are needed"},
	} {
		p := d.visitor()
		a := p.post("/console/sign-in", url.Values{"key": {tc.key}, "secret": {tc.secret}})
		cookies := (&http.Response{Header: a.header}).Cookies()
		if a.status != tc.want || !strings.Contains(a.body, tc.says) || strings.Contains(a.body, secret) || strings.Contains(a.body, "<script>") {
			t.Errorf("%s = %d %s", name, a.status, a.body)
		}
		if in := tc.want == http.StatusSeeOther; in != (len(cookies) == 1) || in && (!cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].Path != "/" || cookies[0].MaxAge != 8*3600) {
			t.Errorf("%s: cookies %v", name, cookies)
		}
	}
	// Elsewhere than on this machine the cookie is for https alone, and for this host.
	r := d.visitor().request(http.MethodPost, "/console/sign-in", url.Values{"key": {"key_operator"}, "secret": {secret}})
	r.Host = "console.example"
	if c := d.visitor().do(r).header.Get("Set-Cookie"); !strings.HasPrefix(c, "__Host-") || !strings.Contains(c, "; Secure") || strings.Contains(c, "Domain") {
		t.Errorf("over the network the cookie is %q", c)
	}
}

// Where one goes after signing in is a page of the console.
func TestNext(t *testing.T) {
	t.Parallel()
	d := open(t)
	for to, want := range map[string]string{
		"/console/jobs?state=failed": "/console/jobs?state=failed", "": "/console", "//evil.example": "/console", "https://evil.example/console": "/console", "/console\\..\\x": "/console",
		"/consolex": "/console", "/ops/jobs": "/console", "javascript:alert(1)": "/console", "/console/%0d%0aSet-Cookie:x": "/console/%0D%0ASet-Cookie:x", "///console": "/console",
	} {
		a := d.visitor().post("/console/sign-in", url.Values{"key": {"key_operator"}, "secret": {secret}, "next": {to}})
		if got := a.header.Get("Location"); got != want {
			t.Errorf("next=%q leads to %q, want %q", to, got, want)
		}
	}
	if a := d.visitor().get("/console/jobs?state=failed"); a.status != http.StatusSeeOther || a.header.Get("Location") != "/console/sign-in?next=%2Fconsole%2Fjobs%3Fstate%3Dfailed" {
		t.Errorf("without a session = %d %s", a.status, a.header.Get("Location"))
	}
	// A link from elsewhere comes without the cookie: the page asks for itself once more.
	r := d.visitor().request(http.MethodGet, "/console/jobs?state=failed", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if a := d.visitor().do(r); a.status != http.StatusOK || a.header.Get("Refresh") != "0; url=/console/jobs?state=failed" {
		t.Errorf("by a link from elsewhere = %d %v", a.status, a.header)
	}
}

// Whoever is out is out at once: of a page, of what changes while one looks, and of what can be done.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(d *desk, p *person){
		"8 hours":     func(d *desk, _ *person) { d.pass(8*time.Hour + time.Second) },
		"key revoked": func(d *desk, _ *person) { d.change("key_operator", func(k *apikey.Key) { k.State = apikey.Disabled }) },
		"key expired": func(d *desk, _ *person) { d.change("key_operator", func(k *apikey.Key) { k.ExpiresAt = d.now }) },
		"key gone":    func(d *desk, _ *person) { d.mu.Lock(); defer d.mu.Unlock(); delete(d.keys, "key_operator") },
		"rights taken": func(d *desk, _ *person) {
			d.change("key_operator", func(k *apikey.Key) { k.Scopes = []apikey.Scope{apikey.ScopeRead} })
		},
		"secret replaced": func(d *desk, _ *person) {
			d.change("key_operator", func(k *apikey.Key) {
				k.Secrets = []apikey.SigningSecret{{Secret: apikey.NewSecret("another secret of the key")}}
			})
		},
		"secret's end": func(d *desk, _ *person) {
			d.change("key_operator", func(k *apikey.Key) {
				k.Secrets = []apikey.SigningSecret{{Secret: apikey.NewSecret(secret), ExpiresAt: d.now}}
			})
		},
		"another browser":   func(_ *desk, p *person) { p.agent = "browser/2" },
		"signed out":        func(_ *desk, p *person) { p.post("/console/sign-out", url.Values{"csrf": {p.token()}}) },
		"cookie cut":        func(d *desk, p *person) { p.tamper(func(v string) string { return v[:len(v)-4] }) },
		"cookie changed":    func(d *desk, p *person) { p.tamper(func(v string) string { return v[:40] + string(v[40]^1) + v[41:] }) },
		"cookie made up":    func(d *desk, p *person) { p.tamper(func(string) string { return "eyJrIjoia2V5X29wcyJ9" }) },
		"cookie of nothing": func(d *desk, p *person) { p.tamper(func(string) string { return "" }) },
	} {
		d := open(t)
		bad := d.failed("org1", "", jobs.CodeInternal, "x", "")
		p := d.signedIn("key_operator")
		token := p.token()
		if a := p.get("/console/jobs"); a.status != http.StatusOK {
			t.Fatalf("%s: before = %d", name, a.status)
		}
		end(d, p)
		if a := p.get("/console/jobs"); a.status != http.StatusSeeOther || strings.Contains(a.body, bad.ID) {
			t.Errorf("%s: a page = %d", name, a.status)
		}
		if a := p.get("/console/live?of=/console/jobs/" + bad.ID); a.status != http.StatusUnauthorized {
			t.Errorf("%s: what changes = %d", name, a.status)
		}
		if a := p.post("/console/act?do=rerun&id="+bad.ID, url.Values{"csrf": {token}, "reason": {"r"}}); a.status != http.StatusSeeOther || !strings.HasPrefix(a.header.Get("Location"), "/console/sign-in") {
			t.Errorf("%s: an action = %d", name, a.status)
		}
		if j, err := d.store.Get(t.Context(), bad.ID); err != nil || j.State != jobs.Failed {
			t.Errorf("%s: the job was run again", name)
		}
	}
}

// tamper changes the session's cookie.
func (p *person) tamper(by func(string) string) {
	at, err := url.Parse(p.d.URL + "/console")
	if err != nil {
		p.d.tb.Fatal(err)
	}
	for _, c := range p.client.Jar.Cookies(at) {
		c.Value, c.Path = by(c.Value), "/"
		p.client.Jar.SetCookies(at, []*http.Cookie{c})
	}
}

// What another site, another session or nobody sends does nothing.
func TestForgery(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(d *desk) (p, other *person){
		"key": func(d *desk) (p, other *person) { return d.signedIn("key_operator"), d.signedIn("key_operator") },
		"provider": func(d *desk) (p, other *person) {
			return d.byProvider("op@example.com"), d.byProvider("admin@example.com")
		},
		"proxy": func(d *desk) (p, other *person) { return d.byProxy("op@example.com"), d.byProxy("admin@example.com") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, withPeople)
			p, other := make(d)
			forge(t, d, p, other)
		})
	}
}

func forge(t *testing.T, d *desk, p, other *person) {
	bad := d.failed("org1", "", jobs.CodeInternal, "x", "")
	mine, theirs := p.token(), other.token()
	from := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	tried := 0
	for _, path := range []string{"/console/act?do=rerun&id=" + bad.ID, "/console/act?do=pause&queue=exports", "/console/act?do=rerun&all=1&state=failed", "/console/act?do=cancel&id=" + bad.ID, "/console/sign-out", "/console/keys", "/console/keys/key_viewer/revoke", "/console/keys/key_viewer/rotate"} {
		for name, tc := range map[string]struct {
			token  string
			change func(*http.Request)
		}{
			"no token": {"", nil}, "another session's": {theirs, nil}, "made up": {"AAAA", nil},
			"another site":   {mine, from("Sec-Fetch-Site", "cross-site")},
			"a sister site":  {mine, from("Sec-Fetch-Site", "same-site")},
			"another origin": {mine, from("Origin", "https://evil.example")},
			"no origin":      {mine, from("Origin", "null")},
			"as JSON":        {mine, from("Content-Type", "application/json")},
			"as plain text":  {mine, from("Content-Type", "text/plain")},
			"by GET":         {mine, func(r *http.Request) { r.Method = http.MethodGet }},
			"by PUT":         {mine, func(r *http.Request) { r.Method = http.MethodPut }},
		} {
			r := p.request(http.MethodPost, path, url.Values{"csrf": {tc.token}, "reason": {"r"}})
			if tc.change != nil {
				tc.change(r)
			}
			if r.Method == http.MethodGet {
				r.URL.RawQuery += "&csrf=" + mine + "&reason=r"
			}
			a := p.do(r)
			tried++
			if a.status == http.StatusSeeOther || r.Method == http.MethodPost && a.status != http.StatusForbidden {
				t.Errorf("%s %s = %d %s", path, name, a.status, a.header.Get("Location"))
			}
		}
	}
	j, err := d.store.Get(t.Context(), bad.ID)
	s, also := d.store.Switches(t.Context())
	batches, third := d.store.Batches(t.Context(), 10)
	if err != nil || also != nil || third != nil || j.State != jobs.Failed || s.Paused[jobs.QueueExports].Paused || len(batches) > 0 {
		t.Errorf("something was done: %s, %+v, %d batches", j.State, s, len(batches))
	}
	if a := p.get("/console/jobs"); a.status != http.StatusOK {
		t.Errorf("the session has ended: %d", a.status)
	}
	t.Logf("%d forgeries: 0 through", tried)
}

// Each role sees and does what it may, by every route.
func TestRoles(t *testing.T) {
	t.Parallel()
	d := open(t, withPeople)
	bad, file := d.failed("org1", "", jobs.CodeInternal, "x", ""), d.succeeded("org1", "", 1)
	// The roles that get further than a refusal, by route. key_reading_operator may read in its org besides.
	const look, act, keys, none = "key_operator key_viewer key_reading_operator", "key_operator key_reading_operator", "key_platform key_admin1", ""
	routes := []struct{ method, path, who string }{
		{"GET", "/console/jobs", look}, {"GET", "/console/jobs/" + bad.ID, look}, {"GET", "/console/live?of=/console/jobs/" + bad.ID, look},
		{"GET", "/console/act?do=rerun&id=" + bad.ID, act}, {"GET", "/console/act?do=pause&queue=exports", act}, {"GET", "/console/act?do=rerun&all=1", act},
		{"GET", "/console/jobs/" + file.ID + "/csv", "key_reading_operator"},
		{"GET", "/console/keys", keys}, {"GET", "/console/keys/new", keys}, {"GET", "/console/keys/key_reader", keys}, {"POST", "/console/keys", keys},
		{"POST", "/console/keys/key_reader/rotate", keys}, {"POST", "/console/keys/key_reader/revoke", keys},
		{"GET", "/console/causes", look}, {"GET", "/console/batches", look}, {"GET", "/console/callbacks", look}, {"GET", "/console/audit", look},
		{"POST", "/console/act?do=redeliver-all&state=exhausted", act},
		{"POST", "/console/act?do=cancel&id=" + bad.ID, act}, {"POST", "/console/act?do=resume&queue=exports", act}, {"POST", "/console/act?do=rerun&all=1&state=canceled", act},
		{"POST", "/console/act?do=resume-receiver&orgId=org1&origin=https://a.example", act},
		{"GET", "/console/nothing", none},
	}
	everybody, tried := d.everybody(), 0
	for name, p := range everybody {
		role := name
		token := p.token()
		for _, route := range routes {
			var a reply
			if strings.Contains(route.path, "/live") {
				a.status = p.streams(route.path)
			} else if route.method == "POST" {
				a = p.post(route.path, url.Values{"csrf": {token}, "reason": {"r"}, "once": {fmt.Sprint(role, route.path)}, "orgId": {"org1"}, "name": {"n"}, "scopes": {"read"}})
			} else {
				a = p.get(route.path)
			}
			may := slices.ContainsFunc(p.like, func(key string) bool { return slices.Contains(strings.Fields(route.who), key) })
			tried++
			refused := a.status == http.StatusForbidden || a.status == http.StatusNotFound || a.status == http.StatusUnauthorized
			if may == refused || a.status >= 500 || a.status == http.StatusSeeOther && strings.HasPrefix(a.header.Get("Location"), "/console/sign-in") {
				t.Errorf("%s %s by %s = %d, may: %t", route.method, route.path, role, a.status, may)
			}
		}
		if home := p.get("/console").body; strings.Contains(home, "do=pause&amp;queue=exports") != slices.ContainsFunc(p.like, func(key string) bool { return slices.Contains(strings.Fields(act), key) }) {
			t.Errorf("%s is shown the switch of a queue, or is not", role)
		}
	}
	for _, route := range routes { // nobody
		if a := d.visitor().do(d.visitor().request(route.method, route.path, url.Values{})); a.status != http.StatusSeeOther && a.status != http.StatusUnauthorized {
			t.Errorf("%s %s by nobody = %d", route.method, route.path, a.status)
		}
		tried++
	}
	t.Logf("%d people, %d routes, %d tried: each as it may", len(everybody)+1, len(routes), tried)
}

// A link of exportd-dev signs in once, and within a quarter of an hour.
func TestLink(t *testing.T) {
	t.Parallel()
	d := open(t)
	made := func() string {
		fragment, err := console.Link(d.sealer, "key_operator", secret, d.clock())
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(fragment, "token=")
	}
	token := made()
	if a := d.visitor().post("/console/sign-in", url.Values{"token": {token}}); a.status != http.StatusSeeOther {
		t.Errorf("the link = %d %s", a.status, a.body)
	}
	if a := d.visitor().post("/console/sign-in", url.Values{"token": {token}}); a.status != http.StatusUnauthorized {
		t.Errorf("the link again = %d", a.status)
	}
	late := made()
	d.pass(15 * time.Minute)
	for _, bad := range []string{late, "x", "AAAA"} {
		if a := d.visitor().post("/console/sign-in", url.Values{"token": {bad}}); a.status != http.StatusUnauthorized {
			t.Errorf("%q = %d", bad, a.status)
		}
	}
}

// Every answer says that it may not be framed, kept or sniffed, and that nothing runs in it but the console's
// script.
func TestHeaders(t *testing.T) {
	t.Parallel()
	d := open(t)
	p := d.signedIn("key_operator")
	for _, path := range []string{"/console", "/console/jobs", "/console/sign-in", "/console/nothing", "/console/assets/console.js", "/console/assets/nothing"} {
		a := p.get(path)
		csp := a.header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || a.header.Get("X-Frame-Options") != "DENY" ||
			a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Referrer-Policy") != "no-referrer" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s has %v", path, a.header)
		}
		for _, inline := range []string{" style=", "<style", " onclick", " onload", "javascript:"} {
			if strings.Contains(a.body, inline) && !strings.HasSuffix(path, ".js") {
				t.Errorf("%s has %q, which the policy stops", path, inline)
			}
		}
	}
}

// streams is what a stream begins with.
func (p *person) streams(path string) int {
	p.d.tb.Helper()
	r := p.request(http.MethodGet, path, nil)
	p.dress(r)
	w, err := p.client.Do(r)
	if err != nil {
		p.d.tb.Fatal(err)
	}
	_ = w.Body.Close()
	return w.StatusCode
}
