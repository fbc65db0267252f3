package jobstest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"exportd/jobs"
)

var submitCases = []storeCase{
	{"equal requests share a job that is alive", jobs.Limits{}, submitShares},
	{"equal requests share a success for a while", jobs.Limits{}, submitReusesSuccess},
	{"equal requests side by side make one job", jobs.Limits{}, submitSideBySide},
	{"a job that is not to be given is not", jobs.Limits{}, submitNot},
	{"a rerun with other parameters is written down with its job", jobs.Limits{}, rerunWith},
	{"an idempotency key gives its job for a day", jobs.Limits{}, idempotencyKey},
	{"an idempotency key of a shared job gives it as well", jobs.Limits{}, idempotencyKeyOfShared},
	{"what a key gives of jobs that have ended", jobs.Limits{}, idempotencyKeyOfEnded},
	{"who waits longest is none whose pause is not over", jobs.Limits{}, waitingPause},
	{"nothing is compared with no file", jobs.Limits{}, submitSince},
	{"a full queue refuses and says what runs", jobs.Limits{QueuedJobs: 2, RunningJobs: 1}, queueLimit},
}

func submitShares(t *testing.T, b *bench) {
	first := b.submit(t, request("org1", 1))
	if first.Reused || first.Job.State != jobs.Queued || first.Job.WakeAt.IsZero() {
		t.Fatalf("first Submit = %+v", first.Job)
	}
	if again := b.submit(t, request("org1", 1)); !again.Reused || again.Job.ID != first.Job.ID {
		t.Error("an equal request did not attach to the job in flight")
	}
	if other := b.submit(t, request("org2", 1)); other.Reused {
		t.Error("another org's equal request was given the job")
	}
	fresh := request("org1", 1)
	fresh.Fresh = true
	if got := b.submit(t, fresh); got.Reused {
		t.Error("a request for a fresh job was given an old one")
	}
	b.update(t, b.submit(t, request("org1", 1)).Job.ID, cancel)
	if got := b.submit(t, request("org1", 1)); got.Reused {
		t.Error("a canceled job was reused")
	}
}

func submitReusesSuccess(t *testing.T, b *bench) {
	id := b.submit(t, request("org", 1)).Job.ID
	b.succeed(t, id)
	if got := b.submit(t, request("org", 1)); !got.Reused || got.Job.ID != id {
		t.Error("a fresh success was not reused")
	}
	b.Pass(b.ReuseFor() + time.Second)
	if got := b.submit(t, request("org", 1)); got.Reused {
		t.Error("an old success was reused")
	}
}

func submitSideBySide(t *testing.T, b *bench) {
	ids := make([]string, 8)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			got, err := b.Submit(context.Background(), request("org", 1))
			if err != nil {
				t.Errorf("Submit = %v", err)
				return
			}
			ids[i] = got.Job.ID
		})
	}
	all.Wait()
	if slices.Sort(ids); ids[0] != ids[len(ids)-1] {
		t.Errorf("8 equal requests made jobs %v, want one", slices.Compact(ids))
	}
}

func rerunWith(t *testing.T, b *bench) {
	of := b.submit(t, request("org1", 1)).Job
	s := request("org1", 2)
	s.Rerun = &jobs.RerunWith{Of: of.ID, Actor: "ann@example.com", Reason: "too many rows", Changes: "from=2026-11-01"}
	got := b.submit(t, s)
	stored, err := b.Get(t.Context(), got.Job.ID)
	if err != nil || got.Reused || got.Job.RerunOf != of.ID || stored.RerunOf != of.ID {
		t.Fatalf("Submit = %+v, want a new job that is a rerun of %s", got.Job, of.ID)
	}
	events, err := b.Events(t.Context(), got.Job.ID)
	if err != nil || len(events) != 1 || events[0].Type != jobs.EventRerun || events[0].Actor != "ann@example.com" || events[0].Reason != "too many rows" ||
		events[0].Message != "job "+of.ID+" with from=2026-11-01" {
		t.Errorf("Events = %+v, %v, want who ran which job again, and why", events, err)
	}
	entries, _, err := b.AuditEntries(t.Context(), jobs.AuditList{Target: of.ID})
	if err != nil || len(entries) != 1 || entries[0].Action != jobs.AuditRerunWith || entries[0].Actor != "ann@example.com" || entries[0].Reason != "too many rows" ||
		entries[0].Filter != "as "+got.Job.ID+" with from=2026-11-01" {
		t.Errorf("AuditEntries = %+v, %v, want the act", entries, err)
	}
	if again := b.submit(t, s); !again.Reused || again.Job.ID != got.Job.ID {
		t.Error("the same again made another job while this one is queued")
	}
	if entries, _, _ = b.AuditEntries(t.Context(), jobs.AuditList{Target: of.ID}); len(entries) != 1 {
		t.Errorf("an act that made no job left an entry: %+v", entries)
	}
}

