package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"exportd/internal/loopback"
)

const (
	// askWithin bounds one request to a provider: a person waits for it.
	askWithin = 5 * time.Second
	// maxAnswer bounds what is read of an answer: documents of discovery and keys have some kilobytes.
	maxAnswer = 1 << 20
	// fresh is how long keys and discovery are believed, and stale how long while a provider cannot be asked:
	// by then whoever replaced a key has waited for a day.
	fresh, stale = time.Hour, 24 * time.Hour
	// askAgain is how soon a provider is asked again after it failed, or about a key that it did not have:
	// whoever makes such keys up asks it no more often.
	askAgain = 10 * time.Second
)

// newClient makes a client for a provider: bounded in time and size, and led nowhere else.
func newClient(base http.RoundTripper) *http.Client {
	if base == nil {
		base = http.DefaultTransport
	}
	return &http.Client{
		Timeout: askWithin, Transport: bounded{base},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type bounded struct{ base http.RoundTripper }

// RoundTrip has no more than maxAnswer be read.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.base.RoundTrip(r)
	if err == nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	}
	return answer, err
}

// secureURL reports whether a URL can be asked without others reading along.
func secureURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.User == nil && loopback.IsSecure(u)
}

// cached is what was fetched, and is fetched again where it is old.
type cached[T any] struct {
	fetch func(ctx context.Context) (T, error)
	now   func() time.Time

	mu       sync.Mutex
	value    T
	read     time.Time // when value was; zero for never
	asked    time.Time
	fetching singleflight.Group
}

// get gives what there is; with again it is fetched anew, unless it was lately. Nobody who finds what is
// fresh waits for who fetches.
func (c *cached[T]) get(ctx context.Context, again bool) (T, error) {
	c.mu.Lock()
	value, read, asked, now := c.value, c.read, c.asked, c.now()
	c.mu.Unlock()
	old := read.IsZero() || now.Sub(read) >= fresh || now.Before(read)
	lately := !asked.IsZero() && now.Sub(asked) < askAgain && !now.Before(asked)
	if !old && !again {
		return value, nil
	}
	var err error
	if !lately {
		// Of those who come at once one asks; whoever goes away leaves the others what it asked for.
		_, err, _ = c.fetching.Do("", func() (any, error) { return nil, c.refetch(context.WithoutCancel(ctx), asked) })
		c.mu.Lock()
		value, read = c.value, c.read
		c.mu.Unlock()
	}
	if read.IsZero() || now.Sub(read) >= stale {
		if err == nil {
			err = errors.New("it failed a moment ago")
		}
		return value, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return value, nil
}

// refetch fetches anew, unless somebody has since it was asked last.
func (c *cached[T]) refetch(ctx context.Context, asked time.Time) error {
	c.mu.Lock()
	meanwhile := !c.asked.Equal(asked)
	c.mu.Unlock()
	if meanwhile {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	value, err := c.fetch(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = c.now()
	if err == nil {
		c.value, c.read = value, c.asked
	}
	return err
}

// keySet verifies tokens by keys that a provider publishes. That of the library asks the provider anew for
// each key that somebody makes up.
type keySet struct {
	keys       cached[[]jose.JSONWebKey]
	algorithms []string
}

func newKeySet(client *http.Client, address func(ctx context.Context) (string, error), algorithms []string, now func() time.Time) *keySet {
	return &keySet{algorithms: algorithms, keys: cached[[]jose.JSONWebKey]{now: now, fetch: func(ctx context.Context) ([]jose.JSONWebKey, error) {
		at, err := address(ctx)
		if err != nil {
			return nil, err
		}
		return fetchKeys(ctx, client, at)
	}}}
}

// payload gives what a token says, if a key of the provider has signed it.
func (s *keySet) payload(ctx context.Context, token string) ([]byte, error) {
	var algorithms []jose.SignatureAlgorithm
	for _, a := range s.algorithms {
		algorithms = append(algorithms, jose.SignatureAlgorithm(a))
	}
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, refused("it is not signed in a way that is taken")
	}
	id := signed.Signatures[0].Header.KeyID
	for _, again := range []bool{false, true} {
		keys, err := s.keys.get(ctx, again)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			if (id == "" || key.KeyID == id) && key.Use != "enc" && key.IsPublic() {
				if payload, err := signed.Verify(key); err == nil {
					return payload, nil
				}
			}
		}
	}
	return nil, refused("no key of the provider has signed it")
}

// already is a set of keys by which a token was verified.
type already []byte

// VerifySignature is of oidc.KeySet.
func (a already) VerifySignature(context.Context, string) ([]byte, error) { return a, nil }

// verify gives what a token says, if it is of an issuer, for an audience and of now.
func (s *keySet) verify(ctx context.Context, token, issuer, audience string, skew time.Duration) (*oidc.IDToken, error) {
	payload, err := s.payload(ctx, token)
	if err != nil {
		return nil, err
	}
	// The library would tell that a provider is down by text alone, so what it asks of the keys is answered.
	return oidc.NewVerifier(issuer, already(payload), &oidc.Config{
		ClientID: audience, SupportedSigningAlgs: s.algorithms, Now: func() time.Time { return s.keys.now().Add(-skew) },
	}).Verify(ctx, token)
}

// plainCause says in words why a token does not hold; nothing of the token is in it.
func plainCause(err error) string {
	if expired, ok := errors.AsType[*oidc.TokenExpiredError](err); ok {
		return "it has expired at " + expired.Expiry.UTC().Format(time.DateTime)
	}
	if why, ok := errors.AsType[*RefusedError](err); ok {
		return why.Why
	}
	return "its issuer, audience or time is not the one expected"
}

func fetchKeys(ctx context.Context, client *http.Client, address string) ([]jose.JSONWebKey, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keys: status %d", answer.StatusCode)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("keys: no JSON Web Key Set")
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil { // one of a kind that is not known is for others
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("keys: there is none")
	}
	return slices.Clip(keys), nil
}
