package jobstest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"exportd/jobs"
)

var txCases = []storeCase{
	{"a transition that fails leaves nothing behind", jobs.Limits{RunningJobs: 1}, failsWhole},
	{"what a transition changes is there at once", jobs.Limits{}, commitsWhole},
	{"of claims at the same time one stands", jobs.Limits{}, oneClaim},
	{"no update is lost", jobs.Limits{}, noLostUpdate},
	{"writes under a lost lease are refused", jobs.Limits{}, lostLease},
	{"writes under a lost lease of a part are refused", jobs.Limits{}, lostPartLease},
	{"the parts of a job end side by side, one of them last", jobs.Limits{}, partsSideBySide},
	{"a transition of what is not there", jobs.Limits{}, notThere},
}

func failsWhole(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	before, err := b.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Update(t.Context(), id, "test", func(tx *jobs.Tx) error {
		l, err := tx.Claim("w")
		if err != nil {
			return err
		}
		if err := tx.Plan(l, b.Now(), make([]jobs.Range, 3), 0); err != nil {
			return err
		}
		if err := tx.Cancel("test"); err != nil { // with a callback
			return err
		}
		return errTest
	})
	if !errors.Is(err, errTest) {
		t.Errorf("Update = %v, want the transition's own error", err)
	}
	after, err := b.Get(t.Context(), id)
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("the job is %+v, %v, was %+v", after, err, before)
	}
	events, err := b.Events(t.Context(), id)
	calls, cerr := b.Callbacks(t.Context(), id)
	if len(events)+len(calls) > 0 || err != nil || cerr != nil {
		t.Errorf("it left %d events and %d callbacks, %v, %v", len(events), len(calls), err, cerr)
	}
	if ok, err := b.runs(id); !ok || err != nil { // the place was not taken
		t.Errorf("claim = %t, %v", ok, err)
	}
}

func commitsWhole(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	j := b.plan(t, id, 3)
	if parts, err := b.Parts(t.Context(), j); err != nil || len(parts) != 3 || parts[2].Index != 2 || parts[2].State != jobs.PartPending {
		t.Errorf("Parts = %+v, %v", parts, err)
	}
	told := b.update(t, id, cancel)
	if got, err := b.Get(t.Context(), id); err != nil || got.State != jobs.Canceled || !reflect.DeepEqual(got.FinishedAt, told.FinishedAt) {
		t.Errorf("Get = %+v, %v, Update told %+v", got, err, told)
	}
	calls, err := b.Callbacks(t.Context(), id)
	if err != nil || len(calls) != 1 || calls[0].ID != jobs.CallbackID(told) || calls[0].State != jobs.CallbackPending {
		t.Errorf("Callbacks = %+v, %v", calls, err)
	}
	events, err := b.Events(t.Context(), id)
	var types []jobs.EventType
	for _, e := range events {
		types = append(types, e.Type)
	}
	if err != nil || !slices.Equal(types, []jobs.EventType{jobs.EventClaimed, jobs.EventPlanned, jobs.EventCanceled}) {
		t.Errorf("Events = %v, %v", types, err)
	}
}

func oneClaim(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	n := race(t, 8, jobs.ErrNotDue, func(i int) error {
		_, err := b.Update(context.Background(), id, "test", func(tx *jobs.Tx) error { _, err := tx.Claim(fmt.Sprint(i)); return err })
		return err
	})
	if n != 1 {
		t.Errorf("%d of 8 claims stood, want 1", n)
	}
}

func noLostUpdate(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	b.update(t, id, cancel)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			for _, fn := range []func(*jobs.Tx) error{func(tx *jobs.Tx) error { _, err := tx.Rerun(jobs.RerunFresh, "r"); return err }, cancel} {
				if _, err := b.Update(context.Background(), id, "test", fn); err != nil && !errors.Is(err, jobs.ErrTransition) {
					t.Errorf("Update = %v", err)
				}
			}
		})
	}
	all.Wait()
	j, err := b.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	events, err := b.Events(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	reruns, cancels := int64(0), 0
	for _, e := range events {
		switch e.Type {
		case jobs.EventRerun:
			reruns++
		case jobs.EventCanceled:
			cancels++
		}
	}
	calls, err := b.Callbacks(t.Context(), id)
	if err != nil || len(calls) != cancels || j.Epoch != reruns {
		t.Errorf("%d reruns and %d cancels are in the timeline, epoch %d and %d callbacks tell of others, %v", reruns, cancels, j.Epoch, len(calls), err)
	}
}

func lostLease(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	lost := b.claim(t, id)
	b.Pass(policy().LeaseFor + 2*policy().Skew + time.Second)
	b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.Wake(); return err })
	now := b.claim(t, id)
	for name, fn := range map[string]func(*jobs.Tx) error{
		"Renew":      func(tx *jobs.Tx) error { _, err := tx.Renew(lost, 1, 1); return err },
		"Pin":        func(tx *jobs.Tx) error { return tx.Pin(lost, b.Now(), 3) },
		"Plan":       func(tx *jobs.Tx) error { return tx.Plan(lost, b.Now(), make([]jobs.Range, 2), 0) },
		"Succeed":    func(tx *jobs.Tx) error { return tx.Succeed(lost, jobs.Result{}) },
		"EndAttempt": func(tx *jobs.Tx) error { return tx.EndAttempt(lost, jobs.AsFailure(errTest)) },
	} {
		if _, err := b.Update(t.Context(), id, "test", fn); !errors.Is(err, jobs.ErrLeaseLost) {
			t.Errorf("%s under a lost lease = %v, want ErrLeaseLost", name, err)
		}
	}
	b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.Renew(now, 1, 1); return err })
}

