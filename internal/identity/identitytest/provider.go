// Package identitytest is a provider of OpenID Connect and an Identity-Aware Proxy on loopback, which can be
// had to say what is wrong.
package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ClientID and ClientSecret are those of the one client that a Provider knows.
const (
	ClientID     = "exportd-console"
	ClientSecret = "a client's secret, which is shown nowhere"
)

// Provider is a provider of OpenID Connect. It holds clients to the protocol: a code works once, for the
// client, redirect and PKCE verifier that it was asked for with.
type Provider struct {
	URL string

	tb     testing.TB
	now    func() time.Time
	mu     sync.Mutex
	codes  map[string]url.Values
	key    Key
	old    []Key
	claims map[string]any
	asks   map[string]int
	fault  map[string]http.HandlerFunc
	sign   func(Key, map[string]any) string
	button bool
}

// Key signs tokens.
type Key struct {
	ID        string
	Algorithm jose.SignatureAlgorithm
	Private   crypto.Signer
}

// NewKey makes a key.
func NewKey(tb testing.TB, id string, algorithm jose.SignatureAlgorithm) Key {
	tb.Helper()
	k := Key{ID: id, Algorithm: algorithm}
	var err error
	if algorithm == jose.ES256 {
		k.Private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		k.Private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// first is the key that providers begin with: it takes long to make.
func first(tb testing.TB) Key {
	tb.Helper()
	once.Do(func() { firstKey = NewKey(tb, "first", jose.RS256) })
	return firstKey
}

var (
	once     sync.Once
	firstKey Key
)

// Public is how a key is published.
func (k Key) Public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: string(k.Algorithm), Use: "sig"}
}

// Sign signs claims.
func (k Key) Sign(claims map[string]any) string {
	return signed(jose.SigningKey{Algorithm: k.Algorithm, Key: jose.JSONWebKey{Key: k.Private, KeyID: k.ID}}, claims)
}

// SignAs signs claims by HMAC with a text, which may be a public key, under a key's id.
func SignAs(secret []byte, id string, claims map[string]any) string {
	return signed(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: secret, KeyID: id}}, claims)
}

// Unsigned are claims that nobody has signed.
func Unsigned(id string, claims map[string]any) string {
	head, _ := json.Marshal(map[string]string{"alg": "none", "kid": id})
	body, _ := json.Marshal(claims)
	return base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
}

func signed(key jose.SigningKey, claims map[string]any) string {
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		panic(err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	s, err := signer.Sign(body)
	if err != nil {
		panic(err)
	}
	text, err := s.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return text
}

// NewProvider starts a provider, by whose clock tokens are made.
func NewProvider(tb testing.TB, now func() time.Time) *Provider {
	tb.Helper()
	p := &Provider{tb: tb, now: now, codes: map[string]url.Values{}, claims: map[string]any{}, asks: map[string]int{}, fault: map[string]http.HandlerFunc{}, key: first(tb)}
	mux := http.NewServeMux()
	for path, answer := range map[string]http.HandlerFunc{"/.well-known/openid-configuration": p.discovery, "/keys": p.keys, "/authorize": p.authorize, "/token": p.token} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			p.mu.Lock()
			fault := p.fault[path]
			p.asks[path]++
			p.mu.Unlock()
			if fault != nil {
				fault(w, r)
				return
			}
			answer(w, r)
		})
	}
	s := httptest.NewServer(mux)
	tb.Cleanup(s.Close)
	p.URL = s.URL
	return p
}

// SentBack goes where a client sends a browser, and says where that is sent back to.
func SentBack(tb testing.TB, to string) *url.URL {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, to, nil)
	if err != nil {
		tb.Fatal(err)
	}
	w, err := http.DefaultTransport.RoundTrip(r) // which follows no redirect
	if err != nil {
		tb.Fatal(err)
	}
	_ = w.Body.Close()
	back, err := url.Parse(w.Header.Get("Location"))
	if err != nil || w.StatusCode != http.StatusFound {
		tb.Fatalf("the provider answers %d %v", w.StatusCode, err)
	}
	return back
}

