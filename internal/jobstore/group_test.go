package jobstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/panics"
	"exportd/jobs"
)

func newGroupQueue() *groupQueue { return &groupQueue{waiting: map[string][]*change{}} }

func names(group []*change) (out []string) {
	for _, c := range group {
		out = append(out, c.actor)
	}
	return out
}

// TestGroups: what comes while a group is at work forms the next one, up to its bound.
func TestGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newGroupQueue()
		var groups [][]string
		hold := make(chan struct{})
		apply := func(group []*change) error {
			groups = append(groups, names(group)) // the race detector tells if two are at work
			if len(groups) == 1 {
				<-hold
			}
			return nil
		}
		var done sync.WaitGroup
		for i := range maxGroup + 3 {
			done.Go(func() {
				if err := turns.do(t.Context(), "job", &change{actor: fmt.Sprint(i)}, apply); err != nil {
					t.Errorf("do(%d) = %v", i, err)
				}
			})
			synctest.Wait()
		}
		other := false
		if err := turns.do(t.Context(), "other", &change{}, func([]*change) error { other = true; return nil }); err != nil || !other {
			t.Errorf("another job waits: %v", err)
		}
		close(hold)
		done.Wait()
		if len(groups) != 3 || len(groups[0]) != 1 || len(groups[1]) != maxGroup || groups[1][0] != "1" || len(groups[2]) != 2 {
			t.Errorf("groups = %v", groups)
		}
		if len(turns.waiting) != 0 {
			t.Errorf("left behind: %v", turns.waiting)
		}
	})
}

// TestGroupFails: a group shares its error, the next one does not.
func TestGroupFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newGroupQueue()
		hold, broken := make(chan struct{}), errors.New("broken")
		rounds := 0
		apply := func(group []*change) error {
			if rounds++; rounds == 1 {
				<-hold
				return nil
			}
			return broken
		}
		errs := make([]error, 3)
		var done sync.WaitGroup
		for i := range errs {
			done.Go(func() { errs[i] = turns.do(t.Context(), "job", &change{}, apply) })
			synctest.Wait()
		}
		close(hold)
		done.Wait()
		if errs[0] != nil || !errors.Is(errs[1], broken) || !errors.Is(errs[2], broken) {
			t.Errorf("errors = %v", errs)
		}
		if err := turns.do(t.Context(), "job", &change{}, func([]*change) error { return nil }); err != nil {
			t.Errorf("the job is stuck: %v", err)
		}
	})
}

// TestLeaderLeaves: when the context of a leader ends, or of one that waits, the others go on.
func TestLeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newGroupQueue()
		contexts := make([]context.Context, 5)
		cancels := make([]context.CancelFunc, 5)
		for i := range contexts {
			contexts[i], cancels[i] = context.WithCancel(t.Context())
			defer cancels[i]()
		}
		var groups [][]string
		hold := make(chan struct{})
		errs := make([]error, 5)
		var done sync.WaitGroup
		for i := range contexts {
			done.Go(func() {
				errs[i] = turns.do(contexts[i], "job", &change{actor: fmt.Sprint(i)}, func(group []*change) error {
					groups = append(groups, names(group))
					if i == 0 {
						<-hold
						return nil
					}
					if i == 1 {
						<-contexts[1].Done()
						return contexts[1].Err()
					}
					return nil
				})
			})
			synctest.Wait()
		}
		cancels[3]() // waits yet
		synctest.Wait()
		close(hold)
		synctest.Wait()
		cancels[1]() // leads 2 and 4
		done.Wait()
		want := [][]string{{"0"}, {"1", "2", "4"}, {"2", "4"}}
		if !slices.EqualFunc(groups, want, slices.Equal[[]string]) {
			t.Errorf("groups = %v, want %v", groups, want)
		}
		for i, gone := range []bool{false, true, false, true, false} {
			if errors.Is(errs[i], context.Canceled) != gone || !gone && errs[i] != nil {
				t.Errorf("do(%d) = %v", i, errs[i])
			}
		}
	})
}

// TestLeaderPanics: the others of its group are told, and the job is not stuck.
func TestLeaderPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newGroupQueue()
		hold := make(chan struct{})
		var errs [3]error
		var done sync.WaitGroup
		for i := range errs {
			done.Go(func() {
				defer func() { _ = recover() }()
				errs[i] = turns.do(t.Context(), "job", &change{}, func(group []*change) error {
					if i == 0 {
						<-hold
						return nil
					}
					panic("a transition")
				})
			})
			synctest.Wait()
		}
		close(hold)
		done.Wait()
		if errs[0] != nil || !errors.Is(errs[2], errAborted) || len(turns.waiting) != 0 {
			t.Errorf("errors = %v, waiting %v", errs, turns.waiting)
		}
	})
}

// TestPanicOfATransition: it is the error of that transition, and leaves nothing for those that are committed
// with it.
func TestPanicOfATransition(t *testing.T) {
	t.Parallel()
	s, g := &Store{cfg: Config{Now: time.Now}}, newGroup(jobs.Job{ID: "job"}, time.Time{})
	_, err := g.add(t.Context(), s, &change{fn: func(tx *jobs.Tx) error {
		tx.Job.Interruptions, tx.Events = 7, []jobs.Event{{}}
		panic("stepped on a mine")
	}})
	if _, ok := panics.Of(err); !ok || g.job.Interruptions != 0 || len(g.steps)+len(g.events) != 0 {
		t.Errorf("add = %v, and leaves %+v", err, g)
	}
	if _, err := g.add(t.Context(), s, &change{fn: func(tx *jobs.Tx) error { tx.Job.Interruptions++; return nil }}); err != nil || g.job.Interruptions != 1 {
		t.Errorf("the next one: %v, %+v", err, g.job)
	}
}
