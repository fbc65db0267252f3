package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// refused says why Firestore refuses an id, as Google's emulator does.
func refused(id string) error {
	switch {
	case id == "", len(id) > 1500, !utf8.ValidString(id), strings.Contains(id, "/"), id == ".", id == "..":
		return fmt.Errorf("%q can be no id", id)
	case len(id) > 4 && id[:2] == "__" && id[len(id)-2:] == "__":
		if n, err := strconv.ParseInt(strings.TrimPrefix(id[:len(id)-2], "__id"), 10, 64); err != nil || fmt.Sprintf("__id%d__", n) != id || n == 0 {
			return fmt.Errorf("%q is reserved", id)
		}
	}
	return nil
}

// prefixes are what ids may begin with that a cut may stumble over.
func prefixes() []string {
	list := []string{"", ".", "..", "-", "a", "_", "__", "___", "____", "_____", "__id", "__id7", "__id7_", "__id7__", "__id-", "__x", "__x_", "__x__", "~",
		"日", "日本", "مرحبا", "😀", "\x01", "\uE000", "\uFFFF", "\U0010FFFF", "message-0000"}
	for _, n := range []int{1480, 1486, 1487, 1488, 1489, 1490, 1494, 1495, 1496, 1497, 1498, 1499, 1500} {
		list = append(list, strings.Repeat("x", n), "__"+strings.Repeat("_", n-2), "__"+strings.Repeat("x", n-3)+"_")
	}
	return list
}

