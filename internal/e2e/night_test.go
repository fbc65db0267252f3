//go:build chromium || operations

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/jobstore"
	"exportd/jobs"
)

// nightCauses are why the jobs of the night failed, each 12 of them.
var nightCauses = []jobs.Cause{
	{Code: jobs.CodeMissingIndex, What: "VipUsers (workspaceId, birthdayMonth)"}, {Code: jobs.CodeMissingIndex, What: "VipMessages (label, timestamp)"},
	{Code: jobs.CodeStorageDenied, What: "storage.objects.create on night"}, {Code: jobs.CodeSourceDenied, What: "datastore.entities.get on VipUsers"},
	{Code: jobs.CodeBucketMissing, What: "night-bucket"},
}

// night is the morning after on real processes and the embedded cloud: 60 jobs that failed by five causes and
// 16 callbacks that were given up, beside 10 jobs of a sixth cause that is not mended and 10 that were
// canceled. How they failed is written into the database; all that comes after is done by the processes.
type night struct {
	t            *testing.T
	stack        *e2etest.Stack
	store        *jobstore.Store
	like         *jobs.Job
	right, wrong []string     // jobs that are to run again, and those that are not
	came         atomic.Int64 // callbacks at the receiver, which is mended
}

// unmended is what the cause says that is not to be run again.
const unmended = "not mended"

// made makes a job like the first one, before there is a worker, and changes it.
func (n *night) made(callback string, steps ...func(*jobs.Tx) error) string {
	n.t.Helper()
	s, err := n.store.Submit(n.t.Context(), jobs.Submission{OrgID: n.like.OrgID, KeyID: n.like.KeyID, RequestID: "night", Kind: n.like.Kind, Params: n.like.Params, Fresh: true, CallbackURL: callback})
	for _, step := range steps {
		if err == nil {
			_, err = n.store.Update(n.t.Context(), s.Job.ID, "worker night", step)
		}
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return s.Job.ID
}

// failed makes a job that has failed by a cause.
func (n *night) failed(c jobs.Cause) string {
	var l jobs.Lease
	return n.made("", func(tx *jobs.Tx) (err error) { l, err = tx.Claim("night"); return err }, func(tx *jobs.Tx) error {
		return tx.EndAttempt(l, jobs.Fail(c.Code, jobs.Permanent, "it could not be done", "Mend it.", nil).About(c.What))
	})
}

// givenUp makes a job whose callback was given up.
func (n *night) givenUp(receiver string) string {
	id := n.made(receiver, func(tx *jobs.Tx) error { return tx.Cancel("not needed") })
	all, err := n.store.Callbacks(n.t.Context(), id)
	if err != nil || len(all) != 1 {
		n.t.Fatalf("callbacks of %s: %v, %v", id, all, err)
	}
	var l jobs.Lease
	for _, step := range []func(*jobs.CallbackTx) error{
		func(tx *jobs.CallbackTx) (err error) { l, err = tx.Claim("night"); return err },
		func(tx *jobs.CallbackTx) error {
			return tx.Record(l, jobs.CallbackResult{State: jobs.CallbackExhausted, Attempt: jobs.CallbackAttempt{At: time.Now(), Millis: 10, Class: "status", Status: 503, Response: "down"}})
		},
	} {
		if _, err := n.store.UpdateCallback(n.t.Context(), all[0].ID, "worker night", step); err != nil {
			n.t.Fatal(err)
		}
	}
	return id
}

// newNight makes a night and then starts a worker.
func newNight(t *testing.T) *night {
	t.Helper()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	env := append([]string{"EXPORTD_CONSOLE=public", "EXPORTD_ORG_QUEUED_JOBS=0"}, callbackSettings...)
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 60, Messages: 60}, env...)
	client := hosts.OpenFirestore(t)
	n := &night{t: t, stack: s, store: jobstore.New(jobstore.Config{Client: client, Policy: jobs.Policy{
		LeaseFor: 30 * time.Second, RenewEvery: 5 * time.Second, Skew: 5 * time.Second, NotifyAgain: 15 * time.Second, MaxAttempts: 8, MaxInterruptions: 50,
		BackoffMin: time.Second, BackoffMax: time.Minute, Window: 4, SnapshotLife: time.Hour, FileLife: 24 * time.Hour, RecordLife: 48 * time.Hour,
		SweepAfter: time.Minute, Jitter: func() float64 { return 0.5 },
	}})}
	id := s.Caller().Submit(t, "vip-users", s.Users(), "Cache-Control", "no-cache")
	like, err := n.store.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	n.like = like
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.came.Add(1) }))
	t.Cleanup(receiver.Close)
	for i := range 60 {
		n.right = append(n.right, n.failed(nightCauses[i%5]))
	}
	for range 16 {
		n.givenUp(receiver.URL + "/in")
	}
	for range 10 {
		n.wrong = append(n.wrong, n.failed(jobs.Cause{Code: jobs.CodeInternal, What: unmended}), n.made("", func(tx *jobs.Tx) error { return tx.Cancel("not needed") }))
	}
	e2etest.Worker(t, exportd, hosts, env...)
	return n
}

// left are those of the right jobs that have not succeeded.
func (n *night) left() (some []string) {
	for _, id := range n.right {
		if j, err := n.store.Get(n.t.Context(), id); err != nil || j.State != jobs.Succeeded {
			some = append(some, fmt.Sprint(id, " ", j.State, err))
		}
	}
	return some
}

// ended waits until the right jobs have succeeded and the receiver has its callbacks.
func (n *night) ended() {
	n.t.Helper()
	e2etest.Until(n.t, 3*time.Minute, "60 jobs that have succeeded and 16 callbacks", func() bool { return n.came.Load() >= 16 && len(n.left()) == 0 })
}

// touched counts the reruns of jobs that should not have been run again, and of right ones the second and
// later.
func (n *night) touched() (count int) {
	n.t.Helper()
	for i, id := range slices.Concat(n.wrong, n.right) {
		events, err := n.store.Events(n.t.Context(), id)
		if err != nil {
			n.t.Fatal(err)
		}
		reruns := 0
		for _, e := range events {
			if e.Type == jobs.EventRerun {
				reruns++
			}
		}
		if i >= len(n.wrong) {
			reruns--
		}
		count += max(reruns, 0)
	}
	return count
}
