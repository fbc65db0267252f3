package api

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

// The operators' side of fakeJobs: batches in memory; what workers do with them is shown end to end.

func (f *fakeJobs) CreateBatch(_ context.Context, r jobs.BatchRequest) (*jobs.Batch, error) {
	b := jobs.NewBatch(r, noon)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches = append(f.batches, b)
	return b, cmp.Or(f.err, f.memory.Record(context.Background(), b.Audit(noon)))
}

func (f *fakeJobs) Batch(_ context.Context, id string) (*jobs.Batch, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.batches {
		if b.ID == id {
			return b, 7, nil
		}
	}
	return nil, 0, jobs.ErrNotFound
}

func (f *fakeJobs) BatchCallbacks(context.Context, *jobs.Batch) (jobs.CallbackOutcome, error) {
	return jobs.CallbackOutcome{Delivered: 4, UnderWay: 2, GivenUp: 1}, nil
}

func (f *fakeJobs) Batches(_ context.Context, limit int) ([]*jobs.Batch, error) {
	return f.batches[:min(limit, len(f.batches))], f.err
}

func (f *fakeJobs) Stats(context.Context) (jobs.Stats, error) {
	return jobs.Stats{States: map[jobs.State]int64{jobs.Queued: 3}, ErrorCodes: map[jobs.Code]int64{jobs.CodeMissingIndex: 2},
		OldestQueuedAt: noon.Add(-90e9), Workers: []string{"w1"}, Paused: f.paused,
		DeadLetters: map[jobs.Queue]jobs.DeadLetters{jobs.QueueParts: {Count: 1, Reason: "message is not JSON"}}}, f.err
}

func (f *fakeJobs) UpdateBatch(ctx context.Context, id string, fn func(*jobs.BatchTx) error) (*jobs.Batch, error) {
	b, _, err := f.Batch(ctx, id)
	if err != nil {
		return nil, err
	}
	changed := b.Copy()
	tx := jobs.NewBatchTx(noon, changed)
	if err := fn(tx); err != nil {
		return nil, err
	}
	*b = *changed
	return changed, f.memory.Record(ctx, tx.Audit)
}

func (f *fakeJobs) Causes(ctx context.Context, since time.Time, size int, token string) ([]*jobs.CauseNote, string, error) {
	page, next, err := f.memory.Causes(ctx, since, size, strings.Trim(token, "x")) // those of TestEdges are of any length
	return page, next, cmp.Or(f.err, err)
}

func (f *fakeJobs) Cause(ctx context.Context, id string) (*jobs.CauseNote, error) {
	n, err := f.memory.Cause(ctx, id)
	return n, cmp.Or(f.err, err)
}

func (f *fakeJobs) CauseCases(ctx context.Context, q jobs.CauseQuery) (jobs.CauseCases, error) {
	return f.memory.CauseCases(ctx, q)
}

func (f *fakeJobs) NoteProbe(ctx context.Context, id string, p jobs.Probe) error {
	return f.memory.NoteProbe(ctx, id, p)
}

func (f *fakeJobs) AuditEntries(ctx context.Context, l jobs.AuditList) ([]*jobs.AuditEntry, string, error) {
	l.PageToken = strings.Trim(l.PageToken, "x")
	page, next, err := f.memory.AuditEntries(ctx, l)
	return page, next, cmp.Or(f.err, err)
}

func (f *fakeJobs) Record(ctx context.Context, e *jobs.AuditEntry) error {
	return cmp.Or(f.err, f.memory.Record(ctx, e))
}

func (f *fakeJobs) Recorded(ctx context.Context, id string, count int64) error {
	return f.memory.Recorded(ctx, id, count)
}

func (f *fakeJobs) Rollups(_ context.Context, org string, from, to time.Time) (found []*jobs.Rollup, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rollupReads++
	for _, r := range f.rollups {
		if r.OrgID == org && !r.Hour.Before(from) && r.Hour.Before(to) {
			found = append(found, r)
		}
	}
	return jobs.MergeRollups(found), f.err
}

