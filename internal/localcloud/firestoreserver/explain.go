package firestoreserver

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// scanned is what serving a query took.
type scanned struct{ results, skipped, entries int }

// explained answers explain_options as production does: without analyze the plan alone, no documents (then
// done is true); with it nil until the rows are out. https://cloud.google.com/firestore/docs/query-explain
func (s *Server) explained(opt *firestorepb.ExplainOptions, q *fsquery.Query, aggregated []fsvalue.FieldPath) (m *firestorepb.ExplainMetrics, done bool, err error) {
	if opt == nil {
		return nil, false, nil
	}
	indexes, err := s.indexesOf(q, aggregated)
	if missing := (*fsindex.MissingError)(nil); errors.As(err, &missing) {
		if !opt.GetAnalyze() {
			// Production's words for a plan alone; a query that runs gets those with the link.
			return nil, false, errNoIndex
		}
		return nil, false, s.answer(err)
	}
	if err != nil {
		return nil, false, err
	}
	m = &firestorepb.ExplainMetrics{PlanSummary: &firestorepb.PlanSummary{}}
	for _, ix := range indexes {
		used, err := structpb.NewStruct(map[string]any{"query_scope": scopeName(ix.Scope), "properties": properties(&ix)})
		if err != nil {
			return nil, false, fmt.Errorf("explain: %w", err)
		}
		m.PlanSummary.IndexesUsed = append(m.PlanSummary.IndexesUsed, used)
	}
	return m, !opt.GetAnalyze(), nil
}

// indexesOf are the indexes that serve q.
func (s *Server) indexesOf(q *fsquery.Query, aggregated []fsvalue.FieldPath) ([]fsindex.Index, error) {
	if q.FindNearest != nil {
		used, err := s.nearestIndexes(q)
		if s.opt.IndexMode != Enforce && used == nil {
			return usedIndexes(q, nil), nil
		}
		return used, err
	}
	plan, err := s.plan(q, aggregated)
	if err != nil {
		return nil, err
	}
	return usedIndexes(q, plan), nil
}

// usedIndexes lists each index of a plan once. Documents in name order are the index of names, and so is what
// the other modes read without an index.
func usedIndexes(q *fsquery.Query, plan *fsindex.Plan) (out []fsindex.Index) {
	scope := fsindex.Collection
	if q.AllDescendants {
		scope = fsindex.CollectionGroup
	}
	names := fsindex.Index{Group: q.CollectionID, Scope: scope}
	add := func(ix fsindex.Index) {
		if !slices.ContainsFunc(out, func(o fsindex.Index) bool { return o.Key() == ix.Key() }) {
			out = append(out, ix)
		}
	}
	if plan == nil {
		return []fsindex.Index{names}
	}
	for _, b := range plan.Branches {
		if len(b.Scans) == 0 {
			add(names)
		}
		for _, scan := range b.Scans {
			add(scan.Index)
		}
	}
	return out
}

func scopeName(s fsindex.Scope) string {
	if s == fsindex.CollectionGroup {
		return "Collection group"
	}
	return "Collection"
}

// properties is "(a ASC, __name__ ASC)".
func properties(ix *fsindex.Index) string {
	out := "("
	for _, f := range ix.Fields {
		out += f.Path.String() + " " + f.Kind.String() + ", "
	}
	name := fsindex.Ascending
	if ix.Name == fsvalue.Descending {
		name = fsindex.Descending
	}
	return out + fsvalue.NameField + " " + name.String() + ")"
}

// measure adds what the execution took; reads is what is billed.
func measure(m *firestorepb.ExplainMetrics, took time.Duration, n scanned, reads, documents int) error {
	debug, err := structpb.NewStruct(map[string]any{
		"documents_scanned":     strconv.Itoa(documents),
		"index_entries_scanned": strconv.Itoa(n.entries),
		"billing_details": map[string]any{
			"documents_billable": strconv.Itoa(documents), "index_entries_billable": strconv.Itoa(n.entries), "min_query_cost": "0", "small_ops": "0",
		},
	})
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	m.ExecutionStats = &firestorepb.ExecutionStats{
		ResultsReturned: int64(n.results), ReadOperations: int64(max(reads, 1)), ExecutionDuration: durationpb.New(took), DebugStats: debug,
	}
	return nil
}