// TestCuts: whatever the fan, cuts are ids that Firestore takes, that are no numbers, and that follow one
// another.
func TestCuts(t *testing.T) {
	t.Parallel()
	check := func(a axis, lo, hi uint64, fan int) {
		p := piece{axis: a, lo: lo, hi: hi, rows: math.MaxInt64}
		step, last := (hi-lo)/min(uint64(fan), hi-lo), vip.Position{}
		for n := lo + step; n < hi && n >= lo+step; n += step {
			cut := p.axis.position(n)
			if err := refused(cut.ID); err != nil {
				t.Fatalf("cut %d of a fan of %d: %v", n, fan, err)
			}
			if last.ID != "" && vip.CompareIDs(last.ID, cut.ID) >= 0 {
				t.Fatalf("cut %d of a fan of %d: %q does not follow %q", n, fan, cut.ID, last.ID)
			}
			if _, number := vip.NumericID(cut.ID); number {
				if _, text := a.(textAxis); text {
					t.Fatalf("cut %d of a fan of %d is a number: %s", n, fan, cut.ID)
				}
			}
			last = cut
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	lo, hi := numberAxis{}.bounds()
	for fan := 2; fan <= 1000; fan += 7 {
		check(numberAxis{}, lo, hi, fan)
	}
	for i, prefix := range prefixes() {
		for _, letters := range []alphabet{usual, everyScript{}} {
			a, _ := newTextAxis(nil, prefix, letters)
			if a == nil {
				if len(prefix) < vip.MaxIDBytes-letters.widest() {
					t.Errorf("no axis behind %d bytes", len(prefix))
				}
				continue
			}
			lo, hi := a.bounds()
			for fan := 2; fan <= 1000; fan++ {
				if i == 0 && letters == alphabet(usual) || fan <= 3 || fan >= 61 && fan <= maxFan || fan%97 == 0 {
					check(a, lo, hi, fan)
				}
			}
			for range 5 {
				from := r.Uint64N(hi)
				check(a, from, from+1+r.Uint64N(hi-from), 2+r.IntN(999))
			}
		}
	}
}

// TestPlaces: the place of an id is that of the last cut before it.
func TestPlaces(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for _, prefix := range prefixes() {
		for _, letters := range []alphabet{usual, everyScript{}} {
			a, _ := newTextAxis(nil, prefix, letters)
			if a == nil {
				continue
			}
			_, hi := a.bounds()
			for range 200 {
				id := prefix + oddID(r)
				n := a.indexOf(vip.Position{ID: id})
				if n > 0 && a.position(n).ID > id || n+1 < hi && a.position(n+1).ID <= id {
					t.Fatalf("%T behind %.20q: %q is at %d, between %q and %q", letters, prefix, id, n, a.position(n).ID, a.position(min(n+1, hi-1)).ID)
				}
			}
		}
	}
	var a numberAxis
	for _, n := range []int64{math.MinInt64, math.MinInt64 + 1, -2, -1, 1, 2, 3, math.MaxInt64 - 1} {
		if got := a.position(a.indexOf(vip.Position{ID: vip.NumericIDOf(n)})).ID; got != vip.NumericIDOf(n) {
			t.Errorf("the place of %d is that of %s", n, got)
		}
	}
}

// oddID is an id of any script, also such that look like what is reserved.
func oddID(r *rand.Rand) string {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	for {
		var b strings.Builder
		for range 1 + r.IntN(6) {
			b.WriteString(pick("_", "__", ".", "-", "~", "a", "Z", "0", "id", "é", "я", "日", "本", "ع", "ह", "가", "😀", "\uE000", "\uFFFF", "\U0010FFFF", " ", "\x01", "@",
				string(everyScript{}.char(r.Uint64N(everyScript{}.size())))))
		}
		if refused(b.String()) == nil {
			return b.String()
		}
	}
}

// row and table are a collection in memory that is as strict as Firestore is.
type tableRow struct {
	key []byte
	id  string
}

type table struct {
	t      *testing.T
	rows   []tableRow
	counts atomic.Int64
}

func (tb *table) sort() {
	slices.SortFunc(tb.rows, func(a, b tableRow) int { return tb.compare(a, vip.Position{Key: b.key, ID: b.id}) })
}

// compare says where a row lies from a position, in the order of the query.
func (tb *table) compare(r tableRow, p vip.Position) int {
	c, ok := vip.CompareKeys(p.Key, r.key) // descending
	if !ok {
		c = strings.Compare(string(p.Key), string(r.key))
	}
	if c == 0 && p.ID == "" {
		return 1 // the position is before all rows of its key
	}
	return cmp.Or(c, vip.CompareIDs(r.id, p.ID))
}

func (tb *table) find(p *vip.Position, without int) int {
	if p == nil {
		return without
	}
	if p.ID != "" {
		if err := refused(p.ID); err != nil {
			tb.t.Errorf("cursor: %v", err)
		}
	}
	if got, err := vip.ParsePosition(p.String()); err != nil || got.ID != p.ID {
		tb.t.Errorf("position %q is stored and read as %v, %v", p.ID, got, err)
	}
	i, _ := slices.BinarySearchFunc(tb.rows, *p, tb.compare)
	return i
}

func (tb *table) within(rng vip.Range) []tableRow {
	from, to := tb.find(rng.From, 0), tb.find(rng.To, len(tb.rows))
	if to < from {
		tb.t.Errorf("range from row %d to row %d", from, to)
		return nil
	}
	return tb.rows[from:to]
}

func (tb *table) SnapshotTime(context.Context) (time.Time, error) {
	return time.Time{}, errors.ErrUnsupported
}

func (tb *table) Count(_ context.Context, _ vip.Query, rng vip.Range, at time.Time) (int64, time.Time, error) {
	tb.counts.Add(1)
	return int64(len(tb.within(rng))), at, nil
}

func (tb *table) First(_ context.Context, _ vip.Query, rng vip.Range, _ time.Time) (*vip.Position, error) {
	rows := tb.within(rng)
	if len(rows) == 0 {
		return nil, nil
	}
	return &vip.Position{Key: rows[0].key, ID: rows[0].id}, nil
}

func (tb *table) Scan(context.Context, vip.Query, vip.Range, time.Time, records.Options, func([]byte) error) error {
	return errors.ErrUnsupported
}

// TestPlanAnyIDs plans ties whose ids are as odd as can be: each row is in one part, the parts are as
// planned, and none is much larger than asked for.
func TestPlanAnyIDs(t *testing.T) {
	t.Parallel()
	auto := func(r *rand.Rand, letters string) string {
		b := make([]byte, 20)
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	runes := func(from rune, n int) func(*rand.Rand, int) string {
		return func(r *rand.Rand, _ int) string {
			s := make([]rune, 8)
			for i := range s {
				s[i] = from + r.Int32N(int32(n))
			}
			return string(s)
		}
	}
	for name, c := range map[string]struct {
		rows, target int
		id           func(r *rand.Rand, i int) string
	}{
		"dot first, 51,001":      {51_001, 50_000, func(r *rand.Rand, i int) string { return [...]string{".", ""}[min(i, 1)] + auto(r, letters) }},
		"two dots first, 51,001": {51_001, 50_000, func(r *rand.Rand, i int) string { return [...]string{"..", ""}[min(i, 1)] + auto(r, letters) }},
		"automatic, fan of 64":   {6400, 100, func(r *rand.Rand, _ int) string { return auto(r, letters) }},
		"dots":                   {5000, 100, func(r *rand.Rand, _ int) string { return auto(r, ".")[:1+r.IntN(2)] + auto(r, letters) }},
		"only dots":              {1400, 100, func(_ *rand.Rand, i int) string { return strings.Repeat(".", i+3) }},
		"only underscores":       {40, 4, func(_ *rand.Rand, i int) string { return strings.Repeat("_", i+1) + "a" }},
		"around reserved":        {5000, 100, func(r *rand.Rand, i int) string { return "__" + auto(r, "_a") + "__" + strconv.Itoa(i) }},
		"numbers in sequence":    {5000, 100, func(_ *rand.Rand, i int) string { return vip.NumericIDOf(int64(i + 1)) }},
		"numbers of any size":    {5000, 100, func(r *rand.Rand, _ int) string { return vip.NumericIDOf(int64(r.Uint64()>>r.IntN(60)) | 1) }},
		"numbers and text": {5000, 100, func(r *rand.Rand, i int) string {
			return []string{auto(r, letters), vip.NumericIDOf(int64(i + 1)), "__id" + strconv.Itoa(i)}[i%3]
		}},
		"digits":               {5000, 100, func(_ *rand.Rand, i int) string { return strconv.Itoa(i) }},
		"every script":         {5000, 100, func(r *rand.Rand, i int) string { return oddID(r) + strconv.Itoa(i) }},
		"cyrillic":             {5000, 100, runes('а', 32)},
		"kanji":                {5000, 100, runes('一', 2000)},
		"emoji":                {5000, 100, runes('😀', 60)},
		"hangul with a prefix": {5000, 100, func(r *rand.Rand, i int) string { return "사용자-" + runes('가', 500)(r, i) }},
		"punctuation":          {5000, 100, func(r *rand.Rand, _ int) string { return auto(r, `!"#$%&'()*+,:;<=>?@[\]^{|}`) }},
		"addresses":            {5000, 100, func(_ *rand.Rand, i int) string { return fmt.Sprintf("user.%d@example.com", i) }},
		"as long as can be":    {5000, 100, func(_ *rand.Rand, i int) string { return strings.Repeat("x", 1490) + fmt.Sprintf("%010d", i) }},
		"long, every script":   {5000, 100, func(_ *rand.Rand, i int) string { return strings.Repeat("日", 496) + fmt.Sprintf("%012d", i) }},
		"each a prefix":        {300, 20, func(_ *rand.Rand, i int) string { return strings.Repeat("a", i+1) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(5, uint64(c.rows)))
			tb := &table{t: t}
			for seen := map[string]bool{}; len(tb.rows) < c.rows; {
				if id := c.id(r, len(tb.rows)); !seen[id] && refused(id) == nil {
					seen[id] = true
					tb.rows = append(tb.rows, tableRow{vip.DoubleKey(0), id})
				} else if !seen[id] || name != "numbers of any size" && !strings.Contains(name, "dots") {
					t.Fatalf("the test makes id %q twice, or it is refused: %v", id, refused(id))
				}
			}
			// Ids that each part from the next at another character need a pass each: such are cut right, but
			// not evenly.
			chain := strings.HasPrefix(name, "only") || name == "each a prefix"
			if largest := checkPlan(t, tb, int64(c.target)); largest > 3*int64(c.target) && !chain {
				t.Errorf("the largest part has %d rows, want at most %d", largest, 3*c.target)
			}
		})
	}
}

// TestPlanAnyKeys plans sort keys of every type that a document may have in their place, in all mixtures.
func TestPlanAnyKeys(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	kinds := []func(r *rand.Rand) any{
		func(*rand.Rand) any { return nil }, func(r *rand.Rand) any { return r.IntN(2) == 0 }, func(*rand.Rand) any { return math.NaN() },
		func(r *rand.Rand) any { return math.Inf(1 - 2*r.IntN(2)) }, func(r *rand.Rand) any { return math.Copysign(0, float64(1-2*r.IntN(2))) },
		func(r *rand.Rand) any { return r.NormFloat64() }, func(r *rand.Rand) any { return int64(r.Uint64()) }, func(r *rand.Rand) any { return int64(r.IntN(5)) },
		func(r *rand.Rand) any { return float64(r.IntN(5)) }, func(r *rand.Rand) any { return math.MaxFloat64 * float64(1-2*r.IntN(2)) },
		func(r *rand.Rand) any { return []float64{5e-324, -5e-324}[r.IntN(2)] }, func(r *rand.Rand) any { return time.Unix(r.Int64N(1e9), 0) },
		func(r *rand.Rand) any { return oddID(r) }, func(r *rand.Rand) any { return []byte(oddID(r)) }, func(*rand.Rand) any { return csvrowtest.Geo{} },
		func(*rand.Rand) any { return []any{} }, func(*rand.Rand) any { return map[string]any{} }, func(*rand.Rand) any { return csvrowtest.Ref("projects/p/d") },
	}
	for round := range 40 {
		tb := &table{t: t}
		some := kinds[:0:0]
		for range 1 + random.IntN(4) {
			some = append(some, kinds[random.IntN(len(kinds))])
		}
		for i := range 500 {
			tb.rows = append(tb.rows, tableRow{csvrowtest.Value(some[random.IntN(len(some))](random)), oddID(random) + strconv.Itoa(i)})
		}
		checkPlan(t, tb, int64(10+random.IntN(200)))
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// checkPlan plans the rows of a table, and gives the size of the largest part.
func checkPlan(t *testing.T, tb *table, target int64) (largest int64) {
	t.Helper()
	tb.sort()
	plan, err := New(tb, nil, Config{PartRows: target, MaxParts: 1000}).Plan(t.Context(), &jobs.Job{Kind: "vip-users", Columns: dataset.VIPUsers.Version, SnapshotTime: time.Unix(1, 0)})
	if err != nil {
		t.Fatalf("Plan() = %v", err)
	}
	parse := func(s string) *vip.Position {
		if s == "" {
			return nil
		}
		p, err := vip.ParsePosition(s)
		if err != nil {
			t.Fatal(err)
		}
		return &p
	}
	next, edge := 0, ""
	for i, p := range plan.Parts {
		rows := tb.within(vip.Range{From: parse(p.From), To: parse(p.To)})
		if p.From != edge || int64(len(rows)) != p.Rows || len(rows) > 0 && &rows[0] != &tb.rows[next] {
			t.Fatalf("part %d of %d has %d rows, planned are %d", i, len(plan.Parts), len(rows), p.Rows)
		}
		next, edge, largest = next+len(rows), p.To, max(largest, p.Rows)
	}
	if next != len(tb.rows) || edge != "" {
		t.Fatalf("%d rows in parts, want %d", next, len(tb.rows))
	}
	t.Logf("%d rows in %d parts, the largest of %d, after %d counts", next, len(plan.Parts), largest, tb.counts.Load())
	return largest
}
