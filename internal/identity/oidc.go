package identity

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// loginSkew is what the clocks of a provider and of this machine may differ by.
const loginSkew = 30 * time.Second

// maxValues bounds what is read of the claim that gives roles: of groups that directories list, 200 are many.
const maxValues = 1000

// signing are the ways of signing that are taken: by none can whoever reads the published keys sign.
var signing = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// OIDCConfig is what an OIDC needs.
type OIDCConfig struct {
	Issuer, ClientID string
	// Secret is the client's; empty for one that has none, as PKCE stands for it.
	Secret string
	// RedirectURL is where the provider sends a browser back to.
	RedirectURL string
	// Claim is what gives roles, as "groups"; "realm_access.roles" is one within another. Empty: addresses
	// alone.
	Claim string
	Roles Roles
	// Transport and Now are for tests.
	Transport http.RoundTripper
	Now       func() time.Time
}

// OIDC sends browsers to a provider of OpenID Connect, and finds out who comes back: authorization code with
// PKCE, state and nonce. Safe for concurrent use.
type OIDC struct {
	cfg      OIDCConfig
	client   *http.Client
	provider cached[*provider]
	keys     *keySet
}

// provider is what discovery says.
type provider struct {
	*oidc.Provider
	keysURL string
}

// NewOIDC makes an OIDC. The provider is asked when somebody signs in: it need not be there before.
func NewOIDC(c OIDCConfig) *OIDC {
	if c.Now == nil {
		c.Now = time.Now
	}
	o := &OIDC{cfg: c, client: newClient(c.Transport)}
	o.provider.now, o.provider.fetch = c.Now, o.discover
	o.keys = newKeySet(o.client, func(ctx context.Context) (string, error) {
		p, err := o.provider.get(ctx, false)
		if err != nil {
			return "", err
		}
		return p.keysURL, nil
	}, signing, c.Now)
	return o
}

// Name is what people know the provider by.
func (o *OIDC) Name() string {
	if u, err := url.Parse(o.cfg.Issuer); err == nil {
		return u.Host
	}
	return o.cfg.Issuer
}

func (o *OIDC) discover(ctx context.Context) (*provider, error) {
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, o.client), o.cfg.Issuer)
	if mismatch, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
		return nil, fmt.Errorf("discovery: the provider calls itself %.200q", mismatch.Discovered)
	}
	if err != nil {
		return nil, fmt.Errorf("discovery: %.300s", err) // what it answered may be a page
	}
	var says struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err := found.Claims(&says); err != nil {
		return nil, errors.New("discovery: its answer is not understood")
	}
	for _, at := range []string{found.Endpoint().AuthURL, found.Endpoint().TokenURL, says.KeysURL} {
		if !secureURL(at) {
			return nil, fmt.Errorf("discovery: %.200q is no https URL", at)
		}
	}
	return &provider{Provider: found, keysURL: says.KeysURL}, nil
}

// Flow is what a browser is sent away with and must bring back; the browser cannot read it.
type Flow struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
}

// Begin says where a browser goes to sign in. ErrUnavailable if the provider cannot be asked.
func (o *OIDC) Begin(ctx context.Context) (to string, f Flow, err error) {
	p, err := o.provider.get(ctx, false)
	if err != nil {
		return "", Flow{}, err
	}
	f = Flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier()}
	return o.oauth(p).AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), f, nil
}

func (o *OIDC) oauth(p *provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: o.cfg.ClientID, ClientSecret: o.cfg.Secret, RedirectURL: o.cfg.RedirectURL, Endpoint: p.Endpoint(),
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}
}

// Finish says who came back, by what the browser brought. A *RefusedError that says why not, ErrUnavailable
// if the provider cannot be asked.
func (o *OIDC) Finish(ctx context.Context, f Flow, q url.Values) (Person, error) {
	if f.State == "" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(f.State)) != 1 {
		return Person{}, refused("the answer is not one to this sign-in: begin again")
	}
	if iss := q.Get("iss"); iss != "" && iss != o.cfg.Issuer { // RFC 9207
		return Person{}, refused("the answer comes from another provider")
	}
	if code := q.Get("error"); code != "" {
		return Person{}, refused(declined(code))
	}
	if q.Get("code") == "" || len(q.Get("code")) > maxAssertion {
		return Person{}, refused("the provider sent no code: begin again")
	}
	raw, access, err := o.exchange(ctx, f, q.Get("code"))
	if err != nil {
		return Person{}, err
	}
	token, err := o.keys.verify(ctx, raw, o.cfg.Issuer, o.cfg.ClientID, loginSkew)
	if errors.Is(err, ErrUnavailable) {
		return Person{}, err
	}
	if err != nil {
		return Person{}, refused("what the provider says of you does not hold: " + plainCause(err))
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(f.Nonce)) != 1 {
		return Person{}, refused("what the provider says of you is of another sign-in: begin again")
	}
	if token.AccessTokenHash != "" && token.VerifyAccessToken(access) != nil {
		return Person{}, refused("what the provider says of you goes with another answer: begin again")
	}
	return o.person(token)
}

