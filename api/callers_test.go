package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/records"
	"exportd/jobs"
)

// TestRootLeadsToDocs: who knows the address alone, or writes a folder's slash, finds what this is.
func TestRootLeadsToDocs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, path := range []string{"/", "/docs/"} {
		w := b.do(request(t, "", http.MethodGet, path))
		if wantStatus(t, w, http.StatusTemporaryRedirect); w.Header().Get("Location") != "/docs" {
			t.Errorf("%s leads to %q", path, w.Header().Get("Location"))
		}
	}
}

// TestPageTokenIsOfItsList: a token with other filters than those of the page before is refused, and said so;
// the size of pages may change, and a token of a build before is taken.
func TestPageTokenIsOfItsList(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.jobs.page = jobs.JobPage{Jobs: []*jobs.Job{new(succeeded())}, Next: "own"}
	token, _ := decode(t, b.get(t, "/exports?state=failed&kind=vip-users"))["nextPageToken"].(string)
	for query, status := range map[string]int{
		"state=failed&kind=vip-users&pageSize=7":  http.StatusOK,
		"state=failed&kind=vip-users":             http.StatusOK,
		"state=failed":                            http.StatusUnprocessableEntity,
		"state=failed&kind=vip-messages":          http.StatusUnprocessableEntity,
		"state=queued&kind=vip-users&pageSize=20": http.StatusUnprocessableEntity,
		"": http.StatusUnprocessableEntity,
	} {
		b.jobs.list.PageToken = ""
		w := b.get(t, "/exports?"+query+"&pageToken="+token)
		if w.Code != status || status == http.StatusOK && b.jobs.list.PageToken != "own" || status != http.StatusOK && !strings.Contains(w.Body.String(), "other filters") {
			t.Errorf("%q: %d, token %q, %s", query, w.Code, b.jobs.list.PageToken, w.Body)
		}
	}
	if w := b.do(request(t, "key_two2", http.MethodGet, "/exports?state=failed&kind=vip-users&pageToken="+token)); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("another org's token: %d", w.Code)
	}
	if w := b.get(t, "/exports?pageToken=own"); w.Code != http.StatusOK || b.jobs.list.PageToken != "own" {
		t.Errorf("a token without a scope: %d, %q", w.Code, b.jobs.list.PageToken)
	}
}

// TestDeletedWhileWaiting: whoever waits for a job that somebody deletes is told so, and led to nothing that
// is not there.
func TestDeletedWhileWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.DefaultWait = 10 * time.Second })
		b.jobs.attach = b.jobs.set(jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Queued, Kind: "vip-users"})
		gone := *b.jobs.attach
		gone.State, gone.DeletedAt = jobs.Canceled, noon
		time.AfterFunc(time.Second, func() { b.jobs.set(gone) })
		w := b.get(t, usersExport)
		wantStatus(t, w, http.StatusConflict)
		if w.Header().Get("Location") != "" || decode(t, w)["message"] != "the export was deleted" {
			t.Errorf("Location %q, %s", w.Header().Get("Location"), w.Body)
		}
	})
}

// TestNoSuccessWithoutLink: from the second in which a link could no longer live to the end of its second, a
// job is expired for its callers, whether that has been noted or not, and answers no request.
func TestNoSuccessWithoutLink(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]string{
		time.Hour: "succeeded", time.Second: "succeeded", time.Second - time.Microsecond: "expired", 0: "expired", -time.Hour: "expired",
	} {
		b := newBench(t)
		j := withFile()
		j.FileExpiresAt = noon.Add(left)
		b.jobs.attach = b.jobs.set(j)
		body := decode(t, b.get(t, "/exports/"+j.ID))
		if body["state"] != want || (body["csvUrl"] != nil) != (want == "succeeded") || body["error"] != nil {
			t.Errorf("%s left: %v with csvUrl %v, error %v", left, body["state"], body["csvUrl"], body["error"])
		}
		status := map[string]int{"succeeded": http.StatusFound, "expired": http.StatusGone}[want]
		wantStatus(t, b.get(t, "/exports/"+j.ID+"/csv"), status)
		status = map[string]int{"succeeded": http.StatusOK, "expired": http.StatusAccepted}[want]
		wantStatus(t, b.get(t, usersExport), status)
	}
}

// TestFailuresSayNoMore: a 500 has the members that the contract names, whatever is behind it.
func TestFailuresSayNoMore(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"failed": "code message retryable", "no reason": "message", "storage": "message"} {
		b := newBench(t)
		j := jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Failed}
		switch name {
		case "failed":
			j.Error = &jobs.JobError{Code: jobs.CodeCountMismatch, Message: "why", Remedy: "for operators", What: "what", CauseID: "cause", Part: new(7)}
		case "storage":
			j = withFile()
			b.objects.err = http.ErrAbortHandler
		}
		b.jobs.attach = b.jobs.set(j)
		w := b.get(t, usersExport)
		wantStatus(t, w, http.StatusInternalServerError)
		if got := strings.Join(slices.Sorted(maps.Keys(decode(t, w))), " "); got != want {
			t.Errorf("%s: members %s, want %s", name, got, want)
		}
	}
}

// TestLabelsCanBeAskedFor: what the overview counts, the drill-down takes.
func TestLabelsCanBeAskedFor(t *testing.T) {
	t.Parallel()
	if records.LabelRunes != maxText {
		t.Errorf("labels have up to %d characters, parameters %d", records.LabelRunes, maxText)
	}
}
