package worker_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"exportd/jobs"
)

// TestCallbackOfALostFile: a callback whose file is no longer in storage has no link to it: it says what the
// job's own page says, and the job says it from then on.
func TestCallbackOfALostFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, "127.0.0.1", func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 { // the file goes between two tries
			for o, err := range r.objects.List(context.Background(), "exports/") {
				if err == nil {
					err = r.objects.Delete(context.Background(), o.Name)
				}
				if err != nil {
					t.Error(err)
				}
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	r.work(t)
	id := r.submit(t, rc.URL)
	cb := r.callback(t, id, time.Minute, tried(1))
	r.clock.put(cb.NextAt)
	r.callback(t, id, time.Minute, inState(jobs.CallbackDelivered))
	got := rc.requests()
	var first, last event
	if err := json.Unmarshal(got[0].body, &first); err != nil || first.Data.CSVURL == nil || first.Data.State != "succeeded" {
		t.Errorf("the first attempt said %s, %v", got[0].body, err)
	}
	if err := json.Unmarshal(got[len(got)-1].body, &last); err != nil {
		t.Fatal(err)
	}
	if d := last.Data; d.CSVURL != nil || d.URLExpiresAt != nil || d.State != "expired" || d.Error["code"] != "FILE_LOST" || last.Type != "export.succeeded" || d.TotalCount == nil {
		t.Errorf("of a lost file the callback said %s", got[len(got)-1].body)
	}
	if j, err := r.store.Get(t.Context(), id); err != nil || j.State != jobs.Expired || j.Error == nil || j.Error.Code != jobs.CodeFileLost {
		t.Errorf("the job is %+v, %v", j, err)
	}
}
