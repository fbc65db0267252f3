package identity_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"exportd/internal/identity"
	"exportd/internal/identity/identitytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(by)
}

func newClock() *clock { return &clock{at: time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)} }

var roles = identity.Roles{Viewers: []string{"@example.com", "support"}, Operators: []string{"op@example.com", "oncall"}, Admins: []string{"admins"}}

const callback = "https://exports.example.com/console/sign-in/oidc/callback"

func newOIDC(p *identitytest.Provider, c *clock, changes ...func(*identity.OIDCConfig)) *identity.OIDC {
	cfg := identity.OIDCConfig{Issuer: p.URL, ClientID: identitytest.ClientID, Secret: identitytest.ClientSecret, RedirectURL: callback, Claim: "groups", Roles: roles, Now: c.now}
	for _, change := range changes {
		change(&cfg)
	}
	return identity.NewOIDC(cfg)
}

// away is what a provider sends a browser back with.
func away(t *testing.T, to string) url.Values {
	t.Helper()
	return identitytest.SentBack(t, to).Query()
}

// A provider is believed what it has signed, for this sign-in, and nothing else.
func TestOIDC(t *testing.T) {
	t.Parallel()
	type values = map[string]any
	stranger := identitytest.NewKey(t, "first", jose.RS256)
	pemOf := func(k identitytest.Key) []byte {
		der, err := x509.MarshalPKIXPublicKey(k.Private.Public())
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	c := newClock()
	unix := func(by time.Duration) int64 { return c.now().Add(by).Unix() }
	for name, tc := range map[string]struct {
		claims values
		sign   func(identitytest.Key, map[string]any) string
		query  func(url.Values)
		flow   func(*identity.Flow)
		refuse string // why; else name, role
		who    string
		role   identity.Role
	}{
		"nobody known":           {claims: values{}, who: "sub 1234"},
		"operator by address":    {claims: values{"email": "Op@Example.com", "email_verified": true}, who: "Op@Example.com", role: identity.Operator},
		"viewer by domain":       {claims: values{"email": "a@example.com", "email_verified": "true"}, who: "a@example.com", role: identity.Viewer},
		"another domain":         {claims: values{"email": "a@example.com.evil.example", "email_verified": true}, who: "a@example.com.evil.example"},
		"two domains":            {claims: values{"email": "@example.com@evil.example", "email_verified": true}, who: "@example.com@evil.example"},
		"address unverified":     {claims: values{"email": "op@example.com", "email_verified": false}, who: "op@example.com (sub 1234)"},
		"address not said to be": {claims: values{"email": "op@example.com"}, who: "op@example.com (sub 1234)"},
		"name of its own":        {claims: values{"preferred_username": "op@example.com"}, who: "op@example.com (sub 1234)"},
		"group":                  {claims: values{"groups": []string{"x", "oncall"}}, who: "sub 1234", role: identity.Operator},
		"highest group":          {claims: values{"groups": []string{"support", "admins", "oncall"}}, who: "sub 1234", role: identity.Admin},
		"one group":              {claims: values{"groups": "support"}, who: "sub 1234", role: identity.Viewer},
		"group like a domain":    {claims: values{"groups": []string{"@example.com"}}, who: "sub 1234"},
		"groups of no kind":      {claims: values{"groups": values{"admins": true}}, who: "sub 1234"},
		"groups of numbers":      {claims: values{"groups": []any{1, "admins"}}, who: "sub 1234"},
		"name that hides":        {claims: values{"email": "op@example.com\u202e", "email_verified": true}, who: "sub 1234"},
		"no number":              {claims: values{"sub": nil}, refuse: "not understood"},
		"number of spaces":       {claims: values{"sub": "1 2"}, refuse: "not understood"},
		"wrong nonce":            {claims: values{"nonce": "another"}, refuse: "another sign-in"},
		"no nonce":               {claims: values{"nonce": nil}, refuse: "another sign-in"},
		"wrong audience":         {claims: values{"aud": "another"}, refuse: "issuer, audience or time"},
		"several audiences":      {claims: values{"aud": []string{"another", identitytest.ClientID}}, refuse: "another application"},
		"several, for us":        {claims: values{"aud": []string{"another", identitytest.ClientID}, "azp": identitytest.ClientID}, who: "sub 1234"},
		"for another":            {claims: values{"azp": "another"}, refuse: "another application"},
		"wrong issuer":           {claims: values{"iss": "https://evil.example"}, refuse: "issuer, audience or time"},
		"no issuer":              {claims: values{"iss": nil}, refuse: "issuer, audience or time"},
		"expired":                {claims: values{"exp": unix(-31 * time.Second)}, refuse: "has expired"},
		"expired by the skew":    {claims: values{"exp": unix(-29 * time.Second)}, who: "sub 1234"},
		"no end":                 {claims: values{"exp": nil}, refuse: "has expired"},
		"not yet":                {claims: values{"nbf": unix(time.Hour)}, refuse: "issuer, audience or time"},
		"another access token":   {claims: values{"at_hash": "AAAA"}, refuse: "another answer"},
		"alg none":               {sign: func(_ identitytest.Key, c map[string]any) string { return identitytest.Unsigned("first", c) }, refuse: "signed in a way"},
		"HMAC by the public key": {sign: func(k identitytest.Key, c map[string]any) string { return identitytest.SignAs(pemOf(k), "first", c) }, refuse: "signed in a way"},
		"a stranger's key":       {sign: func(_ identitytest.Key, c map[string]any) string { return stranger.Sign(c) }, refuse: "no key of the provider"},
		"a key that is not there": {sign: func(k identitytest.Key, c map[string]any) string {
			k.ID = "another"
			return k.Sign(c)
		}, refuse: "no key of the provider"},
		"no token":       {sign: func(identitytest.Key, map[string]any) string { return "" }, refuse: "no token of identity"},
		"half a token":   {sign: func(identitytest.Key, map[string]any) string { return "eyJ.x" }, refuse: "signed in a way"},
		"signature cut":  {sign: func(k identitytest.Key, c map[string]any) string { s := k.Sign(c); return s[:len(s)-8] }, refuse: "no key of the provider"},
		"wrong state":    {query: func(q url.Values) { q.Set("state", "another") }, refuse: "not one to this sign-in"},
		"no state":       {query: func(q url.Values) { q.Del("state") }, refuse: "not one to this sign-in"},
		"no flow":        {flow: func(f *identity.Flow) { *f = identity.Flow{} }, query: func(q url.Values) { q.Del("state") }, refuse: "not one to this sign-in"},
		"mixed up":       {query: func(q url.Values) { q.Set("iss", "https://evil.example") }, refuse: "another provider"},
		"no code":        {query: func(q url.Values) { q.Del("code") }, refuse: "no code"},
		"code made up":   {query: func(q url.Values) { q.Set("code", "another") }, refuse: "used or is too old"},
		"wrong verifier": {flow: func(f *identity.Flow) { f.Verifier = "another" + f.Verifier }, refuse: "used or is too old"},
		"went back":      {query: func(q url.Values) { q.Set("error", "access_denied") }, refuse: "did not let you in"},
		"hostile error":  {query: func(q url.Values) { q.Set("error", "<script>") }, refuse: "the provider did not let you in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider := identitytest.NewProvider(t, c.now)
			provider.Is(tc.claims)
			provider.Signs(tc.sign)
			o := newOIDC(provider, c)
			to, flow, err := o.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			q := away(t, to)
			if tc.query != nil {
				tc.query(q)
			}
			if tc.flow != nil {
				tc.flow(&flow)
			}
			who, err := o.Finish(t.Context(), flow, q)
			if tc.refuse != "" {
				if why, ok := errors.AsType[*identity.RefusedError](err); !ok || !strings.Contains(why.Why, tc.refuse) {
					t.Errorf("Finish = %+v, %v, want it refused: %s", who, err, tc.refuse)
				}
				return
			}
			if err != nil || who.Name != tc.who || roles.Of(who) != tc.role || who.Until.Sub(c.now()) > time.Hour {
				t.Errorf("Finish = %+v, %v, as %q; want %s as %q", who, err, roles.Of(who), tc.who, tc.role)
			}
			if _, err := o.Finish(t.Context(), flow, q); err == nil {
				t.Error("a code works twice")
			}
		})
	}
}

