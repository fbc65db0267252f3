//go:build chromium

package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/browser"
	"exportd/jobs"
)

// judgedInAllLooks judges the page that is open in the light, in the dark and on a phone, without loading it
// again.
func judgedInAllLooks(t *testing.T, p *browser.Page, name, axeText string) {
	t.Helper()
	for _, look := range []string{"light", "dark", "phone"} {
		p.Size(1280, 900, false)
		if look == "phone" {
			p.Size(390, 844, true)
		}
		p.Dark(look == "dark")
		judged(t, p, name+" "+look, axeText)
		shoot(p, name+"-"+look, true)
	}
	p.Size(1280, 900, false)
	p.Dark(false)
	// That a page was refused is what the test is after.
	said := slices.DeleteFunc(p.Said(), func(s string) bool { return strings.Contains(s, "the server responded with a status of") })
	if len(said) > 0 {
		t.Errorf("%s: %q", name, said)
	}
}

// arrives waits until a page is there to which another leads by itself.
func arrives(t *testing.T, p *browser.Page, path string) {
	t.Helper()
	for late := time.Now().Add(40 * time.Second); p.At() != path; {
		if time.Now().After(late) {
			t.Fatalf("at %s, not at %s", p.At(), path)
		}
	}
	p.Eval(`new Promise(done => { const look = () => performance.timing.loadEventEnd > 0 ? done(true) : setTimeout(look, 5); look() })`, nil)
}

// text is what people read of what a selector finds.
func text(p *browser.Page, selector string) (s string) {
	p.Eval(fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector), &s)
	return s
}

// throughProvider goes from the page of signing in to the provider, as somebody, and on from there.
func throughProvider(p *browser.Page, d *desk, claims map[string]any) {
	d.provider.Is(claims)
	p.Loads(func() { p.Click(`main a[href^="/console/sign-in/oidc"]`) })
	p.Click("#go")
}

// TestProviderInChromium signs in by a provider as people do: there and back, with their name on each page,
// and out again; whoever has no role is told whom to ask, and a provider that is down is said to be.
func TestProviderInChromium(t *testing.T) {
	axeText := axeText(t)
	d := open(t, withPeople)
	d.provider.Asks()
	d.failed("org_01", "", jobs.CodeInternal, "it could not be read", "Mend it.")
	p := browser.Open(t, d.URL+"/console/jobs?state=failed")
	judgedInAllLooks(t, p, "people-sign-in", axeText)

	throughProvider(p, d, verified("admin@example.com"))
	arrives(t, p, "/console/jobs")
	var where string
	p.Eval("location.search", &where)
	if got := text(p, ".who .v"); got != "admin@example.com" || where != "?state=failed" {
		t.Errorf("signed in as %q, at %q", got, where)
	}
	judgedInAllLooks(t, p, "people-jobs", axeText)

	p.Loads(func() { p.Click(".who button") })
	if got := text(p, "main"); p.At() != "/console/signed-out" || !strings.Contains(got, "Your session has ended") {
		t.Errorf("signed out: %s %q", p.At(), got)
	}
	judgedInAllLooks(t, p, "people-signed-out", axeText)
	p.Go(d.URL + "/console/jobs")
	if p.At() != "/console/sign-in" {
		t.Errorf("whoever has signed out is at %s", p.At())
	}

	p.Loads(func() { throughProvider(p, d, verified("nobody@example.com")) })
	arrives(t, p, "/console/sign-in/oidc/callback")
	if got := text(p, "main"); !strings.Contains(got, "nobody@example.com") || !strings.Contains(got, "the platform team") || text(p, ".who") != "" {
		t.Errorf("whoever has no role reads %q", got)
	}
	judgedInAllLooks(t, p, "people-refused", axeText)
	p.Loads(func() { p.Click("main a.button") })

	d.provider.Fails("/token", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) })
	p.Loads(func() { throughProvider(p, d, verified("admin@example.com")) })
	arrives(t, p, "/console/sign-in/oidc/callback")
	if got := text(p, `main [role="alert"]`); !strings.Contains(got, "Try again") {
		t.Errorf("with a provider that is down one reads %q", got)
	}
	judgedInAllLooks(t, p, "people-provider-down", axeText)
	p.Close()
}

// still shows a page that was answered elsewhere, and leads nowhere by itself.
func still(t *testing.T, d *desk, a reply) (url string) {
	t.Helper()
	rest := httputil.NewSingleHostReverseProxy(mustParse(d.URL))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/console/still" {
			rest.ServeHTTP(w, r)
			return
		}
		for _, name := range []string{"Content-Type", "Content-Security-Policy"} {
			w.Header().Set(name, a.header.Get(name))
		}
		w.WriteHeader(a.status)
		_, _ = w.Write([]byte(a.body))
	}))
	t.Cleanup(s.Close)
	return s.URL + "/console/still"
}

