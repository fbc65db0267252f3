package jobstore_test

import (
	"testing"
	"time"

	"exportd/jobs"
)

// TestStatsOfMany: of many ended jobs a look does not count all each time, and in the end sees every one;
// those that wait are counted at each look.
func TestStatsOfMany(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	bulk := b.client.BulkWriter(t.Context())
	add := func(state jobs.State) {
		if _, err := bulk.Set(b.client.Collection("ExportJobs").Doc(jobs.NewID()), map[string]any{"state": state}); err != nil {
			t.Fatal(err)
		}
	}
	const many = 12_000 // a count of 12 reads
	for range many {
		add(jobs.Succeeded)
	}
	bulk.Flush()
	look := func() (jobs.Stats, int64) {
		before := b.faults().DocumentsRead
		st, err := b.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st, b.faults().DocumentsRead - before
	}
	st, first := look()
	if st.States[jobs.Succeeded] != many {
		t.Fatalf("there are %d, want %d", st.States[jobs.Succeeded], many)
	}
	add(jobs.Succeeded)
	add(jobs.Queued)
	bulk.End()
	b.clock.Pass(23 * time.Second) // below two seconds for each read
	st, second := look()
	if st.States[jobs.Succeeded] != many || st.States[jobs.Queued] != 1 || first-second < many/1000 {
		t.Errorf("at the next look there are %v, by %d reads after %d", st.States, second, first)
	}
	b.clock.Pass(time.Second)
	if st, _ := look(); st.States[jobs.Succeeded] != many+1 {
		t.Errorf("in the end there are %d, want %d", st.States[jobs.Succeeded], many+1)
	}
}
