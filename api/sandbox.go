package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"exportd/jobs"
)

// headerScenario says what is to become of an export in a sandbox.
const headerScenario = "Export-Test-Scenario"

// scenario reads what is to become of an export, which a sandbox key alone may say. It becomes a parameter of
// the job, so that requests of other scenarios share no job with this one.
func (p *params) scenario(h http.Header, sub *jobs.Submission) {
	values := h.Values(headerScenario)
	given := strings.Join(values, ", ")
	switch sandbox := jobs.InSandbox(sub.OrgID); {
	case !sandbox && len(values) > 0:
		p.fault(headerScenario, typeUnknown, map[string]any{"value": given},
			"is for sandbox keys, and this key is none: an admin makes one, by exportctl keys create --sandbox or POST /admin/keys with sandbox=true")
	case !sandbox:
	case len(values) == 0:
		sub.Params = sub.Params.With(jobs.ParamScenario, string(jobs.ScenarioSucceed))
	case !slices.Contains(jobs.Scenarios, jobs.Scenario(given)):
		texts := make([]string, len(jobs.Scenarios))
		for i, s := range jobs.Scenarios {
			texts[i] = string(s)
		}
		p.fault(headerScenario, typeOnly, map[string]any{"value": given, "valids": texts}, "must be one of [%s]", strings.Join(texts, ", "))
	default:
		sub.Params = sub.Params.With(jobs.ParamScenario, given)
	}
	if sub.Implied && sub.IdempotencyKey != "" { // the signature does not cover the header
		sub.IdempotencyKey += " " + sub.Params.Text(jobs.ParamScenario)
	}
}

const (
	// stagedWait is what a caller is told to wait, and within stagedFor the request is then taken: who comes
	// later begins the scenario anew.
	stagedWait = 2 * time.Second
	stagedFor  = time.Minute
	// maxStaged bounds the requests that are remembered, at about 200 bytes each. One that is forgotten is
	// refused once more.
	maxStaged = 1000
)

// refusedOnce are the requests that a scenario had refused, by org and fingerprint, and when. They belong to
// one process: over n processes a request may be refused n times.
type refusedOnce struct {
	cache *otter.Cache[string, time.Time]
}

func newRefusedOnce() (*refusedOnce, error) {
	// No expiry, as in newBuckets.
	cache, err := otter.New(&otter.Options[string, time.Time]{MaximumSize: maxStaged})
	return &refusedOnce{cache}, err
}

// pass reports whether a request was refused before, and has waited.
func (r *refusedOnce) pass(request string, now time.Time) bool {
	at, known := r.cache.GetIfPresent(request)
	switch waited := now.Sub(at); {
	case !known || waited > stagedFor:
		r.cache.Set(request, now)
		return false
	default:
		return waited >= stagedWait
	}
}

// staged refuses an export whose scenario is to be refused at first.
func (s *Server) staged(sub jobs.Submission) error {
	p := &problem{retryAfter: stagedWait}
	switch j := (jobs.Job{OrgID: sub.OrgID, Params: sub.Params}); j.Scenario() {
	case jobs.ScenarioRateLimit:
		p.status, p.message = http.StatusTooManyRequests, "too many requests, as the test scenario rate-limit asks for: the same request is taken after Retry-After"
	case jobs.ScenarioUnavailable:
		p.status, p.message = http.StatusServiceUnavailable, "temporarily unavailable, as the test scenario unavailable asks for: the same request is taken after Retry-After"
	default:
		return nil
	}
	if s.refused.pass(sub.Fingerprint(), s.now()) {
		return nil
	}
	return p
}
