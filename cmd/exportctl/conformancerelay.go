package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"exportd/api/client"
)

// relay stands between a program and the service while a case runs: it names the case's scenario in export
// requests, loses an answer or breaks a download off, and counts what the program does.
type relay struct {
	target      *url.URL
	key, secret string
	now         func() time.Time
	address     string // its own
	run         string // is in the Idempotency-Keys of a run, so that no other run's jobs answer

	mu     sync.Mutex
	trial  clientCase
	links  []string // to files, by number
	counts relayCounts
}

// relayCounts is what a program did in a case.
type relayCounts struct {
	exports           int  // requests for an export
	begun, whole      int  // downloads
	lost              bool // an answer was
	refusedAt, nextAt time.Time
	retryAfter        time.Duration // of the refusal
}

// begin begins a case.
func (r *relay) begin(c clientCase) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trial, r.links, r.counts = c, nil, relayCounts{}
}

func (r *relay) seen() relayCounts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

const linkPath = "/conformance-file/"

func (r *relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if number, ok := strings.CutPrefix(req.URL.Path, linkPath); ok {
		r.download(w, req, number)
		return
	}
	proxy := &httputil.ReverseProxy{Rewrite: r.rewrite, ModifyResponse: r.answer, FlushInterval: -1, ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
		panic(http.ErrAbortHandler) // the connection breaks, which net/http takes for what it is
	}}
	proxy.ServeHTTP(w, req)
}

func isExport(req *http.Request) bool {
	return req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/export")
}

// rewrite has a request go to the service. A signature of version 2 is of the host that was asked, so it is
// made anew; one of version 1 the service verifies as it came.
func (r *relay) rewrite(p *httputil.ProxyRequest) {
	p.SetURL(r.target)
	p.Out.Host = r.target.Host
	p.Out.Header.Del("Accept-Encoding") // answers are read
	r.mu.Lock()
	defer r.mu.Unlock()
	if isExport(p.In) {
		r.counts.exports++
		if !r.counts.refusedAt.IsZero() && r.counts.nextAt.IsZero() {
			r.counts.nextAt = r.now()
		}
		p.Out.Header.Set("Export-Test-Scenario", string(r.trial.scenario))
		if id := p.Out.Header.Get("Idempotency-Key"); id != "" {
			p.Out.Header.Set("Idempotency-Key", id[:min(len(id), 200)]+"-"+r.run+"-"+strings.ReplaceAll(r.trial.name, " ", "-"))
		} else if r.counts.exports == 1 {
			p.Out.Header.Set("Cache-Control", "no-cache")
		}
	}
	if p.Out.Header.Get("X-Signature-Version") == "2" && p.Out.ContentLength == 0 {
		client.SetSignature2(p.Out, nil, r.key, r.secret, r.now())
	}
}

var linkPattern = regexp.MustCompile(`"csvUrl":\s*("https?:[^"]*")`)

var errLost = errors.New("the case loses this answer")

// answer has links in an answer lead here.
func (r *relay) answer(resp *http.Response) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trial.loses && !r.counts.lost && isExport(resp.Request) {
		r.counts.lost = true
		return errLost
	}
	if refused := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable; refused && r.counts.refusedAt.IsZero() {
		r.counts.refusedAt = r.now()
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // none asks for no wait
		r.counts.retryAfter = time.Duration(seconds) * time.Second
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20)) // a page of rows has some MiB at most
	_ = resp.Body.Close()
	if err != nil {
		return err
	}
	body = linkPattern.ReplaceAllFunc(body, func(found []byte) []byte {
		var link string
		if json.Unmarshal(linkPattern.FindSubmatch(found)[1], &link) != nil {
			return found
		}
		r.links = append(r.links, link)
		return fmt.Appendf(nil, `"csvUrl":"%s%s%d"`, r.address, linkPath, len(r.links)-1)
	})
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
	return nil
}

// download passes a file on, or half of it where the case breaks the first download off.
func (r *relay) download(w http.ResponseWriter, req *http.Request, number string) {
	r.mu.Lock()
	var link string
	var i int
	if n, err := fmt.Sscan(number, &i); n == 1 && err == nil && i >= 0 && i < len(r.links) {
		link = r.links[i]
	}
	r.counts.begun++
	cut := r.trial.breaks && r.counts.begun == 1
	r.mu.Unlock()
	out, err := http.NewRequestWithContext(req.Context(), req.Method, link, nil)
	if err != nil || link == "" {
		http.NotFound(w, req)
		return
	}
	for _, name := range []string{"Range", "If-Match", "If-Range"} {
		if v := req.Header.Get(name); v != "" {
			out.Header.Set(name, v)
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		panic(http.ErrAbortHandler) // as in ServeHTTP
	}
	defer resp.Body.Close()
	for name, v := range resp.Header {
		w.Header()[name] = v
	}
	w.WriteHeader(resp.StatusCode)
	if cut {
		_, _ = io.CopyN(w, resp.Body, resp.ContentLength/2)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if _, err := io.Copy(w, resp.Body); err == nil && resp.StatusCode/100 == 2 {
		r.mu.Lock()
		r.counts.whole++
		r.mu.Unlock()
	}
}
