package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/panics"
)

// Check asks whether a dependency can be used. Run must return when its context ends.
type Check struct {
	Name string // "firestore", "pubsub", "storage"
	Run  func(ctx context.Context) error
}

const (
	// checkWithin bounds one check.
	checkWithin = 2 * time.Second
	// checkAgain is how long a result is told again: readyz is open to all and must not be a way to make
	// load.
	checkAgain = time.Second
)

// readiness runs checks, all at once, and remembers the result for checkAgain.
type readiness struct {
	checks []Check

	mu     sync.Mutex
	at     time.Time
	errors map[string]error
}

func (r *readiness) ask(ctx context.Context) map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.errors != nil && time.Since(r.at) < checkAgain {
		return r.errors
	}
	// Others may get this result, so the caller's going away must not fail it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkWithin)
	defer cancel()
	results := make([]error, len(r.checks))
	var wg sync.WaitGroup
	for i, check := range r.checks {
		wg.Go(func() { results[i] = panics.Do(func() error { return check.Run(ctx) }) })
	}
	wg.Wait()
	r.errors = make(map[string]error, len(r.checks))
	for i, check := range r.checks {
		r.errors[check.Name] = results[i]
	}
	r.at = time.Now()
	return r.errors
}

// health says that the process answers, whatever it depends on, unless for so long nothing has got through to
// it that another process may fare better; and which build it is.
func (s *Server) health(c *gin.Context, _ *apikey.Key) error {
	if err := s.alive(); err != nil {
		observe(c).cause = err
		setRetryAfter(c, retryAfterOutage*time.Second)
		writeJSON(c, http.StatusServiceUnavailable, s.healthOf("cut off"))
		return nil
	}
	writeJSON(c, http.StatusOK, s.healthOf("ok"))
	return nil
}

func (s *Server) healthOf(status string) map[string]any {
	return map[string]any{"status": status, "version": s.build.Version, "commit": s.build.Commit, "modified": s.build.Modified}
}

// ready says which dependencies can be used; 503 if one cannot, or on the way down.
func (s *Server) ready(c *gin.Context, _ *apikey.Key) error {
	status, checks := http.StatusOK, map[string]string{}
	for name, err := range s.readiness.ask(c.Request.Context()) {
		checks[name] = "ok"
		if err != nil {
			status, checks[name] = http.StatusServiceUnavailable, "unavailable"
			observe(c).cause = err
		}
	}
	if s.draining.Err() != nil {
		status, checks["server"] = http.StatusServiceUnavailable, "stopping"
	}
	text := "ok"
	if status != http.StatusOK {
		text = "unavailable"
		setRetryAfter(c, retryAfterOutage*time.Second)
	}
	writeJSON(c, status, map[string]any{"status": text, "checks": checks})
	return nil
}