// A claim within another, and one whose name has dots.
func TestClaims(t *testing.T) {
	t.Parallel()
	c := newClock()
	for name, claims := range map[string]map[string]any{
		"realm_access.roles":       {"realm_access": map[string]any{"roles": []string{"admins"}}},
		"https://a.example/groups": {"https://a.example/groups": []string{"admins"}},
	} {
		provider := identitytest.NewProvider(t, c.now)
		provider.Is(claims)
		for _, at := range []string{name, "groups", ""} {
			o := newOIDC(provider, c, func(cfg *identity.OIDCConfig) { cfg.Claim = at })
			to, flow, err := o.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			who, err := o.Finish(t.Context(), flow, away(t, to))
			if admin := roles.Of(who) == identity.Admin; err != nil || admin != (at == name) {
				t.Errorf("%s in %q = %+v, %v", name, at, who, err)
			}
		}
	}
}

// Keys are fetched once, again when there is a new one, and the old ones are no more than a day's while the
// provider is away.
func TestRotation(t *testing.T) {
	t.Parallel()
	c := newClock()
	provider := identitytest.NewProvider(t, c.now)
	o := newOIDC(provider, c)
	signIn := func() error {
		to, flow, err := o.Begin(t.Context())
		if err != nil {
			return err
		}
		_, err = o.Finish(t.Context(), flow, away(t, to))
		return err
	}
	for range 3 {
		if err := signIn(); err != nil {
			t.Fatal(err)
		}
	}
	if n, m := provider.Asked("/keys"), provider.Asked("/.well-known/openid-configuration"); n != 1 || m != 1 {
		t.Errorf("keys were asked for %d times and discovery %d times for 3 sign-ins", n, m)
	}
	c.pass(time.Minute)
	provider.Rotate(identitytest.NewKey(t, "second", jose.ES256), true)
	if err := signIn(); err != nil || provider.Asked("/keys") != 2 {
		t.Errorf("after a rotation = %v, keys asked for %d times", err, provider.Asked("/keys"))
	}
	// One that is not published any more is worth nothing an hour later.
	second := identitytest.NewKey(t, "third", jose.RS256)
	provider.Rotate(second, false)
	provider.Signs(func(_ identitytest.Key, claims map[string]any) string {
		return identitytest.NewKey(t, "second", jose.ES256).Sign(claims)
	})
	c.pass(time.Hour)
	if err := signIn(); err == nil {
		t.Error("a key that was taken back works")
	}
	// Keys that are made up ask nobody more often than every 10 s.
	before := provider.Asked("/keys")
	for range 20 {
		_ = signIn()
	}
	if n := provider.Asked("/keys") - before; n > 1 {
		t.Errorf("20 made-up keys were asked for %d times", n)
	}
	provider.Signs(nil)
	down := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }
	provider.Fails("/keys", down)
	provider.Fails("/.well-known/openid-configuration", down)
	c.pass(2 * time.Hour)
	if err := signIn(); err != nil {
		t.Errorf("while keys cannot be asked for = %v", err)
	}
	c.pass(24 * time.Hour)
	if err := signIn(); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("a day later = %v", err)
	}
	provider.Fails("/keys", nil)
	provider.Fails("/.well-known/openid-configuration", nil)
	if err := signIn(); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("at once after that = %v, asked within 10 s", err)
	}
	c.pass(11 * time.Second)
	if err := signIn(); err != nil {
		t.Errorf("when it is back = %v", err)
	}
}

