package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"exportd/internal/apikey"
	"exportd/internal/identity"
	"exportd/jobs"
)

const (
	// ofFlow is what a browser's way to a provider and back is sealed for.
	ofFlow = "console provider"
	// flowFor is how long people have to sign in there.
	flowFor = 10 * time.Minute
	// maxFlow bounds what is taken along, so that with its name and attributes it is a cookie that browsers
	// keep, of 4 KiB at most.
	maxFlow = 3500
)

// flow is what a browser takes along to a provider, sealed in a cookie.
type flow struct {
	identity.Flow
	Next  string    `json:"to"`
	Agent []byte    `json:"a"`
	Until time.Time `json:"u"`
}

// CallbackPath is where a provider sends browsers back to.
const CallbackPath = home + "/sign-in/oidc/callback"

// flowCookie sets or, without an age, takes away what a browser takes along. It comes back by a link of
// another site, with which a Strict cookie is not sent.
func flowCookie(w http.ResponseWriter, r *http.Request, value string, age time.Duration) {
	putCookie(w, r, &http.Cookie{Name: flowName(r), Value: value, SameSite: http.SameSiteLaxMode}, age)
}

func flowName(r *http.Request) string { return cookieName(r) + "-flow" }

// toProvider sends a browser to the provider.
func (c *Console) toProvider(w http.ResponseWriter, r *http.Request) {
	to := next(r.URL.Query().Get("next"))
	// The browser comes back to the console's own address, where its cookie must be; once is enough, where
	// something between gives requests another one.
	if u, err := url.Parse(c.url); err == nil && u.Host != r.Host && !r.URL.Query().Has("here") {
		http.Redirect(w, r, c.url+home+"/sign-in/oidc?"+url.Values{"here": {"1"}, "next": {to}}.Encode(), http.StatusSeeOther)
		return
	}
	address, f, err := c.provider.Begin(r.Context())
	if err != nil {
		c.log.Error("console sign-in", zap.Error(err))
		c.askToSignIn(w, r, http.StatusServiceUnavailable, signInPage{Next: to, Fault: "The provider " + c.provider.Name() + " cannot be asked at present. Try again, or sign in with a key."})
		return
	}
	taken := flow{Flow: f, Next: to, Agent: agentOf(r), Until: c.now().Add(flowFor)}
	text, err := sealed(c.sealer, ofFlow, taken)
	if len(text) > maxFlow { // a long filter: whoever signs in finds it in the browser's history
		taken.Next = home
		text, err = sealed(c.sealer, ofFlow, taken)
	}
	if err != nil {
		c.fail(w, r, nil, err)
		return
	}
	flowCookie(w, r, text, flowFor)
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// flowOf reads what a browser took along; errOut for nothing that is of use.
func (c *Console) flowOf(r *http.Request) (f flow, err error) {
	cookie, err := r.Cookie(flowName(r))
	if err != nil {
		return f, errOut
	}
	if err := c.unsealed(ofFlow, cookie.Value, &f); err != nil {
		return f, err
	}
	if !c.now().Before(f.Until) || string(f.Agent) != string(agentOf(r)) {
		return f, errOut
	}
	return f, nil
}

// fromProvider lets a browser in that comes back.
func (c *Console) fromProvider(w http.ResponseWriter, r *http.Request) {
	f, err := c.flowOf(r)
	if err != nil && !errors.Is(err, errOut) {
		c.fail(w, r, nil, err)
		return
	}
	flowCookie(w, r, "", 0)
	if err != nil {
		c.askToSignIn(w, r, http.StatusForbidden, signInPage{Next: home, Fault: "This sign-in was not begun in this browser, or longer than ten minutes ago. Begin again."})
		return
	}
	who, err := c.comesBack(r.Context(), f, r.URL.Query())
	if why, ok := errors.AsType[*identity.RefusedError](err); ok {
		c.log.Warn("console sign-in refused", zap.String("by", c.provider.Name()), zap.String("why", why.Why))
		c.askToSignIn(w, r, http.StatusForbidden, signInPage{Next: next(f.Next), Fault: sentence(why.Why)})
		return
	}
	if err != nil {
		c.log.Error("console sign-in", zap.Error(err))
		c.askToSignIn(w, r, http.StatusServiceUnavailable, signInPage{Next: next(f.Next), Fault: "You could not be signed in, as " + c.provider.Name() + " or the database does not answer. Try again, or sign in with a key."})
		return
	}
	if _, err := c.keyOfPerson(&who); err != nil {
		c.refuse(w, r, &notAdmitted{status: http.StatusForbidden, person: who.Name})
		return
	}
	if err := c.begin(w, r, session{Person: &who, Until: who.Until}); err != nil {
		c.fail(w, r, nil, err)
		return
	}
	c.openAgain(w, r, next(f.Next)) // by a page of the console, with which the new cookie is sent
}

// comesBack asks the provider who it is, once for each time that somebody was sent there.
func (c *Console) comesBack(ctx context.Context, f flow, q url.Values) (identity.Person, error) {
	if c.nonces == nil {
		return identity.Person{}, jobs.ErrUnavailable
	}
	switch err := c.nonces(ctx, "provider", "flow:"+f.State, f.Until.Add(time.Minute)); {
	case errors.Is(err, apikey.ErrNonceUsed):
		return identity.Person{}, &identity.RefusedError{Why: "this sign-in has ended: begin again"}
	case err != nil:
		return identity.Person{}, err
	}
	return c.provider.Finish(ctx, f.Flow, q)
}
