package console

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"exportd/internal/apikey"
	"exportd/internal/identity"
)

// scopesOf are the rights of roles. None reads what is in files.
var scopesOf = map[identity.Role][]apikey.Scope{
	identity.Viewer: {apikey.ScopeView}, identity.Operator: {apikey.ScopeOps}, identity.Admin: {apikey.ScopeOps, apikey.ScopePlatform},
}

// keyOfPerson is what a person may do by the settings of this process; errOut for nothing. It is the record
// of no key: its id stands for the person where requests are counted.
func (c *Console) keyOfPerson(p *identity.Person) (*apikey.Key, error) {
	rights := scopesOf[c.roles.Of(*p)]
	if rights == nil {
		return nil, errOut
	}
	sum := sha256.Sum256([]byte("person\x00" + p.Name))
	return &apikey.Key{ID: "person_" + hex.EncodeToString(sum[:12]), Person: p.Name, Name: p.Name, Scopes: rights, State: apikey.Active}, nil
}

// notAdmitted says why somebody whom a provider knows is not let in.
type notAdmitted struct {
	status int
	why    string
	// Person has no role, if there is one.
	person string
}

func (n *notAdmitted) Error() string { return n.why }

// proxied reports whether a request claims to have come by Identity-Aware Proxy, where there is one.
func (c *Console) proxied(r *http.Request) bool {
	return c.proxy != nil && len(r.Header.Values(identity.HeaderIAP)) > 0
}

// byProxy says whom Identity-Aware Proxy names. There is no session: the next request has its own assertion.
func (c *Console) byProxy(r *http.Request) (*principal, error) {
	assertions := r.Header.Values(identity.HeaderIAP)
	if len(assertions) != 1 {
		return nil, &notAdmitted{status: http.StatusForbidden, why: "There is more than one assertion of Identity-Aware Proxy."}
	}
	who, err := c.proxy.Person(r.Context(), assertions[0])
	if why, ok := errors.AsType[*identity.RefusedError](err); ok {
		c.log.Warn("console sign-in refused", zap.String("by", "Identity-Aware Proxy"), zap.String("why", why.Why))
		return nil, &notAdmitted{status: http.StatusForbidden, why: sentence(why.Why)}
	}
	if err != nil {
		c.log.Error("console sign-in", zap.Error(err))
		return nil, &notAdmitted{status: http.StatusServiceUnavailable, why: "The keys of Identity-Aware Proxy cannot be read at present. Try again."}
	}
	key, err := c.keyOfPerson(&who)
	if err != nil {
		return nil, &notAdmitted{status: http.StatusForbidden, person: who.Name}
	}
	s := session{Person: &who, Until: who.Until, asserted: true}
	if s.Token, err = sealed(c.sealer, ofForm, form{Who: who.Name, Until: c.now().Add(sessionFor)}); err != nil {
		return nil, err
	}
	return &principal{session: s, key: key}, nil
}

// ofForm is what the token of a form is sealed for where there is no session.
const ofForm = "console form"

// form is in the token of a form where there is no session: whose page it was on.
type form struct {
	Who   string    `json:"w"`
	Until time.Time `json:"u"`
}

// ownForm reports whether a form was on a page of who sends it: it has the token of their session, or one
// that was made for them.
func (c *Console) ownForm(who *principal, token string) bool {
	if !who.asserted {
		return subtle.ConstantTimeCompare([]byte(token), []byte(who.Token)) == 1
	}
	var f form
	return c.unsealed(ofForm, token, &f) == nil && f.Who == who.Person.Name && c.now().Before(f.Until)
}

// refusedPage says to somebody why they are not let in, and whom to ask.
type refusedPage struct {
	Message, Person, Contact string
	Proxied                  bool
}

func (c *Console) refuse(w http.ResponseWriter, r *http.Request, n *notAdmitted) {
	c.render(w, r, nil, n.status, "refused", "Not let in", refusedPage{Message: n.why, Person: n.person, Contact: c.contact, Proxied: c.proxied(r)})
}
