package jobstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// TestCommitsAreBounded: Google's client tries for as long as it may while Firestore answers that a quota is
// used up. Whatever the store writes, it gives up by itself, as unavailable, also where its caller would wait
// for ever.
func TestCommitsAreBounded(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	whole := jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: policy(), ReuseFor: time.Minute})
	s := whole.Within(200 * time.Millisecond)
	ctx := context.WithoutCancel(t.Context())
	made, err := whole.Submit(ctx, request("org", 1))
	if err != nil {
		t.Fatal(err)
	}
	cloud.Faults().Set(fault.Config{Rules: map[string]fault.Rule{"Firestore/Commit": {ErrorRate: 1, Code: "RESOURCE_EXHAUSTED"}}})
	for name, write := range map[string]func() error{
		"a submission": func() error { _, err := s.Submit(ctx, request("org", 2)); return err },
		"a transition": func() error {
			_, err := s.Update(ctx, made.Job.ID, "test", func(tx *jobs.Tx) error { return tx.Cancel("") })
			return err
		},
		"a pause": func() error { return s.SetPaused(ctx, jobs.QueueExports, true, "test", "r") },
		"a role":  func() error { _, err := s.Acquire(ctx, "r", "me", time.Minute); return err },
		"a batch": func() error { _, err := s.CreateBatch(ctx, jobs.BatchRequest{MaxPerSecond: 1}); return err },
		"a receiver": func() error {
			return s.ChangeReceiver(ctx, "org", "https://a.example", "https://a.example", func(r *jobs.Receiver) { r.FailingSince = time.Now() })
		},
	} {
		if err := write(); !errors.Is(err, jobs.ErrUnavailable) {
			t.Errorf("%s that cannot be committed = %v, want %v", name, err, jobs.ErrUnavailable)
		}
	}
	cloud.Faults().Set(fault.Config{})
	if j, err := whole.Update(ctx, made.Job.ID, "test", func(tx *jobs.Tx) error { return tx.Cancel("") }); err != nil || j.State != jobs.Canceled {
		t.Errorf("afterwards = %+v, %v", j, err)
	}
}