// TestMomentsInChromium: the pages that a browser shows for a moment, and those that only Identity-Aware
// Proxy leads to.
func TestMomentsInChromium(t *testing.T) {
	axeText := axeText(t)
	d := open(t, withPeople)
	visitor, declined := d.visitor(), d.visitor()
	state := mustParse(declined.goes("/console", nil)).Query().Get("state")
	wrong := d.visitor()
	wrong.proxy = func() string {
		return d.proxy.Key.Sign(d.proxy.Claims("admin@example.com", map[string]any{"aud": "x"}))
	}
	p := browser.Open(t, d.URL+"/console/sign-in")
	for name, page := range map[string]struct {
		reply
		want string
	}{
		"moment":           {visitor.get(visitor.goes("/console/jobs", verified("op@example.com"))), "Opening the page."},
		"declined":         {declined.get("/console/sign-in/oidc/callback?error=access_denied&state=" + state), "did not let"},
		"proxy-refused":    {d.byProxy("nobody@example.com").get("/console/jobs"), "Be somebody else"},
		"proxy-wrong":      {wrong.get("/console/jobs"), "Identity-Aware Proxy"},
		"proxy-signed-out": {d.byProxy("op@example.com").get("/console/signed-out"), "Sign out of Identity-Aware Proxy"},
	} {
		p.Go(still(t, d, page.reply))
		if got := text(p, "main"); !strings.Contains(got, page.want) {
			t.Errorf("%s = %d %q", name, page.status, got)
		}
		judgedInAllLooks(t, p, "people-"+name, axeText)
	}
	p.Close()
}

// budgetByKeyboard gives the key whose page is open a budget with nothing but a keyboard: a wrong one first,
// and one beside that of another admin, which is told and not overwritten.
func (d *desk) budgetByKeyboard(t *testing.T, p *browser.Page, id, axeText string) {
	t.Helper()
	to := func(name string) {
		t.Helper()
		for range 100 {
			var at string
			p.Eval(`document.activeElement.form?.action.endsWith("/budget") ? document.activeElement.name || document.activeElement.type : ""`, &at)
			if at == name {
				return
			}
			p.Press("Tab")
		}
		t.Fatalf("Tab does not lead to %s", name)
	}
	// writes replaces what is in the field that has the focus: Tab has marked it, as it does for people.
	writes := func(name, text string) {
		t.Helper()
		to(name)
		p.Eval(`document.activeElement.select()`, nil)
		p.Write(text)
	}
	send := func() { to("submit"); p.Loads(func() { p.Press(" ") }) }
	is := func(what string, want jobs.Budget, texts ...string) {
		t.Helper()
		k, err := d.lookup(t.Context(), id)
		if err != nil || k.Budget != want {
			t.Errorf("%s: the budget is %+v, %v, want %+v", what, k.Budget, err, want)
		}
		for _, s := range texts {
			if got := text(p, "main"); !strings.Contains(got, s) {
				t.Errorf("%s: the page does not show %q: %q", what, s, got)
			}
		}
		judgedInAllLooks(t, p, "keys-budget-"+what, axeText)
	}
	// A page gives the focus with a frame that it draws, which may be after it is there.
	focus := func() (at struct{ Name, Value, Fault string }) {
		p.Eval(`new Promise(done => { const look = () => { const e = document.activeElement; if (!e.name) return requestAnimationFrame(look);
			done({Name: e.name, Value: e.value, Fault: document.getElementById(e.getAttribute("aria-describedby"))?.innerText ?? ""}) }; look() })`, &at)
		return at
	}
	writes("rowsPerDay", "5,000,000")
	writes("readsPerDay", "a lot")
	writes("reason", "twice the users")
	send()
	if at := focus(); at.Name != "readsPerDay" || at.Value != "a lot" || at.Fault != "Must be a number." {
		t.Errorf("a wrong number leads to %+v", at)
	}
	is("wrong", jobs.Budget{}, "none: no limit")
	writes("readsPerDay", "")
	send()
	is("saved", jobs.Budget{Rows: 5_000_000}, "The budget is changed.", "5,000,000 rows, until", "twice the users")
	_, err := admin{d: d}.SetBudget(t.Context(), id, apikey.BudgetChange{Reads: new(int64(70_000))}, apikey.By{Actor: "other@example.com", Reason: "reads cost money"})
	if err != nil {
		t.Fatal(err)
	}
	writes("rowsPerDay", "6000000")
	writes("reason", "more of them")
	send()
	if at := focus(); at.Name != "rowsPerDay" || at.Value != "6000000" {
		t.Errorf("a change by another admin leads to %+v", at)
	}
	is("meanwhile", jobs.Budget{Rows: 5_000_000, Reads: 70_000}, "Somebody has changed the budget meanwhile", "It is now: 5,000,000 rows, 70,000 reads.", "other@example.com", "reads cost money")
	writes("readsPerDay", "70000")
	send()
	is("both", jobs.Budget{Rows: 6_000_000, Reads: 70_000}, "The budget is changed.", "6,000,000 rows, 70,000 reads, until")
}

