package api

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
)

// Operator is who acts through the console. It gives the key whose rights it has, as they are known at
// present, with fresh past every cache; a *apikey.RefusedError if it is out meanwhile.
type Operator = func(ctx context.Context, fresh bool) (*apikey.Key, error)

type operatorKey struct{}

// WithOperator has a request be an operator's, by what the console knows of it and without a signature. It is
// a value of a context: nothing that comes over a network can be one.
func WithOperator(ctx context.Context, o Operator) context.Context {
	return context.WithValue(ctx, operatorKey{}, o)
}

func operatorOf(ctx context.Context) Operator {
	o, _ := ctx.Value(operatorKey{}).(Operator)
	return o
}

// identify says whose request it is: an operator's whom the console has let in, or that of the key that
// signed it.
func (s *Server) identify(ctx context.Context, a *admission) (*apikey.Key, error) {
	if a.operator != nil {
		return a.operator(ctx, false)
	}
	return s.verifier.Verify(ctx, a.request, a.arrived)
}

// Mount has another handler answer GET and POST of a path and of all below it, behind the limits of the API.
// It is for before the server serves.
func (s *Server) Mount(path string, h http.Handler) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, pattern := range []string{path, path + "/*below"} {
			s.engine.Handle(method, pattern, gin.WrapH(h))
		}
	}
}