// Is has whoever comes be somebody: claims besides those of the protocol, or instead of them; nil takes one
// away.
func (p *Provider) Is(claims map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claims = claims
}

// Fails has a path answer otherwise; nil ends it.
func (p *Provider) Fails(path string, by http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault[path] = by
}

// Signs has tokens be signed otherwise; nil ends it.
func (p *Provider) Signs(by func(Key, map[string]any) string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sign = by
}

// Rotate makes a new key, beside which the old one is published or not.
func (p *Provider) Rotate(k Key, keep bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.old = nil; keep {
		p.old = []Key{p.key}
	}
	p.key = k
}

// Asks has people press a button, as in a browser they do.
func (p *Provider) Asks() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.button = true
}

// Asked is how often a path was asked.
func (p *Provider) Asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asks[path]
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
	})
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.key.Public()}}
	for _, k := range p.old {
		set.Keys = append(set.Keys, k.Public())
	}
	answer(w, http.StatusOK, set)
}

var consent = template.Must(template.New("consent").Parse(`<!doctype html><html lang="en"><title>Provider</title><main><h1>Who are you?</h1><p><a id="go" href="{{.}}">Go on</a></p></main></html>`))

func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != ClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" ||
		q.Get("state") == "" || q.Get("nonce") == "" || !slices.Contains(strings.Fields(q.Get("scope")), "openid") || !strings.HasSuffix(q.Get("redirect_uri"), "/console/sign-in/oidc/callback") {
		http.Error(w, "invalid_request", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = q
	button := p.button
	p.mu.Unlock()
	to := q.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {p.URL}}.Encode()
	if button {
		_ = consent.Execute(w, to)
		return
	}
	http.Redirect(w, r, to, http.StatusFound)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	} else {
		secret, _ = url.QueryUnescape(secret)
	}
	if id != ClientID || secret != ClientSecret {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	p.mu.Lock()
	q := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	sign, key := p.sign, p.key
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if q == nil || q.Get("redirect_uri") != r.PostFormValue("redirect_uri") || q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	access := rand.Text()
	hash := sha256.Sum256([]byte(access))
	now := p.now()
	claims := map[string]any{
		"iss": p.URL, "aud": ClientID, "sub": "1234", "nonce": q.Get("nonce"), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]),
	}
	p.mu.Lock()
	change(claims, p.claims)
	p.mu.Unlock()
	text := key.Sign(claims)
	if sign != nil {
		text = sign(key, claims)
	}
	answer(w, http.StatusOK, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 3600, "id_token": text})
}

func change(claims, by map[string]any) {
	for name, v := range by {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
}

// Proxy is an Identity-Aware Proxy, as far as those behind it know it.
type Proxy struct {
	KeysURL string
	Key     Key

	now func() time.Time
	mu  sync.Mutex
	by  http.HandlerFunc
	n   int
}

// Audience is that of the backend which a Proxy protects.
const Audience = "/projects/1234/global/backendServices/5678"

// NewProxy publishes the keys of a proxy.
func NewProxy(tb testing.TB, now func() time.Time) *Proxy {
	tb.Helper()
	p := &Proxy{Key: NewKey(tb, "iap", jose.ES256), now: now}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		by, set := p.by, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.Key.Public()}}
		p.n++
		p.mu.Unlock()
		if by != nil {
			by(w, r)
			return
		}
		answer(w, http.StatusOK, set)
	}))
	tb.Cleanup(s.Close)
	p.KeysURL = s.URL
	return p
}

// Fails has the keys be answered otherwise.
func (p *Proxy) Fails(by http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.by = by
}

// Asked is how often the keys were asked for.
func (p *Proxy) Asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// Claims are what the proxy says of somebody, changed by some.
func (p *Proxy) Claims(email string, by map[string]any) map[string]any {
	now := p.now()
	claims := map[string]any{
		"iss": "https://cloud.google.com/iap", "aud": Audience, "sub": "accounts.google.com:42", "email": email, "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
	change(claims, by)
	return claims
}

// Assertion is the header of a request of somebody.
func (p *Proxy) Assertion(email string) string { return p.Key.Sign(p.Claims(email, nil)) }
