package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"exportd/jobs"
)

// TestLostFile: a file that is not in storage is told everywhere, with its code, and answers no equal
// request; the job says so for good.
func TestLostFile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.jobs.set(withFile())
	b.objects.lost = map[string]bool{j.Result.Object: true}
	w := b.get(t, "/exports/"+j.ID+"/csv")
	wantStatus(t, w, http.StatusGone)
	if body := decode(t, w); body["code"] != "FILE_LOST" || body["retryable"] != true {
		t.Errorf("body = %v", body)
	}
	w = b.get(t, "/exports/"+j.ID)
	wantStatus(t, w, http.StatusOK)
	body := decode(t, w)
	failure, _ := body["error"].(map[string]any)
	if body["state"] != "expired" || body["csvUrl"] != nil || failure["code"] != "FILE_LOST" {
		t.Errorf("job = %v", body)
	}
	if noted, err := b.jobs.Get(t.Context(), j.ID); err != nil || noted.State != jobs.Expired || noted.Error.Code != jobs.CodeFileLost {
		t.Errorf("stored job = %+v, %v", noted, err)
	}
	if b.objects.looks != 1 {
		t.Errorf("%d looks into storage for a file that is noted as lost, want 1", b.objects.looks)
	}
}

// TestLostFileIsNotShared: the request that finds the file lost gets a job of its own.
func TestLostFileIsNotShared(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := b.jobs.set(withFile())
	b.jobs.attach = j
	b.objects.lost = map[string]bool{j.Result.Object: true}
	wantStatus(t, b.get(t, usersExport, "Prefer", "respond-async"), http.StatusAccepted)
	if n := len(b.jobs.submitted); n != 2 || b.jobs.submitted[0].Except != "" || b.jobs.submitted[1].Except != j.ID {
		t.Errorf("submitted = %+v, want again without job %s", b.jobs.submitted, j.ID)
	}
}

// TestFileIsLookedForSeldom: polls do not each ask storage, and without an answer links are handed out as
// they were.
func TestFileIsLookedForSeldom(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err   error
		state string
		looks int
	}{
		"there":     {nil, "succeeded", 1},
		"outage":    {fmt.Errorf("storage: %w", jobs.ErrUnavailable), "succeeded", 1},
		"hangs":     {context.DeadlineExceeded, "succeeded", 1},
		"no bucket": {errors.Join(jobs.ErrNoBucket), "expired", 5}, // and nothing is noted: the name may be wrong
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			j := b.jobs.set(withFile())
			b.objects.away = tc.err
			for range 5 {
				w := b.get(t, "/exports/"+j.ID)
				wantStatus(t, w, http.StatusOK)
				if body := decode(t, w); body["state"] != tc.state || (body["csvUrl"] != nil) != (tc.state == "succeeded") {
					t.Fatalf("job = %v", body)
				}
			}
			if b.objects.looks != tc.looks {
				t.Errorf("%d looks into storage, want %d", b.objects.looks, tc.looks)
			}
			if noted, _ := b.jobs.Get(t.Context(), j.ID); noted.State != jobs.Succeeded {
				t.Errorf("the stored job is %s", noted.State)
			}
		})
	}
}

// withFile is a succeeded job whose object is its own.
func withFile() jobs.Job {
	j := succeeded()
	j.Result.Object = j.ObjectPrefix() + "1/users.csv"
	return j
}
