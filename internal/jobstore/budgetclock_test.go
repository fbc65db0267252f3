package jobstore_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/firestoreserver"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
	"exportd/jobs/jobstest"
)

// startAt is a Firestore of its own, whose clock is what the number says.
func startAt(t *testing.T, clock *atomic.Int64) *firestore.Client {
	t.Helper()
	s, err := firestoreserver.Open(firestoreserver.Options{InMemory: true, IndexesJSON: localcloudtest.Indexes(t), Clock: func() time.Time { return time.Unix(0, clock.Load()) }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	client, err := firestore.NewClient(context.Background(), localcloudtest.Project, localcloud.GRPCOptions(l.Addr().String())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(client.Close(), s.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return client
}

// TestBudgetClocks: processes whose clocks differ, and step over midnight and back, spend one day's budget,
// Firestore's. Nothing of it is lost or counted twice, and it is renewed when that day ends.
func TestBudgetClocks(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	midnight := time.Date(2026, 6, 16, 0, 0, 0, 0, time.UTC)
	client := startAt(t, &clock)
	month := int64(0)
	for _, step := range []struct {
		what       string
		at, ahead  time.Duration // Firestore's clock, from midnight; and the process's before that
		ask, ended int64         // rows of a new job, and of its file; -1 if it does not end
		refused    bool
		spent      int64 // after that, as all processes see it
	}{
		{"a clock past midnight", -2 * time.Minute, 5 * time.Minute, 20, -1, false, 20},
		{"one that is right", -2 * time.Minute, 0, 10, -1, true, 20},
		{"one that is behind by days", -2 * time.Minute, -72 * time.Hour, 6, -1, true, 20},
		{"one that is ahead by days", -2 * time.Minute, 72 * time.Hour, 6, -1, true, 20},
		{"one past midnight, at both ends", -time.Minute, 5 * time.Minute, 5, 1, false, 21},
		{"one that has stepped back", -time.Minute, -time.Hour, 4, -1, false, 25},
		{"one past midnight, with nothing left", -time.Second, time.Minute, 1, -1, true, 25},
		{"one before midnight, on the new day", time.Second, -time.Minute, 20, 10, false, 10},
		{"one two days ahead", time.Minute, 48 * time.Hour, 15, -1, false, 25},
		{"one that is right, with nothing left", time.Minute, 0, 1, -1, true, 25},
		{"one that is behind, on the third day", 24 * time.Hour, -time.Hour, 25, -1, false, 25},
	} {
		now := midnight.Add(step.at)
		clock.Store(now.UnixNano())
		open := func(ahead time.Duration) *jobstore.Store { // a process has crashed before each step
			return jobstore.New(jobstore.Config{Client: client, Policy: policy(), Drift: 5 * time.Second, ReuseFor: time.Minute, Now: func() time.Time { return now.Add(ahead) }})
		}
		s := open(step.ahead)
		month++
		sub := request("org", int(month))
		sub.Budget = &jobs.BudgetRequest{Budget: jobs.Budget{Rows: 25}, Counted: true, AskRows: step.ask}
		got, err := s.Submit(t.Context(), sub)
		over, refused := errors.AsType[*jobs.BudgetError](err)
		if refused != step.refused || err != nil && !refused {
			t.Fatalf("%s: Submit of %d rows = %v", step.what, step.ask, err)
		}
		day := now.Truncate(24 * time.Hour)
		if left := day.Add(24 * time.Hour).Sub(now); refused && (over.Day.RenewsIn() > left || over.Day.RenewsIn() < left-time.Second) {
			t.Errorf("%s: renewed in %s, want %s", step.what, over.Day.RenewsIn(), left)
		}
		if !refused && !got.Job.Budget.Day.Equal(day) {
			t.Errorf("%s: reserved of %s, want %s", step.what, got.Job.Budget.Day, day)
		}
		if step.ended >= 0 {
			c := jobstest.NewClock()
			c.Pass(now.Add(step.ahead + time.Second).Sub(c.Now()))
			b := bench{Store: jobstore.New(jobstore.Config{Client: client, Policy: policy(), Now: c.Now}), clock: c}
			var l jobs.Lease
			b.update(t, got.Job.ID, func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w"); return err })
			b.update(t, got.Job.ID, func(tx *jobs.Tx) error { return tx.Pin(l, c.Now(), step.ended) })
			b.update(t, got.Job.ID, func(tx *jobs.Tx) error {
				return tx.Succeed(l, jobs.Result{Object: tx.Job.ResultName(), Rows: step.ended, Size: 9})
			})
		}
		for _, ahead := range []time.Duration{0, time.Hour, -time.Hour, 72 * time.Hour, -72 * time.Hour} {
			if days, err := open(ahead).BudgetDays(t.Context(), []string{"key"}); err != nil || days[0].Rows != step.spent || !days[0].Day.Equal(day) {
				t.Errorf("%s: by a clock %s ahead %+v, %v; want %d rows of %s", step.what, ahead, days, err, step.spent, day)
			}
		}
	}
}
