package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"exportd/internal/jobstore"
	"exportd/internal/telemetry"
	"exportd/jobs"
	"exportd/worker"
)

// TestDamageIsToldOnce: a callback's or a job's document that is damaged, or that nothing due leads to, is
// one warning, whoever finds it and however often; callbacks had up to three.
func TestDamageIsToldOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	core, lines := observer.New(zap.WarnLevel)
	log := zap.New(core)
	cfg, err := settings()
	if err != nil {
		t.Fatal(err)
	}
	store := jobstore.New(jobstore.Config{Client: r.firestore, Policy: cfg.Policy(), Limits: cfg.Limits(), ReuseFor: cfg.ReuseFor, Now: r.clock.Now, Damage: telemetry.NewDamage(log)})
	far := time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	wounds := []firestore.Update{
		{Path: "url", Value: firestore.Delete}, {Path: "url", Value: 7}, {Path: "state", Value: "x"}, {Path: "jobId", Value: "another"}, {Path: "tries", Value: "x"}, {Path: "lease", Value: 5},
		{Path: "createdAt", Value: firestore.Delete}, {Path: "shard", Value: firestore.Delete}, {Path: "wakeAt", Value: firestore.Delete}, {Path: "wakeAt", Value: far}, {Path: "attempt", Value: -7},
	}
	var refs []*firestore.DocumentRef
	for i, wound := range wounds {
		m := r.ended(t, fmt.Sprint("org-", i), "https://hooks.invalid/x")
		refs = append(refs, r.firestore.Collection("ExportCallbacks").Doc(m.CallbackID))
		if _, err := refs[i].Update(t.Context(), []firestore.Update{wound}); err != nil {
			t.Fatal(err)
		}
	}
	for i, wound := range []firestore.Update{{Path: "partsTotal", Value: 2_000_000_000}, {Path: "wakeAt", Value: far}, {Path: "shard", Value: nil}, {Path: "notBefore", Value: "x"}} {
		j := r.queued(r.clock.Now().Add(time.Hour))
		j.OrgID = fmt.Sprint("queued-", i)
		j.Fingerprint = jobs.Fingerprint(j.OrgID, j.Kind, 1, j.Params)
		r.write(t, map[string]any{"ExportJobs/" + j.ID: j})
		refs, wounds = append(refs, r.firestore.Collection("ExportJobs").Doc(j.ID)), append(wounds, wound)
		if _, err := refs[len(refs)-1].Update(t.Context(), []firestore.Update{wound}); err != nil {
			t.Fatal(err)
		}
	}
	stop := r.work(t, func(c *worker.Config) { c.Store, c.Log = store, log })
	open, looks := "", 0
	eventually(t, time.Minute, func() bool {
		// The rescuer looks through all now and then. The clock rests between its jumps, as one that always
		// runs faster than a busy machine ends each lease before what was taken by it can be ended.
		if looks++; looks%30 == 0 {
			r.clock.ahead.Add(int64(10 * time.Minute))
		}
		docs, err := r.firestore.GetAll(t.Context(), refs)
		if err != nil {
			t.Fatal(err)
		}
		for i, doc := range docs {
			state, _ := doc.DataAt("state")
			attempt, _ := doc.DataAt("attempt")
			if n, _ := attempt.(int64); state == "pending" && n < 1 || state == "queued" || state == "x" {
				open = fmt.Sprint(wounds[i])
				return false
			}
		}
		return true
	}, func() any { return open })
	stop()
	for i, ref := range refs {
		n := 0
		for _, line := range lines.All() {
			if strings.Contains(fmt.Sprint(line.ContextMap()), ref.ID) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: %s = %v is told of in %d lines", ref.Parent.ID, wounds[i].Path, wounds[i].Value, n)
		}
	}
	if t.Failed() {
		for _, line := range lines.All() {
			t.Log(line.Message, line.ContextMap())
		}
	}
}
