package console

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"exportd/api/client"
	"exportd/internal/apikey"
	"exportd/jobs"
)

// signInPage is what the page of signing in shows.
type signInPage struct {
	Next  string
	Fault string
	KeyID string
	// Provider is by whom one can sign in besides a key; "" for nobody.
	Provider string
}

// home is where one goes who does not say where.
const home = "/console"

// next is where somebody wants to go after signing in: a page of the console, nowhere else.
func next(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || strings.ContainsAny(raw, "\\\r\n\t") || u.Path != home && !strings.HasPrefix(u.Path, home+"/") {
		return home
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}

func (c *Console) signInPage(w http.ResponseWriter, r *http.Request) {
	c.askToSignIn(w, r, http.StatusOK, signInPage{Next: next(r.URL.Query().Get("next"))})
}

func (c *Console) askToSignIn(w http.ResponseWriter, r *http.Request, status int, p signInPage) {
	if c.provider != nil {
		p.Provider = c.provider.Name()
	}
	c.render(w, r, nil, status, "sign-in", "Sign in", p)
}

// signIn lets a browser in by a key, or by a link that exportd-dev printed.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	to := next(r.PostFormValue("next"))
	keyID, secret, status, fault := strings.TrimSpace(r.PostFormValue("key")), strings.TrimSpace(r.PostFormValue("secret")), http.StatusOK, ""
	proof := proofOf(secret)
	if token := r.PostFormValue("token"); token != "" {
		keyID, proof, status, fault = c.byLink(r.Context(), token)
	} else {
		status, fault = c.bySecret(r, keyID, secret)
	}
	if fault == "" {
		status, fault = c.admit(r.Context(), keyID, proof)
	}
	if fault == "" {
		if err := c.begin(w, r, session{KeyID: keyID, Proof: proof}); err != nil {
			c.fail(w, r, nil, err)
			return
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	c.askToSignIn(w, r, status, signInPage{Next: to, Fault: fault, KeyID: keyID})
}

// bySecret has the API judge a request that the key signs, with all its limits.
func (c *Console) bySecret(r *http.Request, keyID, secret string) (status int, fault string) {
	if !apikey.ValidID(keyID) || secret == "" {
		return http.StatusUnprocessableEntity, "Both are needed: the key, 8 to 64 of A-Z a-z 0-9 _ -, and its secret."
	}
	// Every key may ask for its limits.
	ask, err := http.NewRequestWithContext(context.WithValue(r.Context(), asked{}, r), http.MethodGet, "http://localhost/limits", nil)
	if err != nil {
		return http.StatusInternalServerError, "The page could not ask the API."
	}
	client.SetSignature2(ask, nil, keyID, secret, c.now())
	answer, err := c.transport.RoundTrip(ask)
	if err != nil {
		return http.StatusServiceUnavailable, "The keys cannot be read at present. Try again."
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
		return http.StatusOK, ""
	case http.StatusUnauthorized:
		return http.StatusUnauthorized, "No key in use has this id and this secret."
	case http.StatusForbidden:
		return http.StatusForbidden, "This key may not be used from your address."
	case http.StatusTooManyRequests:
		return http.StatusTooManyRequests, "Too many requests come from your address or by this key. Wait a little."
	}
	return http.StatusServiceUnavailable, "The keys cannot be read at present. Try again."
}

// admit says whether a key has a right that the console is for.
func (c *Console) admit(ctx context.Context, keyID string, proof []byte) (status int, fault string) {
	_, err := c.keyOf(ctx, session{KeyID: keyID, Proof: proof, Until: c.now().Add(time.Second)}, true)
	switch {
	case err == nil:
		return http.StatusOK, ""
	case errors.Is(err, errOut):
		return http.StatusForbidden, "This key cannot use the console: it needs the scope ops, view, admin or platform."
	}
	return http.StatusServiceUnavailable, "The keys cannot be read at present. Try again."
}

const (
	// ofLink is what a link that signs in is sealed for.
	ofLink = "console link"
	// linkFor is how long one works, once.
	linkFor = 15 * time.Minute
)

// link is in a link that signs in.
type link struct {
	KeyID string    `json:"k"`
	Proof []byte    `json:"p"`
	Until time.Time `json:"u"`
	ID    string    `json:"i"`
}

// Link makes the fragment of a link to /console/sign-in that lets a browser in as a key, once, within a
// quarter of an hour. A fragment is sent to no server, and so is in no log.
func Link(sealer *apikey.Sealer, keyID, secret string, now time.Time) (string, error) {
	text, err := sealed(sealer, ofLink, link{KeyID: keyID, Proof: proofOf(secret), Until: now.Add(linkFor), ID: rand.Text()})
	if err != nil {
		return "", err
	}
	return "token=" + text, nil
}

// byLink takes what a link holds, once.
func (c *Console) byLink(ctx context.Context, token string) (keyID string, proof []byte, status int, fault string) {
	const spent = "This link was used or is older than a quarter of an hour. Sign in with a key, or start exportd-dev again for another one."
	var l link
	err := c.unsealed(ofLink, token, &l)
	if errors.Is(err, jobs.ErrUnavailable) {
		return "", nil, http.StatusServiceUnavailable, "The keys cannot be read at present. Try again."
	}
	if err != nil || !c.now().Before(l.Until) || c.nonces == nil {
		return "", nil, http.StatusUnauthorized, spent
	}
	switch err := c.nonces(ctx, l.KeyID, "link:"+l.ID, l.Until.Add(time.Minute)); {
	case errors.Is(err, apikey.ErrNonceUsed):
		return "", nil, http.StatusUnauthorized, spent
	case errors.Is(err, jobs.ErrUnavailable):
		return "", nil, http.StatusServiceUnavailable, "The keys cannot be read at present. Try again."
	case err != nil:
		return "", nil, http.StatusUnauthorized, spent
	}
	return l.KeyID, l.Proof, http.StatusOK, ""
}

// signOut ends a session for whoever has its cookie: a copy of it is worth nothing from now on.
func (c *Console) signOut(w http.ResponseWriter, r *http.Request, who *principal) error {
	if !who.asserted {
		if err := c.sessions.EndSession(r.Context(), who.ID, who.Until); err != nil {
			return err
		}
		setCookie(w, r, "", 0)
	}
	http.Redirect(w, r, home+"/signed-out", http.StatusSeeOther)
	return nil
}

// signedOutPage says that a session has ended.
type signedOutPage struct {
	// Proxied: Identity-Aware Proxy has a session of its own, which it alone can end.
	Proxied bool
}

func (c *Console) signedOutPage(w http.ResponseWriter, r *http.Request) {
	c.render(w, r, nil, http.StatusOK, "signed-out", "Signed out", signedOutPage{c.proxied(r)})
}
