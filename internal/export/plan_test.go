package export_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/dataset"
	"exportd/internal/export"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/internal/vip/wire"
	"exportd/jobs"
)

// skew is a distribution of sort keys that a planner may choke on.
type skew struct {
	name string
	kind jobs.Kind
	rows int
	key  func(r *rand.Rand, i int) any
	id   func(r *rand.Rand, i int) string
	// of is the dataset, where it is none that is built in.
	of *dataset.Dataset
	// odd keys are no numbers: rows that should not exist are exported, but not in balance.
	odd bool
}

// skewTarget is the rows of a part in these tests; the rows of each skew are dozens of it.
const skewTarget = 100

var skewDay = time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)

var skews = []skew{
	{name: "all keys equal", kind: "vip-users", rows: 4000, id: randomID, key: func(*rand.Rand, int) any { return 0.0 }},
	{name: "all keys equal, ids in sequence", kind: "vip-users", rows: 4000, id: sequentialID, key: func(*rand.Rand, int) any { return 0.0 }},
	{name: "all keys equal, as integers and doubles", kind: "vip-users", rows: 2000, id: randomID, key: func(_ *rand.Rand, i int) any {
		return []any{int64(7), 7.0}[i%2]
	}},
	{name: "one giant tie among others", kind: "vip-users", rows: 4000, id: randomID, key: func(r *rand.Rand, i int) any {
		if i < 3000 {
			return 42.5
		}
		return math.Round(r.Float64()*1e6) / 100
	}},
	{name: "exponential keys", kind: "vip-users", rows: 3000, id: sequentialID, key: func(_ *rand.Rand, i int) any {
		return math.Pow(2, float64(i)/2-700)
	}},
	{name: "negative and tiny keys", kind: "vip-users", rows: 3000, id: randomID, key: func(r *rand.Rand, i int) any {
		return []any{-r.ExpFloat64() * 1e9, r.Float64() * 1e-300, math.Copysign(0, -1), -1e-5 * r.Float64()}[i%4]
	}},
	{name: "neighbouring doubles", kind: "vip-users", rows: 3000, id: sequentialID, key: func(_ *rand.Rand, i int) any {
		return math.Float64frombits(math.Float64bits(1) + uint64(i))
	}},
	{name: "microsecond bursts", kind: "vip-messages", rows: 4000, id: randomID, key: func(r *rand.Rand, i int) any {
		switch {
		case i < 1500: // all in one microsecond
			return skewDay.Add(time.Hour)
		case i < 3000: // all in one millisecond
			return skewDay.Add(2*time.Hour + time.Duration(r.IntN(1000))*time.Microsecond)
		}
		return skewDay.Add(time.Duration(r.Int64N(int64(31 * 24 * time.Hour)))).Truncate(time.Microsecond)
	}},
	{name: "everything in the last microsecond", kind: "vip-messages", rows: 2000, id: sequentialID, key: func(*rand.Rand, int) any {
		return skewDay.AddDate(0, 0, 31).Add(-time.Microsecond)
	}},
	{name: "keys that are no numbers", kind: "vip-users", rows: 600, id: randomID, odd: true, key: func(r *rand.Rand, i int) any {
		return []any{"text", nil, math.NaN(), math.Inf(1), math.Inf(-1), map[string]any{"amount": 5}, r.Float64(), true}[i%8]
	}},
}

// texts are sorted by a text, and instants by a time of any year, in both directions.
var (
	upwards   = &dataset.Dataset{Name: "upwards", Collection: "Upwards", Gate: dataset.Gate{OrgField: "orgId"}, Sort: dataset.Sort{Field: "key", Type: dataset.Text, Ascending: true}, Version: 1}
	downwards = &dataset.Dataset{Name: "downwards", Collection: "Downwards", Gate: dataset.Gate{OrgField: "orgId"}, Sort: dataset.Sort{Field: "key", Type: dataset.Text}, Version: 1}
	instants  = &dataset.Dataset{Name: "instants", Collection: "Instants", Gate: dataset.Gate{OrgField: "orgId"}, Sort: dataset.Sort{Field: "key", Type: dataset.Time, Ascending: true}, Version: 1}
	amounts   = &dataset.Dataset{Name: "amounts", Collection: "Amounts", Gate: dataset.Gate{OrgField: "orgId"}, Sort: dataset.Sort{Field: "key", Type: dataset.Number, Ascending: true}, Version: 1}
	own       = dataset.Set{upwards, downwards, instants, amounts}
)

