package jobstest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"exportd/jobs"
)

var readCases = []storeCase{
	{"lists by every combination of filters, page by page", jobs.Limits{}, lists},
	{"lists what was made in the same instant, each once", jobs.Limits{}, listsTies},
	{"lists what was deleted only when asked", jobs.Limits{}, listsDeleted},
	{"a watch tells how the job is and of its end", jobs.Limits{}, watches},
	{"a watch tells that the job is gone", jobs.Limits{}, watchesPurge},
	{"progress adds up parts and never goes back", jobs.Limits{}, progress},
}

// pages gives the ids of all pages of a list.
func (b *bench) pages(t *testing.T, l jobs.List) (ids []string) {
	t.Helper()
	for {
		page, err := b.List(t.Context(), l)
		if err != nil {
			t.Fatalf("List(%+v) = %v", l, err)
		}
		for _, j := range page.Jobs {
			ids = append(ids, j.ID)
		}
		if l.PageToken = page.Next; page.Next == "" {
			return ids
		}
		if len(page.Jobs) == 0 || len(page.Jobs) > l.PageSize {
			t.Fatalf("a page of %d has %d jobs", l.PageSize, len(page.Jobs))
		}
	}
}

func lists(t *testing.T, b *bench) {
	var want []string
	for i := range 7 {
		want = append(want, b.job(t, "org", i+1))
		b.Pass(time.Second)
	}
	slices.Reverse(want)
	b.job(t, "other", 1)
	for mask := range 1 << 5 {
		l := jobs.List{OrgID: "org", PageSize: 3}
		for i, set := range []func(){
			func() { l.State = jobs.Queued }, func() { l.Kind = "vip-users" }, func() { l.WorkspaceID = "w" },
			func() { l.CreatedAfter, l.CreatedBefore = b.Now().Add(-time.Hour), b.Now().Add(time.Hour) },
			func() { l.ErrorCode = jobs.CodeInternal },
		} {
			if mask>>i&1 == 1 {
				set()
			}
		}
		got := b.pages(t, l)
		if l.ErrorCode == "" && !slices.Equal(got, want) || l.ErrorCode != "" && len(got) > 0 {
			t.Errorf("List(%+v) = %v, want %v", l, got, want)
		}
	}
	for name, l := range map[string]jobs.List{"another state": {State: jobs.Running}, "another kind": {Kind: "vip-messages"}, "another workspace": {WorkspaceID: "w2"},
		"later": {CreatedAfter: b.Now().Add(time.Second)}, "earlier": {CreatedBefore: b.Now().Add(-time.Hour)}} {
		if got := b.pages(t, l); len(got) > 0 {
			t.Errorf("%s has %d jobs", name, len(got))
		}
	}
	if _, err := b.List(t.Context(), jobs.List{PageToken: "nonsense"}); !errors.Is(err, jobs.ErrInvalid) {
		t.Errorf("List with a made-up token = %v, want ErrInvalid", err)
	}
}

func listsTies(t *testing.T, b *bench) {
	var want []string
	for i := range 9 {
		want = append(want, b.job(t, "org", i+1))
	}
	got := b.pages(t, jobs.List{PageSize: 2})
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("pages gave %d jobs, want each of %d once", len(got), len(want))
	}
}

func listsDeleted(t *testing.T, b *bench) {
	kept, gone := b.job(t, "org", 1), b.job(t, "org", 2)
	b.update(t, gone, remove)
	if got := b.pages(t, jobs.List{PageSize: 5}); !slices.Equal(got, []string{kept}) {
		t.Errorf("List = %v, want %s alone", got, kept)
	}
	if got := b.pages(t, jobs.List{PageSize: 5, IncludeDeleted: true}); len(got) != 2 {
		t.Errorf("List with the deleted = %v", got)
	}
}

func watches(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	states, done := make(chan jobs.State, 8), make(chan error, 1)
	go func() {
		done <- b.Watch(context.Background(), id, func(j *jobs.Job) bool { states <- j.State; return j.State.Ended() })
	}()
	next := func(want jobs.State) {
		t.Helper()
		if s := <-states; s != want {
			t.Errorf("the watch tells %s, want %s", s, want)
		}
	}
	next(jobs.Queued)
	l := b.claim(t, id)
	next(jobs.Running)
	b.update(t, id, func(tx *jobs.Tx) error {
		return tx.EndAttempt(l, jobs.Fail(jobs.CodeInternal, jobs.Permanent, "", "", nil))
	})
	next(jobs.Failed)
	if err := <-done; err != nil {
		t.Errorf("Watch = %v", err)
	}
	if err := b.Watch(t.Context(), jobs.NewID(), func(*jobs.Job) bool { return true }); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("Watch of an unknown job = %v, want ErrNotFound", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	err := b.Watch(ctx, id, func(*jobs.Job) bool { cancel(errTest); return false })
	if !errors.Is(err, errTest) {
		t.Errorf("Watch whose context ended = %v, want the cause", err)
	}
}

func watchesPurge(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	b.update(t, id, cancel)
	b.Pass(policy().RecordLife)
	seen, done := make(chan bool, 8), make(chan error, 1)
	go func() {
		done <- b.Watch(context.Background(), id, func(*jobs.Job) bool { seen <- true; return false })
	}()
	<-seen
	if err := b.Purge(t.Context(), []*jobs.Job{{ID: id}}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("Watch of a job that was purged = %v, want ErrNotFound", err)
	}
}

func progress(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	j := b.plan(t, id, 3)
	l, object := b.claimPart(t, j, 0)
	tell := func(want int64) {
		t.Helper()
		if rows, bytes, err := b.Progress(t.Context(), j); err != nil || rows != want || bytes != 10*want {
			t.Errorf("Progress = %d rows, %d bytes, %v, want %d, %d", rows, bytes, err, want, 10*want)
		}
	}
	b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.RenewPart(j.PlanEpoch, 0, l, 4, 40); return err })
	tell(4)
	b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.RenewPart(j.PlanEpoch, 0, l, 2, 20); return err })
	tell(4)
	b.update(t, id, func(tx *jobs.Tx) error {
		_, err := tx.CommitPart(j.PlanEpoch, 0, l, "w", jobs.PartResult{Object: object, Rows: 10, Size: 100})
		return err
	})
	tell(10)
	if parts, err := b.Parts(t.Context(), j); err != nil || len(parts) != 3 || parts[0].State != jobs.PartDone || parts[1].State != jobs.PartPending {
		t.Errorf("Parts = %+v, %v", parts, err)
	}
	now := b.update(t, id, func(tx *jobs.Tx) error { return tx.VoidPlan(j.PlanEpoch, jobs.ErrInvalid) })
	if rows, _, err := b.Progress(t.Context(), now); err != nil || rows < 10 {
		t.Errorf("Progress after a restart = %d rows, %v, want 10 still", rows, err)
	}
	if parts, err := b.Parts(t.Context(), now); err != nil || len(parts) > 0 {
		t.Errorf("Parts without a plan = %+v, %v", parts, err)
	}
}
