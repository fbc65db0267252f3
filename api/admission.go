package api

import (
	"net/http"
	"net/netip"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
)

// admission is by what right a request came in.
type admission struct {
	request apikey.Request
	scopes  []apikey.Scope
	client  netip.Addr
	orgID   string
}

const admissionKey = "exportd/admission"

// stillAllowed judges the caller again, after a wait and in a stream: a key that was revoked
// or has expired meanwhile gets nothing more, no link above all. It asks what this process
// knows of the key, which costs a read every few seconds at most; before a link is handed
// out, past every cache.
func (s *Server) stillAllowed(c *gin.Context, link bool) error {
	a, ok := c.Value(admissionKey).(*admission)
	if !ok {
		return nil // a route that is open to all
	}
	verifier := s.verifier
	if link {
		verifier.Lookup = s.freshKeys
	}
	caller, err := verifier.Again(c.Request.Context(), a.request, s.now())
	if err != nil {
		return err
	}
	if caller.OrgID != a.orgID {
		return refuse(http.StatusForbidden, "the API key belongs to another org now")
	}
	if err := a.address(caller); err != nil {
		return err
	}
	return a.scope(caller)
}

func (a *admission) address(caller *apikey.Key) error {
	if !caller.AllowsAddr(a.client) { // told to the holder of the secret only
		return refuse(http.StatusForbidden, "the API key may not be used from this address")
	}
	return nil
}

func (a *admission) scope(caller *apikey.Key) error {
	if !caller.Has(a.scopes...) {
		return refuse(http.StatusForbidden, "the API key lacks the scope "+string(a.scopes[len(a.scopes)-1]))
	}
	return nil
}