func init() {
	for _, d := range []*dataset.Dataset{upwards, downwards} {
		for _, s := range []skew{
			{name: "keys alike", key: func(*rand.Rand, int) any { return "same" }},
			{name: "order numbers", key: func(_ *rand.Rand, i int) any { return fmt.Sprintf("2026-%08d", i*7) }},
			{name: "one key and those that begin with it", key: func(r *rand.Rand, i int) any {
				return "a" + strings.Repeat("\x01", i%2) + []string{"", randomID(r, i)}[i%3/2]
			}},
			{name: "half of them in one letter", key: func(r *rand.Rand, i int) any { return []string{"m" + randomID(r, i), randomID(r, i)}[i%2] }},
			{name: "of many scripts", key: func(r *rand.Rand, i int) any {
				return string([]rune{[]rune("aб日😀é")[i%5], rune('α' + r.IntN(20)), rune(r.IntN(26) + 'a')})
			}},
			{name: "control characters", key: func(r *rand.Rand, _ int) any {
				return string([]rune{rune(r.IntN(31) + 1), rune(r.IntN(31) + 1), rune(r.IntN(31) + 1)})
			}},
			{name: "long keys that differ at their end", key: func(_ *rand.Rand, i int) any { return strings.Repeat("x", 300) + strconv.Itoa(i) }},
			{name: "keys of other types", odd: true, key: func(r *rand.Rand, i int) any {
				return []any{randomID(r, i), nil, int64(i), 1.5, true, []byte("b"), time.Unix(int64(i), 0), []any{"x"}, ""}[i%9]
			}},
		} {
			s.name, s.of, s.rows, s.id = d.Name+", "+s.name, d, 2000, randomID
			skews = append(skews, s)
		}
	}
	skews = append(skews,
		skew{name: "instants of all years", of: instants, rows: 2000, id: randomID, key: func(r *rand.Rand, i int) any {
			return time.UnixMicro(r.Int64N(1 << uint(10+i%40))).UTC()
		}},
		skew{name: "amounts upwards", of: amounts, rows: 2000, id: sequentialID, key: func(r *rand.Rand, i int) any {
			return []any{r.NormFloat64() * 1e6, int64(i), 7.0}[i%3]
		}})
}

func (s skew) dataset() *dataset.Dataset {
	if s.of != nil {
		return s.of
	}
	return dataset.BuiltIn.Get(string(s.kind))
}

func randomID(r *rand.Rand, _ int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, 20) // as the official clients make them
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

func sequentialID(_ *rand.Rand, i int) string { return fmt.Sprintf("imported-row-%08d", i) }

// TestPlanner: however the keys lie, parts are balanced, and laid end to end they are the whole.
func TestPlanner(t *testing.T) {
	t.Parallel()
	indexes, err := own.IndexFile(localcloudtest.Indexes(t))
	if err != nil {
		t.Fatal(err)
	}
	cloud := localcloudtest.Start(t, func(c *localcloud.Config) { c.IndexesJSON = indexes })
	reader, err := records.Open(t.Context(), records.Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().Firestore})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	for n, s := range skews {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			filter := jobs.Params{"workspaceId": fmt.Sprintf("skew-%d", n), "mediumId": "m"}
			if s.kind == "vip-messages" {
				filter["from"], filter["to"] = skewDay, skewDay.AddDate(0, 0, 31)
			}
			s.write(t, cloud.Firestore, filter.Text("workspaceId"))
			s.check(t, reader, &jobs.Job{Kind: s.dataset().Kind(), Columns: s.dataset().Version, OrgID: filter.Text("workspaceId"), Params: filter})
		})
	}
}

