package jobstore_test

import (
	"testing"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// TestRoleOfAnEarlierBuild: a build that knows no versions of documents takes a partition that one of this
// build had, and leaves in the document what it does not know. This build takes it from it all the same:
// nobody would look after what only this one reads.
func TestRoleOfAnEarlierBuild(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, bench){
		"was given up": func(t *testing.T, b bench) {
			if err := b.LeavePartition(t.Context(), 0, "killed"); err != nil {
				t.Fatal(err)
			}
		},
		"ran out": func(*testing.T, bench) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, jobs.Limits{})
			hold := func(owner string, want bool) {
				t.Helper()
				if ok, err := b.HoldPartition(t.Context(), 0, owner); err != nil || ok != want {
					t.Errorf("HoldPartition() for %s = %t, %v, want %t", owner, ok, err, want)
				}
			}
			hold("killed", true)
			end(t, b)
			_, err := b.client.Collection("ExportLeases").Doc("role-rescuer-0").Update(t.Context(), []firestore.Update{
				{Path: "kind", Value: "role"}, {Path: "owner", Value: "earlier"}, {Path: "until", Value: b.clock.Now().Add(jobs.RoleTTL)}, {Path: "rev", Value: jobs.NewToken()},
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, held, err := b.Partitions(t.Context(), 1); err != nil || held[0].Owner != "earlier" || !held[0].Earlier {
				t.Errorf("Partitions() = %+v, %v, want it to be an earlier build's", held, err)
			}
			hold("newer", true)
			if _, held, err := b.Partitions(t.Context(), 1); err != nil || held[0].Owner != "newer" || held[0].Earlier {
				t.Errorf("Partitions() = %+v, %v, want it to be this build's", held, err)
			}
			hold("another", false)
			hold("newer", true)
		})
	}
}
