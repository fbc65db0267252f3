package jobstore_test

import (
	"slices"
	"testing"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// TestDamagedTrace: whatever the field of the trace holds, the job is as whole as without, for all who read
// it, and its next write leaves nothing of that.
func TestDamagedTrace(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	const whole = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	sub := request("org1", 1)
	sub.Trace = whole
	made := b.submit(t, sub).Job
	if got, err := b.Get(t.Context(), made.ID); err != nil || got.Trace != whole {
		t.Fatalf("Get() = %q, %v", got.Trace, err)
	}
	for _, value := range []any{5, true, nil, []any{"x"}, map[string]any{"a": 1}, "nonsense", whole + "-more", []byte("x"), 1e308, firestore.Delete} {
		ref := b.client.Collection("ExportJobs").Doc(made.ID)
		if _, err := ref.Update(t.Context(), []firestore.Update{{Path: "trace", Value: value}}); err != nil {
			t.Fatal(err)
		}
		got, err := b.Get(t.Context(), made.ID)
		if err != nil || got.State != jobs.Queued || got.Trace != "" || got.Check(b.clock.Now()) != nil {
			t.Fatalf("trace %v: Get() = %+v, %v, %+v", value, got, err, got.Error)
		}
		if next, err := b.Next(t.Context(), "org1"); err != nil || !slices.Equal(next, []string{made.ID}) {
			t.Errorf("trace %v: Next() = %q, %v", value, next, err)
		}
	}
	// What another build leaves of a document that it writes again.
	if _, err := b.Update(t.Context(), made.ID, "w1", func(tx *jobs.Tx) error { _, err := tx.Claim("w1"); return err }); err != nil {
		t.Error(err)
	}
}
