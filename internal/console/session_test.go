package console_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/console"
	"exportd/internal/identity"
	"exportd/jobs"
)

// cookie is the person's session.
func (p *person) cookie() *http.Cookie {
	p.d.tb.Helper()
	for _, c := range p.client.Jar.Cookies(mustParse(p.d.URL + "/console")) {
		if c.Name == "exportd-console" {
			return c
		}
	}
	p.d.tb.Fatal("there is no session")
	return nil
}

// shows reports whether a console shows a page to who has a cookie.
func (d *desk) shows(c *console.Console, name, value, host, agent string) bool {
	r := httptest.NewRequest(http.MethodGet, "/console/jobs", nil)
	r.Host = host
	r.Header.Set("User-Agent", agent)
	r.AddCookie(&http.Cookie{Name: name, Value: value})
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w.Code == http.StatusOK
}

// A session that is stolen, old, of a key or person that may not any more, or made up, is none, in whatever
// process.
func TestSessionAttacks(t *testing.T) {
	t.Parallel()
	tried := 0
	for way, sign := range map[string]func(d *desk) *person{
		"key": func(d *desk) *person { return d.signedIn("key_operator") }, "provider": func(d *desk) *person { return d.byProvider("op@example.com") },
	} {
		for name, attack := range map[string]func(d *desk, p *person, value, host string) bool{
			"another browser": func(d *desk, _ *person, value, host string) bool {
				return d.shows(d.console, "exportd-console", value, host, "browser/2")
			},
			"no browser's name": func(d *desk, _ *person, value, host string) bool {
				return d.shows(d.console, "exportd-console", value, host, "")
			},
			"another address of the console": func(d *desk, _ *person, value, _ string) bool {
				return d.shows(d.console, "__Host-exportd-console", value, "console.example", "browser/1") || d.shows(d.console, "exportd-console", value, "localhost:1", "browser/1")
			},
			"another name of the cookie": func(d *desk, _ *person, value, host string) bool {
				return d.shows(d.console, "exportd-console-flow", value, host, "browser/1")
			},
			"8 hours later": func(d *desk, _ *person, value, host string) bool {
				d.pass(8*time.Hour + time.Second)
				return d.shows(d.console, "exportd-console", value, host, "browser/1")
			},
			"clock set back a day": func(d *desk, _ *person, value, host string) bool {
				d.pass(-24 * time.Hour)
				return d.shows(d.console, "exportd-console", value, host, "browser/1")
			},
			"after sign-out": func(d *desk, p *person, value, host string) bool {
				if a := p.post("/console/sign-out", map[string][]string{"csrf": {p.token()}}); a.status != http.StatusSeeOther || a.header.Get("Location") != "/console/signed-out" {
					t.Errorf("%s: sign out = %d %v", way, a.status, a.header)
				}
				other := d.again()
				defer other.Stop()
				return d.shows(d.console, "exportd-console", value, host, "browser/1") || d.shows(other, "exportd-console", value, host, "browser/1")
			},
			"of another keyset": func(d *desk, _ *person, value, _ string) bool {
				other := open(t, withPeople)
				other.provider = d.provider
				return other.shows(other.console, "exportd-console", value, strings.TrimPrefix(d.URL, "http://"), "browser/1")
			},
			"of a form": func(d *desk, _ *person, _, host string) bool {
				token := d.byProxy("op@example.com").token()
				return d.shows(d.console, "exportd-console", token, host, "browser/1")
			},
			"rights taken away": func(d *desk, _ *person, value, host string) bool {
				d.change("key_operator", func(k *apikey.Key) { k.Scopes = []apikey.Scope{apikey.ScopeRead} })
				return d.shows(d.without("op@example.com"), "exportd-console", value, host, "browser/1")
			},
			"key revoked, person taken off the list": func(d *desk, _ *person, value, host string) bool {
				d.change("key_operator", func(k *apikey.Key) { k.State = apikey.Disabled })
				return d.shows(d.without("op@example.com"), "exportd-console", value, host, "browser/1")
			},
			"it cannot be told": func(d *desk, _ *person, value, host string) bool {
				d.mu.Lock()
				d.down = true
				d.mu.Unlock()
				return d.shows(d.console, "exportd-console", value, host, "browser/1")
			},
			"fixed before": func(d *desk, p *person, value, host string) bool {
				// Whoever knew the cookie with which somebody signs in is out with it.
				if way == "key" {
					p.post("/console/sign-in", map[string][]string{"key": {"key_operator"}, "secret": {secret}})
				} else {
					p.get(p.goes("/console", verified("op@example.com")))
				}
				if now := p.cookie().Value; now == value || !d.shows(d.console, "exportd-console", now, host, "browser/1") {
					t.Errorf("%s: signing in again goes on in the same session", way)
				}
				return d.shows(d.console, "exportd-console", value, host, "browser/1")
			},
		} {
			d := open(t, withPeople)
			p := sign(d)
			value, host := p.cookie().Value, strings.TrimPrefix(d.URL, "http://")
			if !d.shows(d.console, "exportd-console", value, host, "browser/1") {
				t.Fatalf("%s %s: the session is none", way, name)
			}
			tried++
			if attack(d, p, value, host) {
				t.Errorf("%s: %s is let in", way, name)
			}
		}
		tried += tampered(t, sign)
	}
	t.Logf("%d attacks on sessions: 0 let in", tried)
}