func (f *fakeJobs) TopRollups(_ context.Context, hour time.Time) (found []*jobs.Rollup, all bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.topReads++
	for _, r := range f.rollups {
		if r.OrgID != "" && r.Hour.Equal(hour) {
			found = append(found, r)
		}
	}
	return jobs.MergeRollups(found), !f.crowd, f.err
}

func (f *fakeJobs) SetPaused(_ context.Context, q jobs.Queue, paused bool, actor, reason string) error {
	f.paused = map[jobs.Queue]jobs.Pause{q: {Paused: paused, Actor: actor, Reason: reason, At: noon}}
	return f.err
}

func ops(t *testing.T, b *bench, method, target, body string) (int, map[string]any) {
	t.Helper()
	r := request(t, "key_ops1", method, target)
	if body != "" {
		r.Body = io.NopCloser(strings.NewReader(body))
		r.ContentLength = int64(len(body))
	}
	w := b.do(r)
	return w.Code, decode(t, w)
}

func TestRerunAllFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want []string // paths of the faults
	}{
		"nothing":        {`{}`, []string{"reason", "filter"}},
		"filter no map":  {`{"reason":"r","filter":"failed"}`, []string{"filter"}},
		"bad values":     {`{"reason":"r","filter":{"state":"lost","kind":"x","createdAfter":"yesterday","errorCode":"NO"}}`, []string{"filter.state", "filter.kind", "filter.errorCode", "filter.createdAfter"}},
		"unknown fields": {`{"reason":"r","filter":{"stat":"failed"},"dry":true}`, []string{"filter.stat", "dry"}},
		"bound of none":  {`{"reason":"r","filter":{},"maxJobs":10}`, []string{"maxJobs"}},
		"bad bound":      {`{"reason":"r","filter":{},"maxJobs":0,"dryRun":true}`, []string{"maxJobs"}},
		"bad rate":       {`{"reason":"r","filter":{},"maxPerSecond":0,"dryRun":"maybe","mode":"x"}`, []string{"mode", "maxPerSecond", "dryRun"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			code, got := ops(t, b, http.MethodPost, "/ops/jobs/rerun", test.body)
			if code != http.StatusUnprocessableEntity {
				t.Fatalf("rerun %s = %d %v, want 422", test.body, code, got)
			}
			var paths []string
			for _, f := range got["error"].([]any) {
				var parts []string
				for _, p := range f.(map[string]any)["path"].([]any) {
					parts = append(parts, p.(string))
				}
				paths = append(paths, strings.Join(parts, "."))
			}
			for _, want := range test.want {
				if !strings.Contains(strings.Join(paths, " ")+" ", want+" ") {
					t.Errorf("rerun %s: faults %v, want one at %s", test.body, paths, want)
				}
			}
			if len(paths) != len(test.want) || len(b.jobs.batches) != 0 {
				t.Errorf("rerun %s: faults %v, want %v and no batch", test.body, paths, test.want)
			}
		})
	}
}

