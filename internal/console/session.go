package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/identity"
	"exportd/internal/loopback"
	"exportd/jobs"
)

const (
	// sessionFor is a working day; then one signs in again.
	sessionFor = 8 * time.Hour
	// ofSession is what a session is sealed for.
	ofSession = "console session"
)

// session is what a cookie holds, sealed. It has no secret: the key is looked up on each request.
type session struct {
	// ID is by what the session is ended before its time.
	ID    string `json:"i"`
	KeyID string `json:"k,omitempty"`
	// Proof is a hash of the secret that signed in: when that is replaced or ends, so do its sessions.
	Proof []byte `json:"p,omitempty"`
	// Person is whom a provider of identities has signed in, in place of a key.
	Person *identity.Person `json:"w,omitempty"`
	Until  time.Time        `json:"u"`
	// Agent is the hash of the browser's name and of where it found the console: a cookie that somebody
	// carries to another browser, or to another of the console's addresses, is of no use.
	Agent []byte `json:"a"`
	// Token is sent back with each form of the session.
	Token string `json:"t"`

	// asserted: Identity-Aware Proxy says with this very request whose it is. There is no cookie.
	asserted bool
}

// principal is who is signed in, with the rights they have now.
type principal struct {
	session
	key *apikey.Key
}

// name is how the principal is shown.
func (p *principal) name() string {
	if p.key.Person != "" {
		return p.key.Person
	}
	if p.key.Name != "" {
		return p.key.Name + " (" + p.key.ID + ")"
	}
	return p.key.ID
}

// mayLook, mayAct and mayAdmin say what is shown to the principal; what is done, the API judges.
func (p *principal) mayLook() bool { return p.key.Has(apikey.ScopeView, apikey.ScopeOps) }
func (p *principal) mayAct() bool  { return p.key.Has(apikey.ScopeOps) }
func (p *principal) mayAdmin() bool {
	return p.key.Has(apikey.ScopePlatform, apikey.ScopeAdmin)
}

// sees names the rights that what is shown depends on.
func (p *principal) sees() string {
	rights := ""
	for letter, may := range map[string]bool{"l": p.mayLook(), "o": p.mayAct(), "a": p.mayAdmin()} {
		if may {
			rights += letter
		}
	}
	return string(slices.Sorted(slices.Values([]byte(rights))))
}

func agentOf(r *http.Request) []byte {
	sum := sha256.Sum256([]byte(strings.ToLower(r.Host) + "\x00" + r.UserAgent()))
	return sum[:16]
}

// secure reports whether a request came by a way that others cannot read along. A browser keeps a Secure
// cookie of https alone, so the console is for https, and for plain http on the same machine.
func secure(r *http.Request) bool { return !loopback.IsHost(r.Host) }

func cookieName(r *http.Request) string {
	if secure(r) {
		return "__Host-exportd-console" // by its name the browser holds it to https, this host and all paths
	}
	return "exportd-console"
}

// setCookie sets a session's cookie; without an age it takes it away.
func setCookie(w http.ResponseWriter, r *http.Request, value string, age time.Duration) {
	putCookie(w, r, &http.Cookie{Name: cookieName(r), Value: value, SameSite: http.SameSiteStrictMode}, age)
}