// impatient cuts requests off at once where a test's handler hangs, as the time bound does after 5 s.
type impatient struct{ path string }

func (i impatient) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == i.path {
		ctx, cancel := context.WithTimeout(r.Context(), time.Millisecond)
		defer cancel()
		r = r.WithContext(ctx)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// A provider that is down, slow, or answers what cannot be is told from a person who is not let in, wherever
// it happens.
func TestProviderAway(t *testing.T) {
	t.Parallel()
	c := newClock()
	huge := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		part := bytes.Repeat([]byte(" "), 64<<10)
		for range 64 { // 4 MiB
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	}
	says := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	tried := 0
	for name, fault := range map[string]http.HandlerFunc{
		"down": says(http.StatusServiceUnavailable, "down"), "broken": says(http.StatusOK, "<html>"), "empty": says(http.StatusOK, "{}"), "huge": huge, "hung": nil,
		"led away": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
		"others":   says(http.StatusOK, `{"issuer":"https://evil.example"}`),
		"in clear": says(http.StatusOK, `{"issuer":"ISSUER","authorization_endpoint":"http://a.example/a","token_endpoint":"https://a.example/t","jwks_uri":"https://a.example/k"}`),
		"cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("{"))
		},
	} {
		for _, path := range []string{"/.well-known/openid-configuration", "/keys", "/token"} {
			provider := identitytest.NewProvider(t, c.now)
			var transport http.RoundTripper
			if name == "hung" {
				transport = impatient{path}
			}
			o := newOIDC(provider, c, func(cfg *identity.OIDCConfig) { cfg.Transport = transport })
			by, over := fault, make(chan struct{})
			if name == "hung" {
				by = func(http.ResponseWriter, *http.Request) { <-over }
			}
			if name == "in clear" {
				by = says(http.StatusOK, strings.Replace(`{"issuer":"ISSUER","authorization_endpoint":"http://a.example/a","token_endpoint":"https://a.example/t","jwks_uri":"https://a.example/k"}`, "ISSUER", provider.URL, 1))
			}
			provider.Fails(path, by)
			tried++
			to, flow, err := o.Begin(t.Context())
			if err == nil && path != "/.well-known/openid-configuration" {
				_, err = o.Finish(t.Context(), flow, away(t, to))
			}
			_, no := errors.AsType[*identity.RefusedError](err)
			if !errors.Is(err, identity.ErrUnavailable) && !(no && path == "/token") || len(err.Error()) > 600 {
				t.Errorf("%s at %s = %v", name, path, err)
			}
			close(over)
			provider.Fails(path, nil)
			if _, _, err := o.Begin(t.Context()); path != "/.well-known/openid-configuration" && err != nil {
				t.Errorf("%s at %s: begin afterwards = %v", name, path, err)
			}
		}
	}
	t.Logf("%d faults of a provider: 0 let anybody in", tried)
}

// What Identity-Aware Proxy says is believed if each of its claims is as documented.
func TestIAP(t *testing.T) {
	t.Parallel()
	type values = map[string]any
	c := newClock()
	proxy := identitytest.NewProxy(t, c.now)
	stranger, other := identitytest.NewKey(t, "iap", jose.ES256), identitytest.NewKey(t, "iap", jose.RS256)
	iap := identity.NewIAP(identity.IAPConfig{Audience: identitytest.Audience, KeysURL: proxy.KeysURL, Now: c.now})
	unix := func(by time.Duration) int64 { return c.now().Add(by).Unix() }
	der, err := x509.MarshalPKIXPublicKey(proxy.Key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	whole := proxy.Claims("op@example.com", nil)
	good := proxy.Key.Sign(whole)
	cases := map[string]struct {
		assertion string
		good      bool
	}{"whole": {good, true}, "nothing": {"", false}, "text": {"op@example.com", false}, "half": {good[:len(good)/2], false}, "long": {strings.Repeat("a", 20<<10), false}, "two": {good + "," + good, false},
		"a stranger's": {stranger.Sign(whole), false}, "RS256": {other.Sign(whole), false}, "none": {identitytest.Unsigned("iap", whole), false}, "HMAC by the public key": {identitytest.SignAs(der, "iap", whole), false}}
	for name, tc := range map[string]struct {
		by   values
		good bool
	}{
		"another audience": {values{"aud": "/projects/1234/global/backendServices/1"}, false}, "no audience": {values{"aud": nil}, false}, "part of it": {values{"aud": identitytest.Audience[:20]}, false},
		"several audiences": {values{"aud": []string{identitytest.Audience, "x"}}, false}, "another issuer": {values{"iss": "https://accounts.google.com"}, false}, "no issuer": {values{"iss": nil}, false},
		"expired": {values{"exp": unix(-31 * time.Second)}, false}, "within the skew": {values{"exp": unix(-29 * time.Second)}, true}, "no end": {values{"exp": nil}, false},
		"issued tomorrow": {values{"iat": unix(31 * time.Second)}, false}, "issued within the skew": {values{"iat": unix(29 * time.Second)}, true}, "not issued": {values{"iat": nil}, false},
		"for an hour": {values{"exp": unix(time.Hour)}, false}, "for ten minutes and skew": {values{"exp": unix(11 * time.Minute)}, true}, "a second more": {values{"exp": unix(11*time.Minute + time.Second)}, false},
		"nobody": {values{"sub": nil}, false}, "no address": {values{"email": nil}, false}, "no address of e-mail": {values{"email": "op"}, false}, "an address that hides": {values{"email": "op@exa\u202emple.com"}, false},
		"times of text": {values{"exp": "soon"}, false}, "an address of another kind": {values{"email": 7}, false}, "not before": {values{"nbf": unix(time.Hour)}, false},
	} {
		cases[name] = struct {
			assertion string
			good      bool
		}{proxy.Key.Sign(proxy.Claims("op@example.com", tc.by)), tc.good}
	}
	through := 0
	for name, tc := range cases {
		who, err := iap.Person(t.Context(), tc.assertion)
		if _, no := errors.AsType[*identity.RefusedError](err); tc.good != (err == nil) || !tc.good && !no {
			t.Errorf("%s = %+v, %v", name, who, err)
		}
		if !tc.good && err == nil {
			through++
		}
		if tc.good && (who.Name != "op@example.com" || roles.Of(who) != identity.Operator || who.Until.After(c.now().Add(12*time.Minute))) {
			t.Errorf("%s = %+v", name, who)
		}
	}
	if n := proxy.Asked(); n > 2 {
		t.Errorf("keys were asked for %d times for %d assertions", n, len(cases))
	}
	t.Logf("%d assertions, of which %d wrong ones went through", len(cases), through)
	// Each character changed.
	for i := range len(good) {
		if good[i] == '.' || i == len(good)-1 { // the last has bits that mean nothing
			continue
		}
		bad := []byte(good)
		if bad[i] = 'A'; good[i] == 'A' {
			bad[i] = 'B'
		}
		if who, err := iap.Person(t.Context(), string(bad)); err == nil {
			t.Fatalf("changed at %d: %+v", i, who)
		}
	}
	// What is down is told from what is wrong.
	away := identitytest.NewProxy(t, c.now)
	away.Fails(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) })
	if _, err := identity.NewIAP(identity.IAPConfig{Audience: identitytest.Audience, KeysURL: away.KeysURL, Now: c.now}).Person(t.Context(), away.Assertion("a@example.com")); !errors.Is(err, identity.ErrUnavailable) {
		t.Errorf("without keys = %v", err)
	}
}

// Those who come at once ask a provider once.
func TestAskedOnce(t *testing.T) {
	t.Parallel()
	c := newClock()
	proxy := identitytest.NewProxy(t, c.now)
	iap := identity.NewIAP(identity.IAPConfig{Audience: identitytest.Audience, KeysURL: proxy.KeysURL, Now: c.now})
	var wg sync.WaitGroup
	errs := make([]error, 50)
	for i := range errs {
		wg.Go(func() { _, errs[i] = iap.Person(t.Context(), proxy.Assertion("a@example.com")) })
	}
	wg.Wait()
	if n := proxy.Asked(); n != 1 || slices.ContainsFunc(errs, func(err error) bool { return err != nil }) {
		t.Errorf("asked %d times: %v", n, errs)
	}
}