// without is another process, whose settings do not name somebody any more.
func (d *desk) without(email string) *console.Console {
	d.roles = func(r identity.Roles) identity.Roles {
		left := func(list []string) (out []string) {
			for _, e := range list {
				if e != email {
					out = append(out, e)
				}
			}
			return out
		}
		return identity.Roles{Viewers: left(r.Viewers), Operators: left(r.Operators), Admins: left(r.Admins)}
	}
	c := d.again()
	d.tb.Cleanup(c.Stop)
	return c
}

// tampered changes each byte of what a cookie holds, and its ends.
func tampered(t *testing.T, sign func(d *desk) *person) (tried int) {
	t.Helper()
	d := open(t, withPeople)
	value, host := sign(d).cookie().Value, strings.TrimPrefix(d.URL, "http://")
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		for _, bit := range []byte{1, 128} {
			bad := append([]byte(nil), sealed...)
			bad[i] ^= bit
			tried++
			if d.shows(d.console, "exportd-console", base64.RawURLEncoding.EncodeToString(bad), host, "browser/1") {
				t.Errorf("byte %d changed by %d is let in", i, bit)
			}
		}
	}
	for name, bad := range map[string]string{"cut": value[:len(value)-4], "longer": value + "AAAA", "twice": value + value, "nothing": "", "long": strings.Repeat("A", 5000)} {
		tried++
		if d.shows(d.console, "exportd-console", bad, host, "browser/1") {
			t.Errorf("%s is let in", name)
		}
	}
	return tried
}

// Sessions of one key stand beside each other: each ends by itself.
func TestParallelSessions(t *testing.T) {
	t.Parallel()
	d := open(t, withPeople)
	for _, sign := range []func() *person{func() *person { return d.signedIn("key_operator") }, func() *person { return d.byProvider("op@example.com") }} {
		var all []*person
		for range 3 {
			all = append(all, sign())
		}
		all[1].post("/console/sign-out", map[string][]string{"csrf": {all[1].token()}})
		for i, p := range all {
			if a := p.get("/console/jobs"); (a.status == http.StatusOK) != (i != 1) {
				t.Errorf("session %d = %d after the second has ended", i, a.status)
			}
		}
	}
	// While it cannot be noted that a session has ended, nobody is told that it has.
	p := d.signedIn("key_operator")
	token := p.token()
	d.mu.Lock()
	d.down = true
	d.mu.Unlock()
	if a := p.post("/console/sign-out", map[string][]string{"csrf": {token}}); a.status != http.StatusServiceUnavailable {
		t.Errorf("sign out while it cannot be noted = %d", a.status)
	}
}

// A session lasts no longer than the provider stands for it, nor than eight hours.
func TestSessionLife(t *testing.T) {
	t.Parallel()
	for says, want := range map[time.Duration]time.Duration{time.Hour: time.Hour, 5 * time.Minute: 5 * time.Minute, 30 * 24 * time.Hour: 8 * time.Hour} {
		d := open(t, withPeople)
		p := d.visitor()
		claims := verified("op@example.com")
		claims["exp"] = d.clock().Add(says).Unix()
		a := p.get(p.goes("/console", claims))
		if cookie := a.header.Values("Set-Cookie"); !strings.Contains(fmt.Sprint(cookie), fmt.Sprintf("Max-Age=%d;", int(want.Seconds()))) {
			t.Errorf("for %s the cookies are %v", says, cookie)
		}
		d.pass(want - time.Second)
		if a := p.get("/console/jobs"); a.status != http.StatusOK {
			t.Errorf("for %s: a second before the end = %d", says, a.status)
		}
		d.pass(time.Second)
		if a := p.get("/console/jobs"); a.status != http.StatusSeeOther {
			t.Errorf("for %s: at the end = %d", says, a.status)
		}
	}
}

// Whoever signs out is out of what changes while one looks, too.
func TestStreamsEndWithSessions(t *testing.T) {
	t.Parallel()
	d := open(t, withPeople)
	bad := d.failed("org1", "", jobs.CodeInternal, "x", "")
	for name, p := range map[string]*person{"key": d.signedIn("key_operator"), "provider": d.byProvider("op@example.com"), "proxy": d.byProxy("op@example.com")} {
		if status := p.streams("/console/live?of=/console/jobs/" + bad.ID); status != http.StatusOK {
			t.Errorf("%s: a stream = %d", name, status)
		}
		p.post("/console/sign-out", map[string][]string{"csrf": {p.token()}})
		want := http.StatusUnauthorized
		if name == "proxy" { // which names them again
			want = http.StatusOK
		}
		if status := p.streams("/console/live?of=/console/jobs/" + bad.ID); status != want {
			t.Errorf("%s: a stream after sign-out = %d", name, status)
		}
	}
}

// TestKeysetNotOpen: while the keyset cannot be opened nobody can tell whose a session is: it is neither
// taken for none, and so lost, nor for somebody's.
func TestKeysetNotOpen(t *testing.T) {
	t.Parallel()
	var cfg console.Config
	d := open(t, func(_ *desk, c *console.Config) { cfg = *c })
	value := d.signedIn("key_operator").cookie().Value
	cfg.Sealer = apikey.AwaitSealer(t.Context(), apikey.KeysetConfig{Path: filepath.Join(t.TempDir(), "keyset.json")})
	waiting, err := console.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Stop()
	for _, path := range []string{"/console", "/console/jobs", "/console/live?of=/console"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = strings.TrimPrefix(d.URL, "http://")
		r.Header.Set("User-Agent", "browser/1")
		r.AddCookie(&http.Cookie{Name: "exportd-console", Value: value})
		w := httptest.NewRecorder()
		waiting.ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s = %d %v, want 503 and the session kept", path, w.Code, w.Header())
		}
	}
}
