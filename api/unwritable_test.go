package api

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"exportd/jobs"
)

// unwritable is a store that can be read, and whose writes hang for as long as they may: Google's client
// tries on while Firestore answers that a quota is used up.
type unwritable struct{ *fakeJobs }

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (unwritable) Submit(ctx context.Context, _ jobs.Submission) (jobs.Submitted, error) {
	return jobs.Submitted{}, hangs(ctx)
}

func (unwritable) Update(ctx context.Context, _, _ string, _ func(*jobs.Tx) error) (*jobs.Job, error) {
	return nil, hangs(ctx)
}

func (unwritable) UpdateCallback(ctx context.Context, _, _ string, _ func(*jobs.CallbackTx) error) (*jobs.Callback, error) {
	return nil, hangs(ctx)
}

func (unwritable) CreateBatch(ctx context.Context, _ jobs.BatchRequest) (*jobs.Batch, error) {
	return nil, hangs(ctx)
}

func (unwritable) SetPaused(ctx context.Context, _ jobs.Queue, _ bool, _, _ string) error {
	return hangs(ctx)
}

// TestUnwritable: whoever asks for something that cannot be written now is told within ten seconds to come
// again, on whatever route. Exports were answered after 35 s.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	id := jobs.NewID()
	for _, tt := range []struct{ key, method, target, body string }{
		{"key_one1", http.MethodGet, usersExport, ""},
		{"key_one1", http.MethodPost, "/exports/" + id + "/cancel", ""},
		{"key_one1", http.MethodDelete, "/exports/" + id, ""},
		{"key_ops1", http.MethodPost, "/ops/jobs/" + id + "/rerun", `{"reason":"r"}`},
		{"key_ops1", http.MethodPost, "/ops/jobs/" + id + "/cancel", `{"reason":"r"}`},
		{"key_ops1", http.MethodPost, "/ops/jobs/" + id + "/callback/redeliver", `{"reason":"r"}`},
		{"key_ops1", http.MethodPost, "/ops/callbacks/redeliver", `{"reason":"r","filter":{"state":"gone"}}`},
		{"key_ops1", http.MethodPost, "/ops/jobs/rerun", `{"reason":"r","filter":{}}`},
		{"key_ops1", http.MethodPost, "/ops/queues/exports/pause", `{"reason":"r"}`},
	} {
		t.Run(tt.method+strings.ReplaceAll(tt.target, "/", " "), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(c *Config) {
					store := unwritable{c.Jobs.(*fakeJobs)}
					c.Jobs, c.Operations = store, store
				})
				b.jobs.set(jobs.Job{ID: id, Schema: jobs.SchemaVersion, State: jobs.Running})
				b.jobs.callbacks = []*jobs.Callback{{ID: "msg_" + id + "_failed_1", JobID: id, State: jobs.CallbackGone}}
				r := request(t, tt.key, tt.method, tt.target, "Prefer", "wait=20")
				if tt.body != "" {
					r.Body = io.NopCloser(strings.NewReader(tt.body))
					r.ContentLength = int64(len(tt.body))
					r.Header.Set("Content-Type", "application/json")
				}
				begun := time.Now()
				w := b.do(r)
				if took := time.Since(begun); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || took > quick {
					t.Errorf("answer = %d with Retry-After %q after %s: %.200s", w.Code, w.Header().Get("Retry-After"), took, w.Body)
				}
			})
		})
	}
}
