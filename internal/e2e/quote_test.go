package e2e

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

var (
	quoteExports  = flag.Int("quote-exports", 3, "exports of TestQuotes; of more than three, the last third is behind others")
	quoteMessages = flag.Int("quote-messages", 2000, "messages of TestQuotes; an export has a thousandth of half of them to half of them")
)

// quoted is what a quote said of an export, and what came of it.
type quoted struct {
	said struct {
		Rows, EstimatedBytes, JobsAhead int64
		EstimatedSeconds                float64
	}
	rows, bytes int64
	took, ran   float64 // seconds from its request to its end, and of these since it began
}

// TestQuotes: exports of random filters over three orders of magnitude have the rows that their quotes say,
// and their bytes to 10 %. How right the seconds were is told, as a wall time is no verdict. `make quote` has
// 100 exports of up to 20,000 rows: on a deployment without a history, alone, and behind ten others.
func TestQuotes(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir(), "--control", "127.0.0.1:0")
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 300, Messages: *quoteMessages})
	// As far away, and as fast, as Firestore in the same continent.
	s.Hosts.Faults(t, `{"rules": {"Firestore/*": {"latencyMs": 20, "rowsPerSecond": 8000}}}`)
	for range 2 {
		e2etest.Worker(t, exportd, hosts)
	}
	q := &quotes{s, rand.New(rand.NewPCG(17, 3))}
	behind := map[string][]quoted{}
	for i := range *quoteExports {
		name, others := "alone", []string{}
		switch {
		case i < 3:
			name = "without a history"
		case i >= *quoteExports*2/3:
			name = "behind ten others"
			for range 10 {
				kind, query := q.messages(t, 0.1)
				others = append(others, s.Caller().Submit(t, kind, query, "Cache-Control", "no-cache"))
			}
		}
		one := q.export(t)
		behind[name] = append(behind[name], one)
		t.Logf("%s: %d rows, quoted %.1f s behind %d, took %.2f s, %.2f s of them since it began", name, one.rows, one.said.EstimatedSeconds, one.said.JobsAhead, one.took, one.ran)
		if off := math.Abs(float64(one.said.EstimatedBytes)/float64(one.bytes) - 1); one.said.Rows != one.rows || off > 0.1 {
			t.Errorf("quoted %d rows of %d bytes, has %d of %d", one.said.Rows, one.said.EstimatedBytes, one.rows, one.bytes)
		}
		for _, id := range others {
			s.Caller().Await(t, id, exportWithin)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(behind)) {
		tell(t, name, behind[name])
	}
}

type quotes struct {
	s *e2etest.Stack
	r *rand.Rand
}

// filter is that of an export.
func (q *quotes) filter(t *testing.T) (string, url.Values) {
	if q.r.IntN(5) == 0 {
		return "vip-users", q.s.Users("birthdayMonth", fmt.Sprint(1+q.r.IntN(12)))
	}
	return q.messages(t, 0.001)
}

// messages are those of a window, up to the widest and from a share of it.
func (q *quotes) messages(t *testing.T, least float64) (string, url.Values) {
	from, err := time.Parse(time.DateOnly, q.s.From)
	if err != nil {
		t.Fatal(err)
	}
	const widest = 30 * 24 * time.Hour
	window := time.Duration(float64(widest) * math.Pow(least, q.r.Float64()))
	from = from.Add(time.Duration(q.r.Int64N(int64(widest - window + 1))))
	return "vip-messages", q.s.Messages("from", from.Format(time.RFC3339), "to", from.Add(window).Format(time.RFC3339))
}

// export has an export quoted, and made.
func (q *quotes) export(t *testing.T) (out quoted) {
	kind, query := q.filter(t)
	dry := maps.Clone(query)
	dry.Set("dryRun", "true")
	q.s.Caller().Get(t, "/"+kind+"/export", dry, "Cache-Control", "no-cache").Want(t, http.StatusOK).JSON(t, &out.said)
	id := q.s.Caller().Submit(t, kind, query, "Cache-Control", "no-cache")
	if j := q.s.Caller().Await(t, id, exportWithin); j.State != "succeeded" {
		t.Fatalf("job %s is %s: %+v", id, j.State, j.Error)
	}
	var j struct {
		CreatedAt, StartedAt, FinishedAt time.Time
		TotalCount, SizeBytes            int64
	}
	q.s.Caller().Get(t, "/exports/"+id, nil).Want(t, http.StatusOK).JSON(t, &j)
	out.rows, out.bytes = j.TotalCount, j.SizeBytes
	out.took, out.ran = j.FinishedAt.Sub(j.CreatedAt).Seconds(), j.FinishedAt.Sub(j.StartedAt).Seconds()
	return out
}

// tell says how right seconds were.
func tell(t *testing.T, name string, all []quoted) {
	var ratios []float64
	within := 0
	for _, q := range all {
		ratio := q.said.EstimatedSeconds / q.took
		ratios = append(ratios, ratio)
		if ratio >= 0.5 && ratio <= 2 {
			within++
		}
	}
	slices.Sort(ratios)
	at := func(share float64) float64 { return ratios[int(share*float64(len(ratios)-1)+0.5)] }
	t.Logf("%s: %d of %d quotes are within 2x of the seconds; quoted to true: least %.2f, a tenth below %.2f, median %.2f, a tenth above %.2f, most %.2f",
		name, within, len(all), at(0), at(0.1), at(0.5), at(0.9), at(1))
}
