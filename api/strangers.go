package api

import (
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// strangers bounds the log lines of requests that were refused before anybody was known to have sent them:
// nobody without a key decides how much is written.
type strangers struct {
	lines   *rate.Limiter
	dropped atomic.Int64
}

// Lines of refused strangers a second, and at once: enough to see who tries what, at most 30 KiB a second.
const (
	strangerLines = 20
	strangerBurst = 100
)

func newStrangers() *strangers {
	return &strangers{lines: rate.NewLimiter(strangerLines, strangerBurst)}
}

// take says whether a request's line may be written, and how many were not since the last one.
func (s *strangers) take(o *observation, status int, now time.Time) (dropped int64, ok bool) {
	if o.keyID != "" || status < http.StatusBadRequest || status >= http.StatusInternalServerError {
		return 0, true
	}
	if !s.lines.AllowN(now, 1) {
		s.dropped.Add(1)
		return 0, false
	}
	return s.dropped.Swap(0), true
}
