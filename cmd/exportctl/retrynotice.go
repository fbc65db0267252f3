package main

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// answerWithin is how long the service may take to begin an answer: it holds requests for up to 25 s and ends
// them after 35.
const answerWithin = 45 * time.Second

// tellEvery is how often one is told of the same outage.
const tellEvery = 10 * time.Second

// retryNotice tells why a request is sent again: who sees nothing happen thinks that the program hangs.
type retryNotice struct {
	next http.RoundTripper
	tell func(format string, args ...any)

	mu   sync.Mutex
	why  string // of the last request, "" if it went well
	hint string // what to do about it, after a full stop
	path string
	told time.Time
}

func (p *retryNotice) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	if p.why != "" && p.path == r.URL.Path && time.Since(p.told) > tellEvery {
		p.told = time.Now()
		p.tell("%s: trying again%s", p.why, p.hint)
	}
	p.mu.Unlock()
	response, err := p.next.RoundTrip(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.path, p.why, p.hint = r.URL.Path, "", ""
	switch {
	case r.Context().Err() != nil:
	case err != nil:
		p.why, p.hint = "no answer ("+cause(err)+")", ". "+unreachableHint
	case response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= http.StatusInternalServerError:
		p.why = fmt.Sprintf("answer %d", response.StatusCode)
	}
	return response, err
}