func submitSince(t *testing.T, b *bench) {
	base := b.submit(t, request("org", 1)).Job
	s := request("org", 1)
	s.Params = s.Params.With(jobs.ParamSince, base.ID)
	if _, err := b.Submit(t.Context(), s); !errors.Is(err, jobs.ErrNoBase) {
		t.Errorf("Submit without a base = %v, want ErrNoBase", err)
	}
	s.Base = &jobs.Whole{Object: base.ObjectPrefix() + "1/f", Snapshot: b.Now()}
	made := b.submit(t, s).Job
	s.Base = nil
	if got := b.submit(t, s); !got.Reused || got.Job.ID != made.ID {
		t.Error("who is given a job was to bring what it was made of")
	}
	s.Except = made.ID
	if _, err := b.Submit(t.Context(), s); !errors.Is(err, jobs.ErrNoBase) {
		t.Errorf("Submit but for that job = %v, want ErrNoBase", err)
	}
}

func submitNot(t *testing.T, b *bench) {
	s := request("org", 1)
	s.IdempotencyKey = "k"
	id := b.submit(t, s).Job.ID
	b.succeed(t, id)
	s.Except = id
	if got := b.submit(t, s); got.Reused || got.Job.ID == id {
		t.Error("the job that was not to be given was given")
	}
}

func idempotencyKey(t *testing.T, b *bench) {
	s := request("org", 1)
	s.IdempotencyKey, s.Fresh = "k", true
	first := b.submit(t, s)
	if again := b.submit(t, s); !again.Reused || again.Job.ID != first.Job.ID {
		t.Error("the same key made a second job")
	}
	other := request("org", 2)
	other.IdempotencyKey = "k"
	if _, err := b.Find(t.Context(), other); !errors.Is(err, jobs.ErrIdempotencyMismatch) {
		t.Errorf("Find by the same key for another request = %v, want ErrIdempotencyMismatch", err)
	}
	if _, err := b.Submit(t.Context(), other); !errors.Is(err, jobs.ErrIdempotencyMismatch) {
		t.Errorf("the same key for another request = %v, want ErrIdempotencyMismatch", err)
	}
	elsewhere := request("org2", 2)
	elsewhere.IdempotencyKey = "k"
	if got := b.submit(t, elsewhere); got.Reused {
		t.Error("another org's key was taken for ours")
	}
	b.Pass(25 * time.Hour)
	if err := b.PurgePointers(t.Context(), b.Now()); err != nil {
		t.Errorf("PurgePointers = %v", err)
	}
	if got := b.submit(t, s); got.Job.ID == first.Job.ID {
		t.Error("a key was good for longer than 24 h")
	}
}

func idempotencyKeyOfShared(t *testing.T, b *bench) {
	id := b.submit(t, request("org", 1)).Job.ID
	s := request("org", 1)
	s.IdempotencyKey = "k"
	if got := b.submit(t, s); got.Job.ID != id {
		t.Fatal("an equal request with a key did not attach to the job in flight")
	}
	b.update(t, id, cancel)
	if got := b.submit(t, s); got.Job.ID != id || !got.Reused {
		t.Error("the key made a second job once its first had ended")
	}
	b.Pass(25 * time.Hour)
	if got := b.submit(t, s); got.Job.ID == id {
		t.Error("a key was good for longer than 24 h")
	}
}