// putCookie sets a cookie as all of the console are: no script reads it, and none goes over http but on this
// machine.
func putCookie(w http.ResponseWriter, r *http.Request, cookie *http.Cookie, age time.Duration) {
	cookie.Path, cookie.HttpOnly, cookie.Secure, cookie.MaxAge = "/", true, secure(r), int(age.Seconds())
	if age <= 0 {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// begin gives a browser a session, in place of the one that it may have: nobody goes on in one that was there
// before.
func (c *Console) begin(w http.ResponseWriter, r *http.Request, s session) error {
	if old, err := c.sessionOf(r); err == nil {
		if err := c.sessions.EndSession(r.Context(), old.ID, old.Until); err != nil {
			return err
		}
	}
	s.ID, s.Agent, s.Token = rand.Text(), agentOf(r), rand.Text()
	if end := c.now().Add(sessionFor); s.Until.IsZero() || s.Until.After(end) {
		s.Until = end
	}
	text, err := sealed(c.sealer, ofSession, s)
	if err != nil {
		return err
	}
	setCookie(w, r, text, s.Until.Sub(c.now()))
	return nil
}

// errOut means that nobody is signed in, or not any more.
var errOut = errors.New("not signed in")

// sessionOf reads a request's session; errOut for none.
func (c *Console) sessionOf(r *http.Request) (session, error) {
	var s session
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return s, errOut
	}
	if err := c.unsealed(ofSession, cookie.Value, &s); err != nil {
		return s, err
	}
	left := s.Until.Sub(c.now())
	if s.ID == "" || left <= 0 || left > sessionFor+time.Minute || subtle.ConstantTimeCompare(s.Agent, agentOf(r)) != 1 {
		return s, errOut
	}
	return s, nil
}

// keyOf looks up who a session is of, past every cache if fresh. errOut if they are out meanwhile.
func (c *Console) keyOf(ctx context.Context, s session, fresh bool) (*apikey.Key, error) {
	if !c.now().Before(s.Until) {
		return nil, errOut
	}
	if s.Person != nil {
		return c.keyOfPerson(s.Person)
	}
	lookup := c.keys
	if fresh {
		lookup = c.freshKeys
	}
	key, err := lookup(ctx, s.KeyID)
	switch {
	case errors.Is(err, jobs.ErrNotFound), errors.Is(err, jobs.ErrInvalid):
		return nil, errOut
	case err != nil:
		return nil, err
	case !key.Usable(c.now()) || !key.Has(scopes...) || !proved(key, s.Proof, c.now()):
		return nil, errOut
	}
	return key, nil
}

// proofOf is what a session knows of a secret: not enough to sign with.
func proofOf(secret string) []byte {
	sum := sha256.Sum256([]byte("console session\x00" + secret))
	return sum[:16]
}

// proved reports whether a secret that signed in may still be used.
func proved(key *apikey.Key, proof []byte, now time.Time) bool {
	_, usable := key.CallbackSecrets(now)
	return slices.ContainsFunc(usable, func(secret string) bool { return subtle.ConstantTimeCompare(proofOf(secret), proof) == 1 })
}

// readers may have the files of their org.
var readers = []apikey.Scope{apikey.ScopeRead, apikey.ScopeExport}

// scopes are the rights of which one is needed to be let in.
var scopes = []apikey.Scope{apikey.ScopeOps, apikey.ScopeView, apikey.ScopeAdmin, apikey.ScopePlatform}

// signedIn says who a request is of: whose session it has, else whom Identity-Aware Proxy names. The key is
// read past every cache, so that one that was revoked is out at once, and so is a session that was ended.
func (c *Console) signedIn(r *http.Request) (*principal, error) {
	s, err := c.sessionOf(r)
	if err == nil {
		var key *apikey.Key
		if key, err = c.stillIn(r.Context(), s, true); err == nil {
			return &principal{session: s, key: key}, nil
		}
	}
	if errors.Is(err, errOut) && c.proxied(r) {
		return c.byProxy(r)
	}
	return nil, err
}

// stillIn is keyOf, and errOut also for a session that was ended before its time.
func (c *Console) stillIn(ctx context.Context, s session, fresh bool) (*apikey.Key, error) {
	key, err := c.keyOf(ctx, s, fresh)
	if err != nil || s.asserted {
		return key, err
	}
	switch ended, err := c.sessions.SessionEnded(ctx, s.ID); {
	case err != nil:
		return nil, err
	case ended:
		return nil, errOut
	}
	return key, nil
}

// inTheNameOf has what is asked of the API with the context be asked by the principal.
func (c *Console) inTheNameOf(ctx context.Context, p *principal) context.Context {
	return c.as(ctx, func(ctx context.Context, fresh bool) (*apikey.Key, error) {
		key, err := c.keyOf(ctx, p.session, fresh)
		if errors.Is(err, errOut) {
			return nil, apikey.Refuse("the session has ended")
		}
		return key, err
	})
}
