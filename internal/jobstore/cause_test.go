package jobstore_test

import (
	"testing"
	"time"

	"exportd/internal/jobstore"
	"exportd/jobs"
)

// TestCauseOfManyWorkers: of a cause that the jobs of many processes meet, one of them notes it once a while.
// A document bears about a write a second.
func TestCauseOfManyWorkers(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	var last time.Time
	writes := 0
	for i := range 32 { // each a process of its own, within a minute and a half
		p := b
		p.Store = jobstore.New(jobstore.Config{Client: b.client, Policy: policy(), ReuseFor: time.Minute, Now: b.clock.Now})
		job := p.submit(t, request("org", i+1)).Job.ID
		var l jobs.Lease
		p.update(t, job, func(tx *jobs.Tx) (err error) { l, err = tx.Claim("w"); return err })
		j := p.update(t, job, func(tx *jobs.Tx) error {
			return tx.EndAttempt(l, jobs.Fail(jobs.CodeMissingIndex, jobs.Permanent, "an index is missing", "", nil).About("index a"))
		})
		doc, err := b.client.Collection("ExportCauses").Doc(j.Error.CauseID).Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !doc.UpdateTime.Equal(last) {
			writes, last = writes+1, doc.UpdateTime
		}
		b.clock.Pass(3 * time.Second)
	}
	if writes != 2 {
		t.Errorf("32 processes wrote the cause %d times in a minute and a half, want 2", writes)
	}
}
