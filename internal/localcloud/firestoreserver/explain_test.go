package firestoreserver_test

import (
	"strconv"
	"testing"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver"
)

// explain runs q to its end and returns its rows and metrics.
func explain(t *testing.T, q firestore.Query, analyze bool) (rows int, m *firestore.ExplainMetrics, err error) {
	t.Helper()
	it := q.WithRunOptions(firestore.ExplainOptions{Analyze: analyze}).Documents(t.Context())
	defer it.Stop()
	for {
		if _, err := it.Next(); err == iterator.Done {
			break
		} else if err != nil {
			return rows, nil, err
		}
		rows++
	}
	m, err = it.ExplainMetrics()
	return rows, m, err
}

func indexesUsed(m *firestore.ExplainMetrics) (out []string) {
	for _, ix := range m.PlanSummary.IndexesUsed {
		out = append(out, (*ix)["query_scope"].(string)+" "+(*ix)["properties"].(string))
	}
	return out
}

func TestExplain(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{IndexesJSON: []byte(`{"indexes":[{"collectionGroup":"c","queryScope":"COLLECTION","fields":[
		{"fieldPath":"a","order":"ASCENDING"},{"fieldPath":"b","order":"DESCENDING"}]}]}`)})
	c := f.client.Collection("c")
	for i := range 7 {
		if _, err := c.NewDoc().Set(t.Context(), map[string]any{"a": i % 2, "b": i, "d": i}); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		q    firestore.Query
		want string
		rows int
	}{
		"all":       {c.Query, "Collection (__name__ ASC)", 7},
		"composite": {c.Where("a", "==", 1).OrderBy("b", firestore.Desc), "Collection (a ASC, b DESC, __name__ DESC)", 3},
		"single":    {c.Where("d", ">", 2), "Collection (d ASC, __name__ ASC)", 4},
		"none":      {c.Where("d", ">", 99), "Collection (d ASC, __name__ ASC)", 0},
	} {
		for _, analyze := range []bool{false, true} {
			rows, m, err := explain(t, tt.q, analyze)
			if err != nil {
				t.Errorf("%s, analyze %v: %v", name, analyze, err)
				continue
			}
			if got := indexesUsed(m); len(got) != 1 || got[0] != tt.want {
				t.Errorf("%s, analyze %v: indexes = %q, want %q", name, analyze, got, tt.want)
			}
			switch {
			case !analyze && (rows != 0 || m.ExecutionStats != nil):
				t.Errorf("%s, plan only: %d rows and statistics %v, want neither", name, rows, m.ExecutionStats)
			case analyze && (rows != tt.rows || m.ExecutionStats == nil || m.ExecutionStats.ResultsReturned != int64(rows) || m.ExecutionStats.ReadOperations != int64(max(rows, 1))):
				t.Errorf("%s, analyze: %d rows, statistics %+v, want %d", name, rows, m.ExecutionStats, tt.rows)
			case analyze && (*m.ExecutionStats.DebugStats)["index_entries_scanned"] != strconv.Itoa(rows): // as the Go client's own tests want it
				t.Errorf("%s, analyze: %v, want %d entries", name, *m.ExecutionStats.DebugStats, rows)
			}
		}
	}
}

// TestExplainWithoutIndex: the plan of a query that has no index is a refusal, for a scan and for an
// aggregation.
func TestExplainWithoutIndex(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	q := f.client.Collection("c").Where("a", "==", 1).OrderBy("b", firestore.Desc)
	for _, analyze := range []bool{false, true} {
		if _, _, err := explain(t, q, analyze); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("query, analyze %v: %v, want FAILED_PRECONDITION", analyze, err)
		}
		counted := q.WithRunOptions(firestore.ExplainOptions{Analyze: analyze})
		_, err := counted.NewAggregationQuery().WithCount("n").GetResponse(t.Context())
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("aggregation, analyze %v: %v, want FAILED_PRECONDITION", analyze, err)
		}
	}
}

func TestExplainAggregation(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	c := f.client.Collection("c")
	for i := range 3 {
		if _, err := c.NewDoc().Set(t.Context(), map[string]any{"a": i}); err != nil {
			t.Fatal(err)
		}
	}
	for _, analyze := range []bool{false, true} {
		q := c.Where("a", ">", 0).WithRunOptions(firestore.ExplainOptions{Analyze: analyze})
		r, err := q.NewAggregationQuery().WithCount("n").GetResponse(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.ExplainMetrics == nil || len(r.ExplainMetrics.PlanSummary.IndexesUsed) != 1 {
			t.Fatalf("analyze %v: metrics = %+v", analyze, r.ExplainMetrics)
		}
		if got := len(r.Result) > 0; got != analyze {
			t.Errorf("analyze %v: result %v", analyze, r.Result)
		}
	}
}

// TestExplainNearest: the plan of a search is its vector index, and a search that was made has its vectors
// among what is billed.
func TestExplainNearest(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{IndexesJSON: []byte(`{"indexes":[{"collectionGroup":"c","queryScope":"COLLECTION","fields":[
		{"fieldPath":"v","vectorConfig":{"dimension":2,"flat":{}}}]}]}`)})
	c := f.client.Collection("c")
	for i := range 3 {
		if _, err := c.NewDoc().Set(t.Context(), map[string]any{"v": firestore.Vector64{1, float64(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	near := func(q firestore.Query, analyze bool) (rows int, m *firestore.ExplainMetrics, err error) {
		vq := q.WithRunOptions(firestore.ExplainOptions{Analyze: analyze}).FindNearest("v", firestore.Vector64{1, 0}, 2, firestore.DistanceMeasureEuclidean, nil)
		it := vq.Documents(t.Context())
		defer it.Stop()
		for ; err == nil; rows++ {
			_, err = it.Next()
		}
		if err == iterator.Done {
			m, err = it.ExplainMetrics()
		}
		return rows - 1, m, err
	}
	for _, analyze := range []bool{false, true} {
		rows, m, err := near(c.Query, analyze)
		if err != nil {
			t.Fatalf("analyze %v: %v", analyze, err)
		}
		if got := indexesUsed(m); len(got) != 1 || got[0] != "Collection (v VECTOR, __name__ ASC)" {
			t.Errorf("analyze %v: indexes = %q", analyze, got)
		}
		if analyze && (rows != 2 || m.ExecutionStats.ResultsReturned != 2 || m.ExecutionStats.ReadOperations != 3) || !analyze && (rows != 0 || m.ExecutionStats != nil) {
			t.Errorf("analyze %v: %d rows, statistics %+v", analyze, rows, m.ExecutionStats)
		}
		if _, _, err := near(c.Where("a", "==", 1), analyze); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("without its index, analyze %v: %v, want FAILED_PRECONDITION", analyze, err)
		}
	}
}
