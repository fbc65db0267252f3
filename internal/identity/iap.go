package identity

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// HeaderIAP is the header in which Identity-Aware Proxy says who asks. It takes the header from requests that
// come to it; whoever can go round it cannot sign one.
const HeaderIAP = "X-Goog-Iap-Jwt-Assertion"

// These are documented at https://cloud.google.com/iap/docs/signed-headers-howto, seen in November 2026.
const (
	iapIssuer = "https://cloud.google.com/iap"
	iapKeys   = "https://www.gstatic.com/iap/verify/public_key-jwk"
	iapSkew   = 30 * time.Second
	iapLife   = 10 * time.Minute
	// maxAssertion bounds one that is looked at: they have about a kilobyte.
	maxAssertion = 16 << 10
)

// IAPConfig is what an IAP needs.
type IAPConfig struct {
	// Audience is the backend that the proxy protects, as "/projects/1234/global/backendServices/5678".
	Audience string
	// Transport, KeysURL and Now are for tests.
	Transport http.RoundTripper
	KeysURL   string
	Now       func() time.Time
}

// IAP verifies what Google's Identity-Aware Proxy says of a request. Safe for concurrent use.
type IAP struct {
	keys     *keySet
	audience string
	now      func() time.Time
}

// NewIAP makes an IAP.
func NewIAP(c IAPConfig) *IAP {
	if c.KeysURL == "" {
		c.KeysURL = iapKeys
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	keys := newKeySet(newClient(c.Transport), func(context.Context) (string, error) { return c.KeysURL, nil }, []string{oidc.ES256}, c.Now)
	return &IAP{keys: keys, audience: c.Audience, now: c.Now}
}

// Person says who a request is of. A *RefusedError if the assertion is not to be believed, ErrUnavailable if
// that cannot be told.
func (p *IAP) Person(ctx context.Context, assertion string) (Person, error) {
	if len(assertion) > maxAssertion {
		return Person{}, refused("the assertion of Identity-Aware Proxy is too long")
	}
	token, err := p.keys.verify(ctx, assertion, iapIssuer, p.audience, iapSkew)
	if errors.Is(err, ErrUnavailable) {
		return Person{}, err
	}
	if err != nil {
		return Person{}, refused("the assertion of Identity-Aware Proxy does not hold: " + plainCause(err))
	}
	var claims struct {
		Email string `json:"email"`
	}
	now := p.now()
	switch err := token.Claims(&claims); {
	case err != nil, token.Subject == "", address(claims.Email) == "":
		return Person{}, refused("the assertion of Identity-Aware Proxy names nobody with an address of e-mail")
	case len(token.Audience) != 1:
		return Person{}, refused("the assertion of Identity-Aware Proxy is for several audiences")
	case token.IssuedAt.IsZero(), token.IssuedAt.After(now.Add(iapSkew)):
		return Person{}, refused("the assertion of Identity-Aware Proxy was issued in the future: a clock is wrong")
	case token.Expiry.Sub(token.IssuedAt) > iapLife+2*iapSkew:
		return Person{}, refused("the assertion of Identity-Aware Proxy holds longer than ten minutes")
	}
	return Person{Name: claims.Email, Email: claims.Email, Until: token.Expiry.Add(iapSkew)}, nil
}
