package console_test

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/console"
	"exportd/jobs"
)

// events are what a stream tells.
type events struct {
	t    *testing.T
	body *bufio.Scanner
	end  func() error
}

func (p *person) follow(t *testing.T, of string) *events {
	t.Helper()
	r := p.request(http.MethodGet, "/console/live?of="+of, nil)
	r.Header.Set("User-Agent", p.agent)
	w, err := p.client.Do(r.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if w.StatusCode != http.StatusOK {
		t.Fatalf("stream of %s = %d", of, w.StatusCode)
	}
	s := bufio.NewScanner(w.Body)
	s.Buffer(nil, 1<<20)
	return &events{t, s, w.Body.Close}
}

// next is the next event, and what it has.
func (e *events) next() (name, data string) {
	e.t.Helper()
	for e.body.Scan() {
		line := e.body.Text()
		switch {
		case strings.HasPrefix(line, "event: "):
			name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data += line[len("data: "):] + "\n"
		case line == "" && name != "":
			return name, data
		}
	}
	e.t.Fatalf("the stream has ended: %v", e.body.Err())
	return "", ""
}

// Pages that show the same are told by one look, and what ends for one of them does not for the others.
func TestStreams(t *testing.T) {
	t.Parallel()
	d := open(t)
	j := d.planned("org1", 2, "x")
	p, q := d.signedIn("key_operator"), d.signedIn("key_reading_operator")
	one, two := p.follow(t, "/console/jobs/"+j.ID), q.follow(t, "/console/jobs/"+j.ID)
	for _, e := range []*events{one, two} {
		if name, data := e.next(); name != "page" || !strings.Contains(data, "0 of 200 rows") || strings.Contains(data, "<html") {
			t.Errorf("the stream begins with %s %s", name, data)
		}
	}
	d.transit(j.ID, func(tx *jobs.Tx) error { return tx.Cancel("enough") })
	for _, e := range []*events{one, two} {
		if name, data := e.next(); name != "page" || !strings.Contains(data, "canceled") {
			t.Errorf("after the job was canceled comes %s %s", name, data)
		}
		if name, _ := e.next(); name != "over" {
			t.Errorf("then comes %s", name)
		}
		_ = e.end()
	}
	// The overview does not end; whoever may not look any more does.
	three := p.follow(t, "/console")
	if name, data := three.next(); name != "page" || !strings.Contains(data, "Largest orgs") {
		t.Errorf("the overview begins with %s %s", name, data)
	}
	d.console.Stop()
	if three.body.Scan() && three.body.Text() != "" {
		t.Errorf("after the stop comes %q", three.body.Text())
	}
	_ = three.end()
}

// What the API cannot tell at present ends no stream: the page is as it was, until the API tells it again.
func TestStreamOutlastsOutage(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusInternalServerError} {
		d := open(t)
		j := d.planned("org1", 2, "x")
		e := d.signedIn("key_operator").follow(t, "/console/jobs/"+j.ID)
		e.next()
		d.fails(status)
		d.transit(j.ID, func(tx *jobs.Tx) error { return tx.Cancel("enough") })
		d.fails(status) // one more look, which finds nothing
		d.fails(0)
		if name, data := e.next(); name != "page" || !strings.Contains(data, "canceled") {
			t.Errorf("after an outage with %d comes %s %s", status, name, data)
		}
		_ = e.end()
	}
}

// Who is out is told so by the stream.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	d := open(t)
	j := d.planned("org1", 2, "x")
	p := d.signedIn("key_operator")
	e := p.follow(t, "/console/jobs/"+j.ID)
	e.next()
	d.change("key_operator", func(k *apikey.Key) { k.State = apikey.Disabled })
	d.transit(j.ID, func(tx *jobs.Tx) error { return tx.Cancel("enough") })
	if name, data := e.next(); name != "out" && name != "over" || strings.Contains(data, "canceled") {
		t.Errorf("who is out is told %s %s", name, data)
	}
	_ = e.end()
	// A browser tells a page nothing of a stream that is refused.
	r := p.request(http.MethodGet, "/console/live?of=/console", nil)
	r.Header.Set("Accept", "text/event-stream")
	if a := p.do(r); a.status != http.StatusOK || a.body != "event: out\ndata: out\n\n" {
		t.Errorf("a stream of who is out = %d %q", a.status, a.body)
	}
}

// tellSessions has whoever watches a session look whether it has ended. Its caller holds mu.
func (d *desk) tellSessions() {
	for changed := range d.watched {
		(*changed)()
	}
}

func (d *desk) WatchSession(ctx context.Context, _, _ string, changed func()) error {
	d.mu.Lock()
	d.watched[&changed] = true
	d.mu.Unlock()
	changed()
	<-ctx.Done()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.watched, &changed)
	return ctx.Err()
}

// TestStreamEndsWithSession: who signs out, whose key is revoked or whose time is over is out of an open page
// at once, also where nothing changes on it. What others have open goes on.
func TestStreamEndsWithSession(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(d *desk, p *person){
		"signed out": func(_ *desk, p *person) { p.post("/console/sign-out", url.Values{"csrf": {p.token()}}) },
		"revoked":    func(d *desk, _ *person) { d.change("key_operator", func(k *apikey.Key) { k.State = apikey.Disabled }) },
		"over":       func(d *desk, _ *person) { d.pass(8 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := open(t, func(_ *desk, c *console.Config) { c.AliveEvery = time.Hour })
			j := d.planned("org1", 2, "x")
			p, q := d.signedIn("key_operator"), d.signedIn("key_viewer")
			one, two := p.follow(t, "/console/jobs/"+j.ID), q.follow(t, "/console/jobs/"+j.ID)
			one.next()
			two.next()
			end(d, p)
			for { // the page may be told once more before
				if got, _ := one.next(); got == "out" {
					break
				}
			}
			if name != "over" {
				d.transit(j.ID, func(tx *jobs.Tx) error { return tx.Cancel("enough") })
				if got, data := two.next(); got != "page" || !strings.Contains(data, "canceled") {
					t.Errorf("another's page is told %s %s", got, data)
				}
			}
			_, _ = one.end(), two.end()
		})
	}
}

// There are streams of what changes alone, and no more of them than there are places.
func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	d := open(t)
	p := d.signedIn("key_operator")
	for _, of := range []string{"/console/act?do=pause%26queue=exports", "/console/sign-in", "/console/jobs", "/console/jobs/a/b"} {
		if got := p.streams("/console/live?of=" + of); got != http.StatusNotFound {
			t.Errorf("a stream of %s = %d", of, got)
		}
	}
	var all []*events
	for range 128 {
		e := p.follow(t, "/console")
		e.next()
		all = append(all, e)
	}
	if got := p.streams("/console/live?of=/console"); got != http.StatusServiceUnavailable {
		t.Errorf("the stream after the last = %d", got)
	}
	if a := p.get("/console"); a.status != http.StatusOK {
		t.Errorf("a page beside them = %d", a.status)
	}
	for _, e := range all {
		_ = e.end()
	}
}