func TestRerunAllDryRun(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := func(s jobs.State) *jobs.Job {
		j := &jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, State: s}
		if s.Ended() {
			j.FinishedAt = noon
		}
		return j
	}
	deleted := job(jobs.Failed)
	deleted.DeletedAt = noon
	b.jobs.page = jobs.JobPage{Jobs: []*jobs.Job{job(jobs.Failed), job(jobs.Canceled), job(jobs.Running), job(jobs.Running), deleted}}
	code, got := ops(t, b, http.MethodPost, "/ops/jobs/rerun", `{"reason":"index added","dryRun":true,"filter":{"errorCode":"MISSING_INDEX"}}`)
	if code != http.StatusOK || got["matched"] != 5.0 || got["eligible"] != 2.0 || got["complete"] != true {
		t.Fatalf("dry run = %d %v, want 5 matched, 2 eligible", code, got)
	}
	reasons := got["notEligible"].([]any)
	if len(reasons) != 2 || reasons[1].(map[string]any)["reason"] != "is running" || reasons[1].(map[string]any)["count"] != 2.0 {
		t.Errorf("dry run: not eligible %v", reasons)
	}
	if b.jobs.list.ErrorCode != jobs.CodeMissingIndex || len(b.jobs.batches) != 0 {
		t.Errorf("dry run listed by %+v and made %d batches", b.jobs.list, len(b.jobs.batches))
	}
	// Of many it looks at so many pages as it is told to; of a search at one at least.
	b.jobs.page.Next = "more"
	for body, want := range map[string]float64{
		`{"reason":"r","dryRun":true,"maxJobs":12,"filter":{}}`: 15, `{"reason":"r","dryRun":true,"maxJobs":12,"filter":{"text":"x"}}`: 5, `{"reason":"r","dryRun":true,"filter":{"text":"x"}}`: 5 * dryRunSearched,
	} {
		if code, got := ops(t, b, http.MethodPost, "/ops/jobs/rerun", body); code != http.StatusOK || got["matched"] != want || got["complete"] != false {
			t.Errorf("%s = %d %v, want %v", body, code, got, want)
		}
	}
}

func TestRerunAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	code, got := ops(t, b, http.MethodPost, "/ops/jobs/rerun", `{"reason":"index added","filter":{"state":"failed"},"maxPerSecond":50}`)
	if code != http.StatusAccepted || len(b.jobs.batches) != 1 {
		t.Fatalf("rerun = %d %v, want 202 and a batch", code, got)
	}
	if made := b.jobs.batches[0]; made.Reason != "index added" || made.Actor != "api key key_ops1" || made.MaxPerSecond != 50 || made.Mode != jobs.RerunResume || made.Filter.State != jobs.Failed {
		t.Errorf("batch = %+v", made)
	}
	code, got = ops(t, b, http.MethodGet, got["statusUrl"].(string), "")
	if code != http.StatusOK || got["rerun"] != 7.0 || got["state"] != "running" {
		t.Errorf("batch = %d %v", code, got)
	}
	if code, _ = ops(t, b, http.MethodGet, "/ops/batches/"+jobs.NewID(), ""); code != http.StatusNotFound {
		t.Errorf("unknown batch = %d, want 404", code)
	}
	if code, got = ops(t, b, http.MethodGet, "/ops/batches", ""); code != http.StatusOK || len(got["batches"].([]any)) != 1 {
		t.Errorf("batches = %d %v", code, got)
	}
}

func TestStatsAndPause(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if code, got := ops(t, b, http.MethodPost, "/ops/queues/exports/pause", `{}`); code != http.StatusUnprocessableEntity {
		t.Errorf("pause without a reason = %d %v, want 422", code, got)
	}
	if code, _ := ops(t, b, http.MethodPost, "/ops/queues/parts/pause", `{"reason":"r"}`); code != http.StatusNotFound {
		t.Errorf("pause of an inner queue = %d, want 404", code)
	}
	if code, _ := ops(t, b, http.MethodPost, "/ops/queues/exports/pause", `{"reason":"deploy"}`); code != http.StatusOK {
		t.Errorf("pause = %d, want 200", code)
	}
	code, got := ops(t, b, http.MethodGet, "/ops/stats", "")
	if code != http.StatusOK {
		t.Fatalf("stats = %d %v", code, got)
	}
	exports := got["queues"].(map[string]any)["exports"].(map[string]any)
	if exports["paused"] != true || exports["reason"] != "deploy" || got["queue"].(map[string]any)["oldestAgeSeconds"] != 90.0 || got["workersAlive"] != 1.0 {
		t.Errorf("stats = %v", got)
	}
}