func lostPartLease(t *testing.T, b *bench) {
	id := b.job(t, "org", 1)
	j := b.plan(t, id, 2)
	lost, object := b.claimPart(t, j, 0)
	b.Pass(policy().LeaseFor + 2*policy().Skew + time.Second)
	b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.WakePart(j.PlanEpoch, 0); return err })
	now, _ := b.claimPart(t, j, 0)
	for name, fn := range map[string]func(*jobs.Tx) error{
		"RenewPart": func(tx *jobs.Tx) error { _, err := tx.RenewPart(j.PlanEpoch, 0, lost, 1, 1); return err },
		"CommitPart": func(tx *jobs.Tx) error {
			_, err := tx.CommitPart(j.PlanEpoch, 0, lost, "w", jobs.PartResult{Object: object, Rows: 10})
			return err
		},
		"EndPartAttempt": func(tx *jobs.Tx) error {
			_, err := tx.EndPartAttempt(j.PlanEpoch, 0, lost, jobs.AsFailure(errTest))
			return err
		},
	} {
		if _, err := b.Update(t.Context(), id, "test", fn); !errors.Is(err, jobs.ErrLeaseLost) {
			t.Errorf("%s under a lost lease = %v, want ErrLeaseLost", name, err)
		}
	}
	b.update(t, id, func(tx *jobs.Tx) error { _, err := tx.RenewPart(j.PlanEpoch, 0, now, 1, 1); return err })
}

// partsSideBySide: each caller is given the job as its own transition left it, so that only one of them meets
// the last part, and those that are refused leave nothing behind.
func partsSideBySide(t *testing.T, b *bench) {
	const parts = 8
	id := b.job(t, "org", 1)
	j := b.plan(t, id, parts)
	finalizers := make(chan int, parts)
	var all sync.WaitGroup
	for i := range parts {
		l, object := b.claimPart(t, j, i)
		all.Go(func() {
			var next jobs.Next
			after, err := b.UpdatePart(context.Background(), id, jobs.PartID(j.PlanEpoch, i), "test", func(tx *jobs.Tx) (err error) {
				next, err = tx.CommitPart(j.PlanEpoch, i, l, "w", jobs.PartResult{Object: object, Rows: 10, Size: 100})
				return err
			})
			if err != nil {
				t.Errorf("commit part %d = %v", i, err)
			} else if next.Finalize {
				finalizers <- after.PartsDone
			}
		})
		all.Go(func() {
			_, err := b.Update(context.Background(), id, "test", func(tx *jobs.Tx) error {
				if err := tx.Cancel("test"); err != nil {
					return err
				}
				return errTest
			})
			if !errors.Is(err, errTest) {
				t.Errorf("Update = %v, want %v", err, errTest)
			}
		})
	}
	all.Wait()
	close(finalizers)
	var done []int
	for n := range finalizers {
		done = append(done, n)
	}
	if !slices.Equal(done, []int{parts}) {
		t.Errorf("the file is made by those who saw %v parts done, want one who saw %d", done, parts)
	}
	if got, err := b.Get(t.Context(), id); err != nil || got.RowsDone != 10*parts || got.Phase != jobs.PhaseFinalize {
		t.Errorf("the job is %+v, %v", got, err)
	}
}

func notThere(t *testing.T, b *bench) {
	ctx, none := t.Context(), jobs.NewID()
	nothing := func(*jobs.Tx) error { return nil }
	for _, id := range []string{none, "../x", ""} {
		_, err := b.Update(ctx, id, "test", nothing)
		_, perr := b.UpdatePart(ctx, id, jobs.PartID(1, 0), "test", nothing)
		_, gerr := b.Get(ctx, id)
		_, oerr := b.GetOf(ctx, "org", id)
		_, _, berr := b.Batch(ctx, id)
		_, cerr := b.UpdateCallback(ctx, id, "test", func(*jobs.CallbackTx) error { return nil })
		for i, err := range []error{err, perr, gerr, oerr, berr, cerr} {
			if !errors.Is(err, jobs.ErrNotFound) {
				t.Errorf("question %d for %q = %v, want ErrNotFound", i, id, err)
			}
		}
	}
	id := b.job(t, "org", 1)
	if _, err := b.GetOf(ctx, "org2", id); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("GetOf of another org's job = %v, want ErrNotFound", err)
	}
	if j, err := b.GetOf(ctx, "org", id); err != nil || j.ID != id {
		t.Errorf("GetOf = %v, %v", j, err)
	}
	_, err := b.Update(ctx, id, "test", func(tx *jobs.Tx) error { _, _, err := tx.ClaimPart(1, 0, "w"); return err })
	if !errors.Is(err, jobs.ErrNotDue) {
		t.Errorf("claim of a part without a plan = %v, want ErrNotDue", err)
	}
}
