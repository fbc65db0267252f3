package records

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/internal/heaptest"
	"exportd/internal/vip"
	"exportd/jobs"
)

// TestLabelCountsInPieces: a window that is read in pieces, a burst within one microsecond among them, is
// counted as its labels' own queries count.
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

// TestLongLabels: what an overview counts, its own query finds; labels that no request can ask for are in
// neither.
func TestLongLabels(t *testing.T) {
	t.Parallel()
	cloud, r := open(t)
	labels := []string{"short", strings.Repeat("x", LabelRunes), strings.Repeat("x", LabelRunes+1), strings.Repeat("é", LabelRunes+1)}
	docs := map[string]map[string]any{}
	for i, label := range labels {
		docs[fmt.Sprint("VipMessages/", i)] = map[string]any{"workspaceId": "w", "mediumId": "c", "timestamp": start, "labels": []any{label, "all"}}
	}
	store(t, cloud.Firestore, docs)
	counts, total, err := r.LabelCounts(t.Context(), messages())
	if err != nil || total != 4 || len(counts) != 3 {
		t.Fatalf("LabelCounts() = %d labels of %d rows, %v", len(counts), total, err)
	}
	for _, c := range counts {
		n, _, err := r.Count(t.Context(), messages(func(p jobs.Params) { p["label"] = c.Label }), vip.Range{}, time.Time{})
		if err != nil || n != c.Count {
			t.Errorf("%.9q is counted %d times and found %d times, %v", c.Label, c.Count, n, err)
		}
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

// manyLabels is more than an overview holds; 1000000 takes a minute.
var manyLabels = flag.Int("labels", 110_000, "how many labels TestOverviewOfManyLabels stores")

// TestOverviewOfManyLabels: an overview of more labels than it holds ends with an error and the number of
// messages, what is within its bounds is counted.
func TestOverviewOfManyLabels(t *testing.T) {
	t.Parallel()
	const each = 10_000 // labels of a message, of which an index takes 40,000 entries
	cloud, r := open(t)
	docs := map[string]map[string]any{}
	for i := range *manyLabels / each {
		labels := make([]any, each)
		for j := range labels {
			labels[j] = fmt.Sprintf("label %07d", i*each+j)
		}
		docs[fmt.Sprintf("VipMessages/m%03d", i)] = map[string]any{"workspaceId": "w", "mediumId": "c", "timestamp": start.Add(time.Duration(i) * time.Second), "labels": labels}
	}
	for path, doc := range docs { // one a commit, which has its own bounds
		store(t, cloud.Firestore, map[string]map[string]any{path: doc})
	}
	q := messages()
	q.From, q.To = start, start.Add(time.Duration(OverviewLabels/each)*time.Second)
	counts, total, err := r.LabelCounts(t.Context(), q)
	if err != nil || len(counts) != OverviewLabels || total != OverviewLabels/each {
		t.Errorf("LabelCounts() within the bound = %d labels of %d messages, %v", len(counts), total, err)
	}
	q.To = start.Add(time.Duration(len(docs)) * time.Second)
	counts, total, err = r.LabelCounts(t.Context(), q)
	if !errors.Is(err, ErrTooManyLabels) || counts != nil || total != int64(len(docs)) {
		t.Errorf("LabelCounts() of %d labels = %d labels of %d messages, %v", *manyLabels, len(counts), total, err)
	}
}

// TestLabelSum: a sum takes labels up to its bounds, in number and in bytes, and none of a million more.
func TestLabelSum(t *testing.T) { // not parallel: it measures the heap
	for name, labels := range map[string]int{"short": 1_000_000, "long": 100_000} {
		text := strings.Repeat("x", map[string]int{"long": 1400}[name])
		sum := labelSum{byLabel: map[string]int64{}}
		before := heaptest.InUse()
		refused := 0
		one := map[string]int64{}
		for i := range labels {
			one[text+strconv.Itoa(i)] = 1
			if err := sum.add(one, 1); err != nil {
				refused++
				clear(one)
			}
		}
		grown := heaptest.InUse() - before
		t.Logf("%d %s labels, %d refused: %.1f MiB", labels, name, refused, float64(grown)/(1<<20))
		if len(sum.byLabel) > OverviewLabels || len(sum.byLabel)*len(text) > OverviewLabelBytes || refused != labels-len(sum.byLabel) || len(sum.byLabel) < 2500 {
			t.Errorf("%s: %d labels are held, %d were refused", name, len(sum.byLabel), refused)
		}
		if grown > 16<<20 {
			t.Errorf("%s: %d MiB are held", name, grown>>20)
		}
		if sum.add(map[string]int64{fmt.Sprint(text, 1): 1}, 1) != nil || sum.byLabel[fmt.Sprint(text, 1)] != 2 {
			t.Errorf("%s: a label that is held is not counted", name)
		}
	}
}