// idempotencyKeyOfEnded: a key attaches to what is alive. What ended without a file is an answer to a key
// that somebody named, and none to one that a repeated request implies; of a job that was deleted, or whose
// file has expired, there is nothing left to give.
func idempotencyKeyOfEnded(t *testing.T, b *bench) {
	month := 0
	for _, tc := range []struct {
		name           string
		end            func(id string)
		implied, named bool // whether a second request gets the job of the first
	}{
		{"queued", func(string) {}, true, true},
		{"running", func(id string) { b.claim(t, id) }, true, true},
		{"succeeded", func(id string) { b.succeed(t, id) }, true, true},
		{"failed", func(id string) { b.fail(t, id) }, false, true},
		{"canceled", func(id string) { b.update(t, id, cancel) }, false, true},
		{"canceled and deleted", func(id string) { b.update(t, id, cancel); b.update(t, id, remove) }, false, false},
		{"succeeded and deleted", func(id string) { b.succeed(t, id); b.update(t, id, remove) }, false, false},
		{"its file at its end", func(id string) { b.succeed(t, id); b.Pass(policy().FileLife - time.Second) }, true, true},
		{"past its file's life", func(id string) { b.succeed(t, id); b.Pass(policy().FileLife) }, false, false},
	} {
		for _, implied := range []bool{true, false} {
			month++
			s := request("org", month)
			s.IdempotencyKey, s.Implied, s.Fresh = tc.name, implied, true
			if implied {
				s.IdempotencyKey = "\x00" + tc.name
			}
			first := b.submit(t, s).Job.ID
			tc.end(first)
			want := tc.named
			if implied {
				want = tc.implied
			}
			second := b.submit(t, s)
			if got := second.Job.ID == first; got != want || second.Reused != want {
				t.Errorf("%s, implied %t: the key gives the same job: %t, want %t", tc.name, implied, got, want)
			}
			if third := b.submit(t, s); third.Job.ID != second.Job.ID || !third.Reused {
				t.Errorf("%s, implied %t: the key was not given on to the new job", tc.name, implied)
			}
		}
	}
}

func waitingPause(t *testing.T, b *bench) {
	paused := b.job(t, "org", 1)
	l := b.claim(t, paused)
	b.update(t, paused, func(tx *jobs.Tx) error { return tx.EndAttempt(l, jobs.AsFailure(jobs.ErrUnavailable)) })
	if ids, err := b.Next(t.Context(), "org"); err != nil || len(ids) > 0 {
		t.Errorf("Next beside a pause = %q, %v, want none", ids, err)
	}
	b.Pass(time.Second)
	second := b.job(t, "org", 2)
	if ids, err := b.Next(t.Context(), "org"); err != nil || !slices.Equal(ids, []string{paused}) {
		t.Errorf("Next once the pause is over = %q, %v, want %s, not %s", ids, err, paused, second)
	}
}

func queueLimit(t *testing.T, b *bench) {
	running := b.submit(t, request("org", 1)).Job.ID
	b.claim(t, running)
	oldest := b.submit(t, request("org", 2)).Job.ID
	b.Pass(time.Second)
	second := b.submit(t, request("org", 3)).Job.ID
	b.submit(t, request("other", 4))
	_, err := b.Submit(t.Context(), request("org", 4))
	if full, ok := errors.AsType[*jobs.QueueFullError](err); !ok || full.Limit != 2 || !slices.Equal(full.RunningIDs, []string{running}) {
		t.Errorf("third queued job = %+v, want QueueFullError with the running job", err)
	}
	if ids, err := b.Next(t.Context(), "org"); err != nil || !slices.Equal(ids, []string{oldest}) {
		t.Errorf("Next = %s, %v, want %s", ids, err, oldest)
	}
	if r, q, err := b.Usage(t.Context(), "org"); err != nil || r != 1 || q != 2 {
		t.Errorf("Usage = %d running, %d queued, %v, want 1 and 2", r, q, err)
	}
	for most, want := range [][]string{{}, {running, oldest}, {running, oldest, second}} {
		run, wait, err := b.Unfinished(t.Context(), "org", most)
		got := []string{}
		for _, j := range slices.Concat(run, wait) {
			got = append(got, j.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Unfinished, %d of either at most = %v, %v, want %v", most, got, err, want)
		}
	}
}