// TestKeysInChromium makes a key, keeps its secrets, gives it a budget, rotates and revokes it, with names as
// long as they may be.
func TestKeysInChromium(t *testing.T) {
	axeText := axeText(t)
	d := open(t, withPeople)
	d.provider.Asks()
	p := browser.Open(t, d.URL+"/console/keys")
	throughProvider(p, d, verified("admin@example.com"))
	arrives(t, p, "/console/keys")
	judgedInAllLooks(t, p, "keys", axeText)
	p.Loads(func() { p.Click(`a[href="/console/keys/new"]`) })
	fill := func(fields ...string) {
		for i := 0; i < len(fields); i += 2 {
			p.Click(fields[i])
			p.Write(fields[i+1])
		}
	}
	name := strings.Repeat("billing-", 12)
	fill("#org", strings.Repeat("o", 128), "#name", name, "#ips", "not an address", "#reason", "a new service")
	p.Click(`input[value="read"]`)
	p.Loads(func() { p.Click(`form[action="/console/keys"] button`) })
	if got := text(p, `main [role="alert"]`); got == "" {
		t.Errorf("a wrong address is taken: %q", text(p, "main"))
	}
	judgedInAllLooks(t, p, "keys-wrong", axeText)
	p.Eval(`document.getElementById("ips").value = ""`, nil)
	fill("#ips", "203.0.113.0/24, 2001:db8::/32")
	p.Loads(func() { p.Click(`form[action="/console/keys"] button`) })
	secret, id := text(p, "#secret"), text(p, "main dd code")
	if len(secret) != 64 || !strings.HasPrefix(text(p, "#webhook"), "whsec_") {
		t.Fatalf("the secrets are not shown: %q", text(p, "main"))
	}
	judgedInAllLooks(t, p, "keys-secret", axeText)
	p.Loads(func() { p.Click("main a.button") })
	if got := text(p, "main"); p.At() != "/console/keys/"+id || !strings.Contains(got, name) || strings.Contains(got, secret) {
		t.Errorf("%s shows %q", p.At(), got)
	}
	judgedInAllLooks(t, p, "keys-made", axeText)
	d.budgetByKeyboard(t, p, id, axeText)
	// Another admin, meanwhile.
	if _, err := (admin{d: d}).SetBudget(t.Context(), id, apikey.BudgetChange{Reads: new(int64(80_000))}, apikey.By{Actor: "other@example.com", Reason: "reads are cheap"}); err != nil {
		t.Fatal(err)
	}
	fill("#rotate-reason", "once a year")
	p.Loads(func() { p.Click(`form[action$="/rotate"] button`) })
	if got := text(p, `form[action$="/rotate"]`); !strings.Contains(got, "Somebody has changed the key meanwhile") || !strings.Contains(text(p, "main"), "reads are cheap") {
		t.Errorf("rotate from an old page shows %q", got)
	}
	judgedInAllLooks(t, p, "keys-changed", axeText)
	p.Loads(func() { p.Click(`form[action$="/rotate"] button`) })
	if again := text(p, "#secret"); len(again) != 64 || again == secret {
		t.Errorf("rotated: %q", text(p, "main"))
	}
	judgedInAllLooks(t, p, "keys-rotated", axeText)
	p.Loads(func() { p.Click("main a.button") })
	fill("#revoke-reason", "the service is gone")
	p.Loads(func() { p.Click(`form[action$="/revoke"] button`) })
	k, err := d.lookup(t.Context(), id)
	if err != nil || k.State == "active" || !strings.Contains(text(p, "main"), "the service is gone") || !strings.Contains(text(p, "main"), "admin@example.com") {
		t.Errorf("revoked: %+v, %v, %q", k, err, text(p, "main"))
	}
	judgedInAllLooks(t, p, "keys-revoked", axeText)
	p.Go(d.URL + "/console/keys")
	judgedInAllLooks(t, p, "keys-all", axeText)
	for _, width := range []int{1280, 390} {
		p.Size(width, 900, width < 500)
		// A state or right that takes two lines is one that was broken within the word.
		var broken []string
		p.Eval(`[...document.querySelectorAll("tbody td")].filter(td => /^[a-z]+$/.test(td.textContent)).filter(td => { const r = document.createRange(); r.selectNodeContents(td); return r.getClientRects().length > 1 }).map(td => td.textContent)`, &broken)
		var beside bool
		p.Eval(`document.querySelector(".scroll").scrollWidth > document.querySelector(".scroll").clientWidth`, &beside)
		if len(broken) > 0 || beside {
			t.Errorf("at a width of %d words are broken: %q; something is beside the screen: %t", width, broken, beside)
		}
	}
	p.Close()
}
