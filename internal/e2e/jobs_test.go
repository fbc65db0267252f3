package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"exportd/internal/demo"
	"exportd/internal/e2e/e2etest"
)

// jobWithin is far more than any job here takes.
const jobWithin = 4 * time.Minute

// waitingAndPolling: an export that is not waited for, polled to its end.
func waitingAndPolling(t *testing.T, s *e2etest.Stack) {
	c := s.Caller()
	r := c.Get(t, "/vip-messages/export", s.Messages("contentType", "postback"), "Prefer", "respond-async", "Cache-Control", "no-cache").Want(t, http.StatusAccepted)
	var body map[string]any
	r.JSON(t, &body)
	for _, absent := range []string{"totalCount", "csvUrl"} {
		if _, ok := body[absent]; ok {
			t.Errorf("a 202 has %s", absent)
		}
	}
	if r.Header.Get("Retry-After") == "" || r.Header.Get("Preference-Applied") != "respond-async" {
		t.Errorf("Retry-After %q, Preference-Applied %q", r.Header.Get("Retry-After"), r.Header.Get("Preference-Applied"))
	}
	location := r.Header.Get("Location")
	id, _ := body["jobId"].(string)
	if location != "/exports/"+id || body["statusUrl"] != location {
		t.Errorf("Location %q, statusUrl %v, jobId %q", location, body["statusUrl"], id)
	}
	early := c.Get(t, location+"/csv", nil)
	if early.Status != http.StatusConflict && early.Status != http.StatusFound {
		t.Errorf("csv of a job that has just begun: %d", early.Status)
	}
	// Polling as a caller without long-poll does it; percent never goes back.
	var last e2etest.Job
	e2etest.Until(t, jobWithin, "the job to end", func() bool {
		j := c.Job(t, id, "")
		if j.Progress.Percent < last.Progress.Percent || j.Progress.RowsDone < last.Progress.RowsDone {
			t.Errorf("progress went back from %+v to %+v", last.Progress, j.Progress)
		}
		last = j
		return j.Ended()
	})
	if last.State != "succeeded" || last.Progress.Percent != 100 || last.SnapshotTime == nil || last.CRC32C == nil || *last.Progress.RowsTotal != *last.TotalCount {
		t.Errorf("job = %+v", last)
	}

	// A long-poll ends with the job, and one on an ended job at once.
	id = c.Submit(t, "vip-users", s.Users("hasBirthday", "true"), "Cache-Control", "no-cache")
	begun := time.Now()
	for j := c.Job(t, id, "25"); !j.Ended(); j = c.Job(t, id, "25") { // on a busy machine another one
		if waited := time.Since(begun); waited < 25*time.Second {
			t.Fatalf("a long-poll of 25 s came back after %s with a job that is %s", waited, j.State)
		}
		begun = time.Now()
	}
	begun = time.Now()
	c.Job(t, id, "25")
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("a long-poll of an ended job took %s", took)
	}

	// "Repeat the GET until 200" is a correct client.
	var done e2etest.Response
	e2etest.Until(t, jobWithin, "a 200", func() bool {
		done = c.Get(t, "/vip-messages/export", s.Messages("contentType", "attachment"), "Prefer", "wait=0")
		return done.Status == http.StatusOK
	})
	if !strings.HasPrefix(done.Header.Get("Content-Location"), "/exports/") {
		t.Errorf("Content-Location = %q", done.Header.Get("Content-Location"))
	}
}

// attaching: the same request again is the same job, until a new one is asked for.
func attaching(t *testing.T, s *e2etest.Stack) {
	c := s.Caller()
	query := s.Messages("label", demo.EdgeLabel, "contentType", "text")
	first := c.Submit(t, "vip-messages", query, "Cache-Control", "no-cache")
	if again := c.Submit(t, "vip-messages", query); again != first {
		t.Errorf("the same request gave job %s, then %s", first, again)
	}
	// Equal after normalisation: other spelling, same instants.
	same := s.Messages("label", demo.EdgeLabel, "contentType", "text", "from", s.From+"T00:00:00Z", "profile", "rfc4180", "formulaGuard", "on")
	if again := c.Submit(t, "vip-messages", same); again != first {
		t.Errorf("the same request in other words gave job %s, want %s", again, first)
	}
	c.Await(t, first, jobWithin)
	reused := c.Get(t, "/vip-messages/export", query).Want(t, http.StatusOK)
	if reused.Header.Get("Content-Location") != "/exports/"+first || reused.Header.Get("Age") == "" || reused.Header.Get("Cache-Control") != "private, max-age=60" {
		t.Errorf("a reused result: %v, want that of job %s", reused.Header, first)
	}
	fresh := c.Submit(t, "vip-messages", query, "Cache-Control", "no-cache")
	other := c.Submit(t, "vip-messages", s.Messages("label", demo.EdgeLabel, "contentType", "text", "formulaGuard", "off"))
	if fresh == first || other == first || other == fresh {
		t.Errorf("jobs %s, %s (no-cache) and %s (other parameters) must be three", first, fresh, other)
	}
	for _, id := range []string{fresh, other} {
		c.Await(t, id, jobWithin)
	}
	want := map[string]bool{first: true, fresh: true, other: true}
	for _, j := range allJobs(t, c) {
		delete(want, j.JobID)
	}
	if len(want) > 0 {
		t.Errorf("the list of jobs lacks %v", want)
	}
}

// allJobs pages through the org's jobs, newest first.
func allJobs(t *testing.T, c *e2etest.Client) []e2etest.Job {
	t.Helper()
	var all []e2etest.Job
	query := url.Values{"pageSize": {"3"}}
	for {
		var page struct {
			Jobs          []e2etest.Job
			NextPageToken *string
		}
		c.Get(t, "/exports", query).Want(t, http.StatusOK).JSON(t, &page)
		for _, j := range page.Jobs {
			if n := len(all); n > 0 && j.CreatedAt.After(*all[n-1].CreatedAt) {
				t.Errorf("job %s of %s comes after %s", j.JobID, j.CreatedAt, all[n-1].CreatedAt)
			}
			all = append(all, j)
		}
		if page.NextPageToken == nil {
			return all
		}
		query.Set("pageToken", *page.NextPageToken)
	}
}
