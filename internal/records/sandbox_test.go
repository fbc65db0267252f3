package records

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

// TestSandbox: what a sandbox asks for gives made-up rows alone, and count, first, scan, range and pages
// agree on them.
func TestSandbox(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	real := map[string]any{"orgId": "o", "workspaceId": "w", "mediumId": "c", "ltv": 1, "timestamp": start}
	store(t, cloud.Firestore, map[string]map[string]any{"VipUsers/real": real, "VipMessages/real": real})
	window := func(p jobs.Params) jobs.Params {
		p[dataset.Workspace], p[dataset.Medium], p[jobs.ParamFrom], p[jobs.ParamTo] = "w", "c", start.Add(-time.Hour), start.Add(time.Hour)
		return p
	}
	for _, c := range []struct {
		d    *dataset.Dataset
		p    jobs.Params
		rows int
	}{
		{dataset.VIPUsers, jobs.Params{dataset.Workspace: "w", dataset.Medium: "c"}, SandboxRows},
		{dataset.VIPUsers, jobs.Params{"hasBirthday": true}, SandboxRows / 2},
		{dataset.VIPUsers, jobs.Params{"hasBirthday": true, "birthdayMonth": int64(3)}, SandboxRows / 12},
		{dataset.VIPUsers, jobs.Params{"hasBirthday": true, "birthdayMonth": int64(4)}, 0},
		{dataset.VIPMessages, window(jobs.Params{}), SandboxRows},
		{dataset.VIPMessages, window(jobs.Params{"label": "label-1", "contentType": "text"}), SandboxRows / 12},
	} {
		q := c.d.Query(jobs.SandboxOf("o"), c.p)
		ids, err := scanIDs(t.Context(), r, q, vip.Range{}, Options{})
		if err != nil || len(ids) != c.rows || slices.Contains(ids, "real") {
			t.Errorf("%v has %d rows, want %d: %v", c.p, len(ids), c.rows, err)
		}
		n, at, err := r.Count(t.Context(), q, vip.Range{}, time.Time{})
		if err != nil || n != int64(c.rows) || at.IsZero() {
			t.Errorf("%v counts %d at %s, %v", c.p, n, at, err)
		}
		if counts, total, err := r.LabelCounts(t.Context(), q); err != nil || total != n || c.rows > 0 && (counts[0] != LabelCount{"greeting", n}) {
			t.Errorf("%v has labels %v of %d, %v", c.p, counts, total, err)
		}
		first, err := r.First(t.Context(), q, vip.Range{}, time.Time{})
		if err != nil || (first == nil) != (c.rows == 0) || first != nil && first.ID != ids[0] {
			t.Errorf("%v begins with %v, %v", c.p, first, err)
		}
		var paged []string
		var after *vip.Position
		for {
			page, err := r.Page(t.Context(), q, after, 0, 7, MaxDocument, idRow{})
			if err != nil {
				t.Fatal(err)
			}
			paged = append(paged, pageIDs(page)...)
			if after = page.Next; after == nil {
				break
			}
		}
		if !slices.Equal(paged, ids) {
			t.Errorf("%v pages to\n%v, want\n%v", c.p, paged, ids)
		}
		if c.rows < 10 {
			continue
		}
		p, err := r.Page(t.Context(), q, nil, 3, 1, MaxDocument, idRow{})
		if err != nil || fmt.Sprint(pageIDs(p)) != fmt.Sprint(ids[3:4]) || p.Next == nil {
			t.Fatalf("a page of one at 3: %v, %v", pageIDs(p), err)
		}
		head, err := scanIDs(t.Context(), r, q, vip.Range{To: p.Next}, Options{})
		tail, terr := scanIDs(t.Context(), r, q, vip.Range{From: p.Next}, Options{})
		if err != nil || terr != nil || !slices.Equal(slices.Concat(head, tail), ids) || len(head) != 3 {
			t.Errorf("cut at 3: %v and %v, %v, %v", head, tail, err, terr)
		}
	}
	if _, err := r.structured(vip.Query{Sandbox: true}, vip.Range{}); err == nil {
		t.Error("a query of a sandbox can reach the database")
	}
	if ids, err := scanIDs(t.Context(), r, users(), vip.Range{}, Options{}); err != nil || !slices.Equal(ids, []string{"real"}) {
		t.Errorf("a real query gives %v, %v", ids, err)
	}
}
