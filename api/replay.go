package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"exportd/internal/apikey"
)

// A signature of version 1 holds for a minute, for any request. That is the contract; but an exact duplicate,
// by a proxy that tries again or by somebody who saw the request go by, is known as one. Exports are answered
// with the job of the first while that is alive (queued, running, or succeeded with its file there), by way
// of an idempotency key that the request implies: a job that was canceled, failed, was deleted or has expired
// is never reused, and clients that sign whole seconds repeat themselves without meaning to. What operators
// and admins do by POST is taken once. Everything else can be repeated by nature.

// replayKey is the idempotency key of an export request that names none; "" for version 2. No caller can name
// it: theirs are visible characters.
func replayKey(r *http.Request) (string, error) {
	body, err := bodyOf(r)
	if err != nil {
		return "", err
	}
	if id := apikey.RequestOf(r, body).ReplayID(); id != "" {
		return "\x00" + id, nil
	}
	return "", nil
}

// once reports whether a duplicate of a request would do something a second time, or show a secret to
// somebody else.
func (r route) once() bool {
	return r.method == http.MethodPost && (slices.Contains(r.scopes, apikey.ScopeOps) || slices.Contains(r.scopes, apikey.ScopeAdmin))
}

// takeOnce refuses a request of which there was an exact duplicate. It is noted before anything is done:
// whoever got no answer signs a new one. Of version 2 there are none.
func (s *Server) takeOnce(ctx context.Context, r *http.Request, caller *apikey.Key, body []byte) error {
	id := apikey.RequestOf(r, body).ReplayID()
	if operatorOf(ctx) != nil {
		id = r.Header.Get(apikey.HeaderNonce) // of the form that was sent; "" for none
	}
	if id == "" || s.verifier.Nonces == nil {
		return nil
	}
	// With ":" it is no nonce of version 2; "once" keeps it apart from signatures of keys that take each one
	// once.
	err := s.verifier.Nonces(ctx, caller.ID, "once:"+id, s.verifier.Window.Remember(s.now()))
	if errors.Is(err, apikey.ErrNonceUsed) {
		return refuse(http.StatusConflict, "this very request was made before: sign each one anew, with milliseconds in x-date")
	}
	return err
}
