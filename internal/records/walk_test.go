package records

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/localcloud/fault"
	"exportd/internal/vip"
)

// TestWalk: each document that meets the conditions once, in the order of ids and also those without a sort
// field, whatever the size of pages and however often streams break; with all fields but those that are named
// left out.
func TestWalk(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	docs := sample()
	store(t, cloud.Firestore, docs)
	var ours, all []string
	for path, fields := range docs {
		if id, ok := strings.CutPrefix(path, "VipUsers/"); ok {
			all = append(all, id)
			if fields["workspaceId"] == "w" && fields["mediumId"] == "c" {
				ours = append(ours, id)
			}
		}
	}
	slices.Sort(ours)
	slices.Sort(all)
	everything := vip.Query{Collection: "VipUsers"}
	walk := func(q vip.Query, page int) (ids []string) {
		t.Helper()
		if err := r.walk(t.Context(), q, []string{"ltv"}, page, func(id, doc []byte) error {
			ids = append(ids, string(id))
			if len(doc) > 200 {
				t.Errorf("%s has %d bytes, with fields that nobody asked for", id, len(doc))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if len(ours) != 401 || !slices.Contains(ours, "other4") { // it has no ltv
		t.Fatalf("%d users", len(ours))
	}
	for _, page := range []int{1000, 401, 400, 7} {
		if got := walk(users(), page); !slices.Equal(got, ours) {
			t.Errorf("by %d: %d users, want %d in order", page, len(got), len(ours))
		}
	}
	if n, _, err := r.Count(t.Context(), users().Unsorted(), vip.Range{}, time.Time{}); err != nil || n != 401 {
		t.Errorf("counted %d without the sort field, %v", n, err)
	}
	if n, _, err := r.Count(t.Context(), everything, vip.Range{}, time.Time{}); err != nil || n != int64(len(all)) {
		t.Errorf("counted %d of the collection, %v, want %d", n, err, len(all))
	}
	if err := cloud.Faults().Set(fault.Config{Rules: map[string]fault.Rule{"Firestore/RunQuery": {CutRate: 0.5, CutAfter: 30}}}); err != nil {
		t.Fatal(err)
	}
	for _, page := range []int{1000, 50} {
		if got := walk(everything, page); !slices.Equal(got, all) {
			t.Errorf("by %d of streams that break: %d users, want %d in order", page, len(got), len(all))
		}
	}
	if cloud.Faults().Counters().Methods["Firestore/RunQuery"].Faults == 0 {
		t.Error("no stream broke")
	}
	stop := errors.New("enough")
	if err := r.Walk(t.Context(), everything, nil, func(_, _ []byte) error { return stop }); err != stop {
		t.Errorf("ended by its reader: %v", err)
	}
}