// write stores the rows, 500 a commit. A BulkWriter would keep to 500 a second.
func (s skew) write(t *testing.T, client *firestore.Client, workspaceID string) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, uint64(s.rows)))
	q := s.dataset().Query("o", jobs.Params{})
	rows := make(map[string]any, s.rows)
	for i := range s.rows {
		// The prefix keeps the ids of skews apart; all rows of a skew share it.
		rows[workspaceID+"-"+s.id(r, i)] = s.key(r, i)
	}
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(rows)), 500) {
		err := client.RunTransaction(t.Context(), func(_ context.Context, tx *firestore.Transaction) error {
			for _, id := range ids {
				fields := map[string]any{"workspaceId": workspaceID, "mediumId": "m", "orgId": workspaceID, q.SortField: rows[id]}
				if err := tx.Set(client.Collection(q.Collection).Doc(id), fields); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// check plans the rows in parts and reads each of them.
func (s skew) check(t *testing.T, reader *records.Reader, j *jobs.Job) {
	t.Helper()
	begun := time.Now()
	plan, err := export.New(reader, nil, export.Config{PartRows: skewTarget, MaxParts: 1000, Datasets: append(slices.Clone(dataset.BuiltIn), own...)}).Plan(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(begun)
	if plan.Rows != int64(s.rows) {
		t.Fatalf("the plan is for %d rows, want %d", plan.Rows, s.rows)
	}
	const few = 7
	if bounded, err := export.New(reader, nil, export.Config{PartRows: skewTarget, MaxParts: few, Datasets: own}).Plan(t.Context(), j); s.of != nil && (err != nil || len(bounded.Parts) > few || bounded.Rows != plan.Rows) {
		t.Errorf("%d parts, %v; at most %d may be", len(bounded.Parts), err, few)
	}
	q := s.dataset().Query(j.OrgID, j.Params)
	ids := func(rng vip.Range) (ids []string) {
		t.Helper()
		err := reader.Scan(t.Context(), q, rng, plan.Snapshot, records.Options{}, func(doc []byte) error {
			p, err := q.PositionOf(doc)
			ids = append(ids, p.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	whole := ids(vip.Range{})
	var laid []string
	var largest int64
	edge := ""
	for i, p := range plan.Parts {
		if p.From != edge {
			t.Errorf("part %d does not begin where part %d ends", i, i-1)
		}
		edge = p.To
		part := ids(vip.Range{From: position(t, p.From), To: position(t, p.To)})
		if int64(len(part)) != p.Rows {
			t.Errorf("part %d has %d rows, planned are %d", i, len(part), p.Rows)
		}
		laid = append(laid, part...)
		largest = max(largest, p.Rows)
	}
	if edge != "" {
		t.Errorf("the last part ends at %q", edge)
	}
	if !slices.Equal(laid, whole) || len(whole) != s.rows {
		t.Errorf("%d rows in the parts, %d in the whole, want %d in the same order", len(laid), len(whole), s.rows)
	}
	t.Logf("%d rows in %d parts, the largest of %d, planned in %s", s.rows, len(plan.Parts), largest, took)
	if !s.odd && largest > 3*skewTarget {
		t.Errorf("the largest part has %d rows, want at most %d", largest, 3*skewTarget)
	}
	if least := s.rows / skewTarget / 3; len(plan.Parts) < least && !s.odd || len(plan.Parts) > 3*s.rows/skewTarget {
		t.Errorf("%d parts for %d rows", len(plan.Parts), s.rows)
	}
}

// TestPlanSnapshot: the snapshot is the time of the count, a whole minute with point-in-time recovery, and
// the job's own once it has one.
func TestPlanSnapshot(t *testing.T) {
	t.Parallel()
	earlier := instant.Add(-30 * time.Minute)
	for _, c := range []struct {
		pitr         bool
		pinned, want time.Time
	}{
		{want: instant},
		{pitr: true, want: instant.Truncate(time.Minute)},
		{pinned: earlier, want: earlier},
		{pitr: true, pinned: earlier, want: earlier},
	} {
		j := newJob()
		j.SnapshotTime = c.pinned
		plan, err := export.New(&source{docs: users(t, 7, 5), at: instant}, nil, export.Config{PartRows: 10, MaxParts: 10, PITR: c.pitr}).Plan(t.Context(), j)
		if err != nil || !plan.Snapshot.Equal(c.want) || plan.Rows != 7 || len(plan.Parts) != 1 {
			t.Errorf("Plan() of %+v = %+v, %v", c, plan, err)
		}
	}
	_, err := export.New(&source{docs: users(t, 7, 5), at: instant}, nil, export.Config{PartRows: 10, MaxParts: 10, MaxRows: 6}).Plan(t.Context(), newJob())
	if f := (*jobs.Failure)(nil); !errors.As(err, &f) || f.Code != jobs.CodeTooManyRows || f.Class != jobs.Permanent {
		t.Errorf("Plan() of 7 rows where 6 are allowed = %v", err)
	}
}

// TestPlanForExcel: a compressed sheet has room for so many rows; jobs of plain files behind a mark, as they
// were once, have none of that.
func TestPlanForExcel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		form, header, compression string
		rows                      int64
		fails                     bool
	}{
		{jobs.ExcelUTF16, "", jobs.CompressionGzip, 1<<20 - 1, false}, {jobs.ExcelUTF16, "", jobs.CompressionGzip, 1 << 20, true},
		{jobs.ExcelUTF16, jobs.HeaderOff, jobs.CompressionGzip, 1 << 20, false}, {"", "", jobs.CompressionGzip, 1 << 20, false}, {"", "", "", 1 << 20, false},
	} {
		j := newJob()
		j.Params = j.Params.With(jobs.ParamProfile, jobs.ProfileExcel).With(jobs.ParamExcelForm, c.form).With(jobs.ParamHeader, c.header).With(jobs.ParamCompression, c.compression)
		_, err := export.New(many{&source{at: instant}, c.rows}, nil, export.Config{PartRows: 1 << 30, MaxParts: 1}).Plan(t.Context(), j)
		if f := (*jobs.Failure)(nil); errors.As(err, &f) != c.fails || c.fails && f.Code != jobs.CodeTooManyRows {
			t.Errorf("Plan() of %+v = %v", c, err)
		}
	}
}

// many has more rows than it has.
type many struct {
	*source
	rows int64
}

func (m many) Count(context.Context, vip.Query, vip.Range, time.Time) (int64, time.Time, error) {
	return m.rows, instant, nil
}

func position(t *testing.T, s string) *vip.Position {
	t.Helper()
	if s == "" {
		return nil
	}
	p, err := vip.ParsePosition(s)
	if err != nil || wire.Check(p.Key) != nil {
		t.Fatalf("position %q: %v", s, err)
	}
	return &p
}
