package api

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
)

// admission is by what right a request came in.
type admission struct {
	request  apikey.Request
	operator Operator // nil: the request is signed
	scopes   []apikey.Scope
	client   netip.Addr
	arrived  time.Time
	orgID    string
}

const admissionKey = "exportd/admission"

// stillAllowed judges the caller again, after a wait and in a stream: a key that was revoked or has expired
// meanwhile gets nothing more, no link above all. It asks what this process knows of the key, which costs a
// read every few seconds at most; before a link is handed out, past every cache.
func (s *Server) stillAllowed(c *gin.Context, link bool) error {
	a, ok := c.Value(admissionKey).(*admission)
	if !ok {
		return nil // a route that is open to all
	}
	caller, err := s.again(c.Request.Context(), a, link)
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

// again says once more whose request it is.
func (s *Server) again(ctx context.Context, a *admission, fresh bool) (*apikey.Key, error) {
	if a.operator != nil {
		return a.operator(ctx, fresh)
	}
	verifier := s.verifier
	if fresh {
		verifier.Lookup = s.freshKeys
	}
	return verifier.Again(ctx, a.request, s.now())
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
