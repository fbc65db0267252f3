package records

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"exportd/internal/vip"
)

// TestLabelCountsInPieces: a window that is read in pieces, a burst within one microsecond among
// them, is counted as its labels' own queries count.
func TestLabelCountsInPieces(t *testing.T) {
	t.Parallel()
	const rows = pieceRows + 3000
	cloud, r := open(t)
	random := rand.New(rand.NewPCG(1, 7))
	docs := make(map[string]map[string]any, rows)
	want := map[string]int64{}
	for i := range rows {
		at := start.Add(time.Duration(random.IntN(1e6)) * time.Microsecond)
		if i < 2000 {
			at = start
		}
		label := fmt.Sprint("label ", i%7)
		want[label]++
		docs[fmt.Sprintf("VipMessages/p%05d", i)] = map[string]any{"workspaceId": "w", "mediumId": "c", "timestamp": at, "labels": []any{label, label}}
	}
	store(t, cloud.Firestore, docs)
	q := messages()
	n, at, err := r.Count(t.Context(), q, vip.Range{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	pieces, err := r.cut(t.Context(), stretch{q.From, q.To, n}, q, at)
	if err != nil || len(pieces) < 2 {
		t.Fatalf("%d pieces, %v", len(pieces), err)
	}
	before := cloud.Faults().Counters().DocumentsRead
	counts, total, err := r.LabelCounts(t.Context(), q)
	if err != nil || total != rows || len(counts) != len(want) {
		t.Fatalf("LabelCounts() = %d labels of %d rows, %v", len(counts), total, err)
	}
	for _, c := range counts {
		if want[c.Label] != c.Count {
			t.Errorf("label %q is counted %d times, want %d", c.Label, c.Count, want[c.Label])
		}
	}
	billed := cloud.Faults().Counters().DocumentsRead - before
	t.Logf("%d rows in %d pieces: %d reads", rows, len(pieces), billed)
	if billed > rows*102/100+200 {
		t.Errorf("%d reads for %d rows", billed, rows)
	}
}

// TestFan: the pieces of a window lie end to end, none is empty, and each is whole microseconds.
func TestFan(t *testing.T) {
	t.Parallel()
	for _, wide := range []time.Duration{2 * time.Microsecond, 3 * time.Microsecond, 17 * time.Microsecond, time.Second + time.Microsecond, 31 * 24 * time.Hour} {
		for _, rows := range []int64{pieceRows + 1, 10 * pieceRows, OverviewRows} {
			whole := stretch{from: start, to: start.Add(wide), rows: rows}
			from := whole.from
			pieces := whole.fan()
			for _, p := range pieces {
				if !p.from.Equal(from) || !p.to.After(p.from) || p.to.Sub(p.from)%time.Microsecond != 0 {
					t.Fatalf("%d rows in %s: piece from %s to %s, want from %s", rows, wide, p.from, p.to, from)
				}
				from = p.to
			}
			if !from.Equal(whole.to) || len(pieces) < 2 || len(pieces) > overviewFan {
				t.Errorf("%d rows in %s: %d pieces to %s, want to %s", rows, wide, len(pieces), from, whole.to)
			}
		}
	}
}
