package jobstore_test

import (
	"testing"
	"time"

	"exportd/jobs"
)

// TestRoleUntil2200: a role that somebody gave until 2200 is taken by the next who asks for it;
// it stopped every rescue before.
func TestRoleUntil2200(t *testing.T) {
	t.Parallel()
	b := open(t, jobs.Limits{})
	role := b.client.Collection("ExportLeases").Doc("role-rescuer")
	for name, until := range map[string]any{
		"in 2200": time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), "by a clock an hour ahead": b.clock.now().Add(time.Hour),
		"as text": "tomorrow", "as null": nil,
	} {
		if _, err := role.Set(t.Context(), map[string]any{"kind": "role", "owner": "somebody", "until": until}); err != nil {
			t.Fatal(err)
		}
		if ok, err := b.Acquire(t.Context(), "rescuer", "w1", 10*time.Second); err != nil || !ok {
			t.Errorf("Acquire() of a role with an end %s = %t, %v", name, ok, err)
		}
		if ok, err := b.Acquire(t.Context(), "rescuer", "w2", 10*time.Second); err != nil || ok {
			t.Errorf("Acquire() of a role that was just taken = %t, %v", ok, err)
		}
	}
}
