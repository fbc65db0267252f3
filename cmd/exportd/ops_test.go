package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/zap"

	"exportd/api"
	"exportd/internal/connection"
)

func TestOps(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	for name, tc := range map[string]struct {
		path         string
		alive, check error
		want         int
	}{
		"alive":     {"/livez", nil, bad, http.StatusOK},
		"cut off":   {"/livez", bad, nil, http.StatusServiceUnavailable},
		"ready":     {"/readyz", bad, nil, http.StatusOK},
		"not ready": {"/readyz", nil, bad, http.StatusServiceUnavailable},
		"no route":  {"/", nil, nil, http.StatusNotFound},
	} {
		w := httptest.NewRecorder()
		opsHandler(func() error { return tc.alive }, []api.Check{{Name: "firestore", Run: func(context.Context) error { return tc.check }}}, zap.NewNop()).
			ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, tc.path, nil))
		if w.Code != tc.want {
			t.Errorf("%s: %s = %d, want %d", name, tc.path, w.Code, tc.want)
		}
	}
}

// A process is cut off when it has called for a minute and nothing came, not when nobody calls.
func TestCutOff(t *testing.T) {
	t.Parallel()
	idle := &connection.Guard{}
	if err := cutOff(time.Now().Add(time.Hour), map[string]*connection.Guard{"firestore": idle}); err != nil {
		t.Errorf("without calls = %v", err)
	}
}