// declined says what a provider's refusal means (OAuth 2.0, 4.1.2.1; OpenID Connect, 3.1.2.6). What it says
// besides comes by way of the browser, and is not shown.
func declined(code string) string {
	switch code {
	case "access_denied":
		return "the provider did not let you in, or you went back"
	case "temporarily_unavailable", "server_error":
		return "the provider has a fault at present: try again"
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		return "the provider wants you to sign in there first: begin again"
	case "unauthorized_client", "invalid_request", "invalid_scope", "unsupported_response_type", "invalid_client":
		return "the provider does not know this console as it asks: whoever runs it has to look at its settings"
	}
	return "the provider did not let you in"
}

// exchange gets the tokens for a code, behind the browser's back.
func (o *OIDC) exchange(ctx context.Context, f Flow, code string) (id, access string, err error) {
	p, err := o.provider.get(ctx, false)
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, o.client), askWithin)
	defer cancel()
	token, err := o.oauth(p).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		switch {
		case answer.ErrorCode == "invalid_grant":
			return "", "", refused("the code was used or is too old: begin again")
		case answer.ErrorCode == "invalid_client", answer.ErrorCode == "unauthorized_client":
			return "", "", refused("the provider does not take this console's id and secret: whoever runs it has to look at its settings")
		case answer.Response != nil && answer.Response.StatusCode >= http.StatusInternalServerError:
			return "", "", fmt.Errorf("%w: code: status %d", ErrUnavailable, answer.Response.StatusCode)
		}
		return "", "", refused("the provider took the code for none: begin again")
	}
	if err != nil {
		return "", "", fmt.Errorf("%w: code: %.300s", ErrUnavailable, strings.ReplaceAll(err.Error(), code, "…"))
	}
	id, _ = token.Extra("id_token").(string)
	if id == "" {
		return "", "", refused("the provider did not say who you are: it gave no token of identity")
	}
	return id, token.AccessToken, nil
}

// boolean is one that some providers write as text.
type boolean bool

func (b *boolean) UnmarshalJSON(text []byte) error {
	*b = string(text) == "true" || string(text) == `"true"`
	return nil
}

func (o *OIDC) person(token *oidc.IDToken) (Person, error) {
	var claims struct {
		Email    string  `json:"email"`
		Verified boolean `json:"email_verified"`
		Called   string  `json:"preferred_username"`
		For      string  `json:"azp"`
	}
	var all map[string]json.RawMessage
	if token.Claims(&claims) != nil || token.Claims(&all) != nil || !plainName(token.Subject) {
		return Person{}, refused("the provider says of you what is not understood")
	}
	if claims.For != "" && claims.For != o.cfg.ClientID || claims.For == "" && len(token.Audience) > 1 {
		return Person{}, refused("what the provider says of you is for another application")
	}
	p := Person{Until: token.Expiry, Values: o.cfg.Roles.named(values(all, o.cfg.Claim))}
	if claims.Verified {
		p.Email = address(claims.Email)
	}
	if p.Name = p.Email; p.Name == "" {
		p.Name = "sub " + token.Subject
		if called := cmp.Or(claims.Called, claims.Email); plainName(called) {
			p.Name = called + " (" + p.Name + ")"
		}
	}
	return p, nil
}

// values are what a claim holds: a text, or a list of some. A name that is no claim may be one within
// another.
func values(claims map[string]json.RawMessage, name string) []string {
	raw, ok := claims[name]
	if outer, inner, within := strings.Cut(name, "."); !ok && within {
		var next map[string]json.RawMessage
		if json.Unmarshal(claims[outer], &next) != nil {
			return nil
		}
		return values(next, inner)
	}
	if !ok {
		return nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}
	}
	var list []string
	if json.Unmarshal(raw, &list) != nil {
		return nil
	}
	return slices.Clip(list[:min(len(list), maxValues)])
}
