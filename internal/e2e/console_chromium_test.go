//go:build chromium

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/browser"
	"exportd/internal/e2e/e2etest"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/jobs"
)

// nightCauses are why the jobs of the night failed, each 12 of them.
var nightCauses = []jobs.Cause{
	{Code: jobs.CodeMissingIndex, What: "VipUsers (workspaceId, birthdayMonth)"}, {Code: jobs.CodeMissingIndex, What: "VipMessages (label, timestamp)"},
	{Code: jobs.CodeStorageDenied, What: "storage.objects.create on night"}, {Code: jobs.CodeSourceDenied, What: "datastore.entities.get on VipUsers"},
	{Code: jobs.CodeBucketMissing, What: "night-bucket"},
}

// nightStore writes into the database of a stack that has no worker yet.
type nightStore struct {
	t     *testing.T
	store *jobstore.Store
	like  *jobs.Job
}

// made makes a job like the first one, and changes it.
func (n *nightStore) made(callback string, steps ...func(*jobs.Tx) error) string {
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
func (n *nightStore) failed(c jobs.Cause) string {
	var l jobs.Lease
	return n.made("", func(tx *jobs.Tx) (err error) { l, err = tx.Claim("night"); return err }, func(tx *jobs.Tx) error {
		return tx.EndAttempt(l, jobs.Fail(c.Code, jobs.Permanent, "it could not be done", "Mend it.", nil).About(c.What))
	})
}

// givenUp makes a job whose callback was given up.
func (n *nightStore) givenUp(receiver string) string {
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

// TestNightOnWorkersInChromium is the morning after on real processes and the embedded cloud: 60 jobs that
// failed by five causes and 16 callbacks that were given up, beside 10 jobs of a sixth cause that is not
// mended and 10 that were canceled. From opening the console until the right jobs have succeeded and the
// receiver has its callbacks: clicks and seconds, and nothing else is touched. How they failed is written
// into the database; all that comes after is done by the processes.
func TestNightOnWorkersInChromium(t *testing.T) {
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	env := append([]string{"EXPORTD_CONSOLE=public", "EXPORTD_ORG_QUEUED_JOBS=0"}, callbackSettings...)
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 60, Messages: 60}, env...)
	client, err := firestore.NewClient(t.Context(), e2etest.Project, localcloud.GRPCOptions(hosts.Firestore)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	n := &nightStore{t: t, store: jobstore.New(jobstore.Config{Client: client, Policy: jobs.Policy{
		LeaseFor: 30 * time.Second, RenewEvery: 5 * time.Second, Skew: 5 * time.Second, NotifyAgain: 15 * time.Second, MaxAttempts: 8, MaxInterruptions: 50,
		BackoffMin: time.Second, BackoffMax: time.Minute, Window: 4, SnapshotLife: time.Hour, FileLife: 24 * time.Hour, RecordLife: 48 * time.Hour,
		SweepAfter: time.Minute, Jitter: func() float64 { return 0.5 },
	}})}
	id := s.Caller().Submit(t, "vip-users", s.Users(), "Cache-Control", "no-cache")
	if n.like, err = n.store.Get(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	var came atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came.Add(1) }))
	t.Cleanup(receiver.Close)
	var right, wrong []string
	for i := range 60 {
		right = append(right, n.failed(nightCauses[i%5]))
	}
	for range 16 {
		n.givenUp(receiver.URL + "/in")
	}
	for range 10 {
		wrong = append(wrong, n.failed(jobs.Cause{Code: jobs.CodeInternal, What: "not mended"}), n.made("", func(tx *jobs.Tx) error { return tx.Cancel("not needed") }))
	}
	e2etest.Worker(t, exportd, hosts, env...)

	p := browser.Open(t, s.APIURL+"/console/sign-in")
	p.Click("#key")
	p.Write(s.OpsAPIKey)
	p.Click("#secret")
	p.Write(s.OpsSecret)
	p.Loads(func() { p.Press("Enter") })
	begun, clicks := time.Now(), 0
	click := func(selector string) {
		clicks++
		p.Loads(func() { p.Click(selector) })
	}
	var causes []string
	p.Eval(`[...document.querySelectorAll('a[href*="rerun-cause"]')].filter(a => !a.closest("tr").innerText.includes("not mended")).map(a => new URL(a.href).searchParams.get("cause"))`, &causes)
	if len(causes) != 6 {
		t.Fatalf("the overview has the causes %q", causes)
	}
	for _, cause := range causes {
		click(`a[href*="rerun-cause"][href*="` + cause + `"]`)
		p.Click("#reason")
		p.Write("mended at 6:30")
		click("#confirm button")
		click("nav a")
	}
	asked := time.Since(begun)
	left := func() (some []string) {
		for _, id := range right {
			if j, err := n.store.Get(t.Context(), id); err != nil || j.State != jobs.Succeeded {
				some = append(some, fmt.Sprint(id, " ", j.State, err))
			}
		}
		return some
	}
	e2etest.Until(t, 3*time.Minute, "60 jobs that have succeeded and 16 callbacks", func() bool { return came.Load() >= 16 && len(left()) == 0 })
	took := time.Since(begun)
	touched := 0
	for _, id := range wrong {
		events, err := n.store.Events(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Type == jobs.EventRerun {
				touched++
			}
		}
	}
	if each := float64(clicks) / float64(len(causes)); touched > 0 || came.Load() != 16 || each > 4 {
		t.Errorf("%d jobs were run again that should not have been, %d callbacks came, %.1f clicks a cause", touched, came.Load(), each)
	}
	t.Logf("%d causes, 60 jobs and 16 callbacks: %d clicks, %.1f a cause, %s until all were asked for, %s until all had succeeded; %d wrongly run again", len(causes), clicks, float64(clicks)/float64(len(causes)), asked.Round(100*time.Millisecond), took.Round(100*time.Millisecond), touched)
	p.Close()
}
