package firestoreserver_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"exportd/internal/localcloud/firestoreserver"
	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// queriesFlag lets a longer run judge more of them: -queries=100000.
var queriesFlag = flag.Int("queries", 600, "random queries to judge by the evaluator")

// epoch is the whole content of the database at one instant.
type epoch struct {
	at   *timestamppb.Timestamp
	docs map[string]map[string]*firestorepb.Value
}

// rows are the documents as the evaluator knows them, by name.
func (e epoch) rows(t *testing.T) (rows []fsquery.Row) {
	t.Helper()
	for name, fields := range e.docs {
		p, err := fsvalue.ParseDocument(name)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, fsquery.Row{Name: p, Fields: fields})
	}
	slices.SortFunc(rows, func(a, b fsquery.Row) int { return a.Name.Compare(b.Name) })
	return rows
}

// Random queries over random documents must answer what the plain evaluator says, at every instant that was a
// commit's, while the present has moved on.
func TestQueriesAgainstEvaluator(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opt    firestoreserver.Options
		served int // least number of 1500 queries, since not all have an index
	}{
		"by indexes":  {firestoreserver.Options{IndexesJSON: []byte(everyIndex())}, 700},
		"by scanning": {firestoreserver.Options{IndexMode: firestoreserver.Scan}, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			judge(t, c.opt, c.served)
		})
	}
}

func judge(t *testing.T, opt firestoreserver.Options, least int) {
	t.Helper()
	const rounds = 6
	queries, least := *queriesFlag, *queriesFlag*least/1500
	r := rand.New(rand.NewPCG(7, 11))
	f := start(t, opt)
	epochs := churn(t, f, r, rounds)
	served, totals := 0, 0
	for i := range queries {
		e := epochs[r.IntN(len(epochs))]
		q := randomQuery(r)
		if compareQuery(t, f, e, q) {
			served++
		}
		if compareTotals(t, f, e, q, randomTotals(r)) {
			totals++
		}
		if t.Failed() {
			t.Fatalf("query %d", i)
		}
	}
	t.Logf("%d of %d queries were served", served, queries)
	if served < least || totals < least/8 {
		t.Errorf("only %d of %d queries were served, and totals of %d", served, queries, totals)
	}
	if _, err := f.server.Verify(); err != nil {
		t.Errorf("Verify() = %v", err)
	}
}

// everyIndex defines composites of fields a, b and c in many directions.
func everyIndex() string {
	var list []string
	add := func(scope string, fields ...string) {
		list = append(list, fmt.Sprintf(`{"collectionGroup":"items","queryScope":%q,"fields":[%s]}`, scope, strings.Join(fields, ",")))
	}
	order := func(f, d string) string { return fmt.Sprintf(`{"fieldPath":%q,"order":%q}`, f, d) }
	tags := `{"fieldPath":"tags","arrayConfig":"CONTAINS"}`
	dirs := []string{"ASCENDING", "DESCENDING"}
	opposite := map[string]string{"ASCENDING": "DESCENDING", "DESCENDING": "ASCENDING"}
	for _, f := range []string{"a", "b", "c"} {
		for _, d := range dirs {
			add("COLLECTION", tags, order(f, d))
			add("COLLECTION", order(f, d), order("__name__", opposite[d]))
			for _, g := range []string{"a", "b", "c"} {
				if g == f {
					continue
				}
				h := string("abc"[3-strings.Index("abc", f)-strings.Index("abc", g)])
				for _, e := range dirs {
					add("COLLECTION", order(f, d), order(g, e))
					add("COLLECTION", order(f, d), order(g, e), order("__name__", opposite[e]))
					add("COLLECTION_GROUP", order(f, d), order(g, e))
					add("COLLECTION", tags, order(f, d), order(g, e))
					add("COLLECTION", order(f, d), order(g, e), order(h, "ASCENDING"))
				}
			}
		}
	}
	return `{"indexes":[` + strings.Join(list, ",") + `]}`
}

// churn writes and changes documents and remembers the content after each round.
func churn(t *testing.T, f *fixture, r *rand.Rand, rounds int) []epoch {
	t.Helper()
	docs := map[string]map[string]*firestorepb.Value{}
	var out []epoch
	for range rounds {
		req := &firestorepb.CommitRequest{Database: benchDatabase}
		for range 40 {
			name := fmt.Sprintf("%s/documents/items/d%02d", benchDatabase, r.IntN(60))
			if r.IntN(4) == 0 {
				name = fmt.Sprintf("%s/documents/box/b%d/items/d%02d", benchDatabase, r.IntN(3), r.IntN(9))
			}
			if r.IntN(5) == 0 {
				delete(docs, name)
				req.Writes = append(req.Writes, &firestorepb.Write{Operation: &firestorepb.Write_Delete{Delete: name}})
				continue
			}
			docs[name] = randomFields(r)
			req.Writes = append(req.Writes, &firestorepb.Write{Operation: &firestorepb.Write_Update{
				Update: &firestorepb.Document{Name: name, Fields: docs[name]},
			}})
		}
		resp, err := f.raw.Commit(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, epoch{resp.GetCommitTime(), maps.Clone(docs)})
	}
	return out
}

func randomFields(r *rand.Rand) map[string]*firestorepb.Value {
	out := map[string]*firestorepb.Value{}
	for _, f := range []string{"a", "b", "c"} {
		if r.IntN(6) > 0 {
			out[f] = randomValue(r)
		}
	}
	if r.IntN(3) > 0 {
		out["tags"] = randomArray(r)
	}
	return out
}

func randomArray(r *rand.Rand) *firestorepb.Value {
	a := &firestorepb.ArrayValue{}
	for range r.IntN(3) {
		a.Values = append(a.Values, scalar(r))
	}
	return &firestorepb.Value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: a}}
}

func randomValue(r *rand.Rand) *firestorepb.Value {
	switch r.IntN(12) {
	case 0:
		return randomArray(r)
	case 1:
		return &firestorepb.Value{ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{
			Fields: map[string]*firestorepb.Value{"k": scalar(r)},
		}}}
	case 2:
		// Beyond what an entry holds: different ones would tie, as in production.
		return str(strings.Repeat("long", 500))
	}
	return scalar(r)
}

func scalar(r *rand.Rand) *firestorepb.Value {
	switch r.IntN(10) {
	case 0:
		return &firestorepb.Value{ValueType: &firestorepb.Value_NullValue{}}
	case 1:
		return &firestorepb.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: math.NaN()}}
	case 2:
		return &firestorepb.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: float64(r.IntN(6)) / 2}}
	case 3:
		return &firestorepb.Value{ValueType: &firestorepb.Value_BooleanValue{BooleanValue: r.IntN(2) == 0}}
	case 4, 5:
		return str([]string{"", "x", "x\x00", "y"}[r.IntN(4)])
	}
	return num(r.IntN(4))
}

func fieldRef(p string) *firestorepb.StructuredQuery_FieldReference {
	return &firestorepb.StructuredQuery_FieldReference{FieldPath: p}
}

func randomQuery(r *rand.Rand) *firestorepb.StructuredQuery {
	q := &firestorepb.StructuredQuery{From: []*firestorepb.StructuredQuery_CollectionSelector{{
		CollectionId: "items", AllDescendants: r.IntN(5) == 0,
	}}}
	if r.IntN(5) > 0 {
		q.Where = randomFilter(r, 2)
	}
	names := []string{"a", "b", "c"}
	r.Shuffle(3, func(i, j int) { names[i], names[j] = names[j], names[i] })
	dir := func() firestorepb.StructuredQuery_Direction {
		return firestorepb.StructuredQuery_Direction(1 + r.IntN(2))
	}
	for _, n := range names[:[]int{0, 0, 1, 1, 2}[r.IntN(5)]] {
		q.OrderBy = append(q.OrderBy, &firestorepb.StructuredQuery_Order{Field: fieldRef(n), Direction: dir()})
	}
	if r.IntN(3) == 0 {
		q.OrderBy = append(q.OrderBy, &firestorepb.StructuredQuery_Order{Field: fieldRef("__name__"), Direction: dir()})
	}
	if len(q.OrderBy) > 0 && r.IntN(2) == 0 {
		q.StartAt = randomCursor(r, q)
	}
	if len(q.OrderBy) > 0 && r.IntN(3) == 0 {
		q.EndAt = randomCursor(r, q)
	}
	if r.IntN(3) == 0 {
		q.Limit = wrapperspb.Int32(int32(r.IntN(8)))
	}
	if r.IntN(4) == 0 {
		q.Offset = int32(r.IntN(4))
	}
	return q
}

func randomName(r *rand.Rand) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_ReferenceValue{
		ReferenceValue: fmt.Sprintf("%s/documents/items/d%02d", benchDatabase, r.IntN(60)),
	}}
}

func randomCursor(r *rand.Rand, q *firestorepb.StructuredQuery) *firestorepb.Cursor {
	c := &firestorepb.Cursor{Before: r.IntN(2) == 0}
	for _, o := range q.OrderBy[:1+r.IntN(len(q.OrderBy))] {
		if o.GetField().GetFieldPath() == "__name__" {
			c.Values = append(c.Values, randomName(r))
		} else {
			c.Values = append(c.Values, randomValue(r))
		}
	}
	return c
}

func randomFilter(r *rand.Rand, depth int) *firestorepb.StructuredQuery_Filter {
	if depth > 0 && r.IntN(2) == 0 {
		c := &firestorepb.StructuredQuery_CompositeFilter{Op: firestorepb.StructuredQuery_CompositeFilter_Operator(1 + r.IntN(2))}
		for range 1 + r.IntN(3) {
			c.Filters = append(c.Filters, randomFilter(r, depth-1))
		}
		return &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_CompositeFilter{CompositeFilter: c}}
	}
	name := []string{"a", "b", "c", "a", "b", "tags"}[r.IntN(6)]
	if r.IntN(8) == 0 {
		return &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_UnaryFilter{
			UnaryFilter: &firestorepb.StructuredQuery_UnaryFilter{
				Op:          firestorepb.StructuredQuery_UnaryFilter_Operator(2 + r.IntN(4)),
				OperandType: &firestorepb.StructuredQuery_UnaryFilter_Field{Field: fieldRef(name)},
			},
		}}
	}
	ff := &firestorepb.StructuredQuery_FieldFilter{Field: fieldRef(name), Value: randomValue(r)}
	switch {
	case r.IntN(15) == 0:
		ff.Field, ff.Value = fieldRef("__name__"), randomName(r)
		ff.Op = firestorepb.StructuredQuery_FieldFilter_Operator(1 + r.IntN(6))
	case name == "tags":
		ff.Op, ff.Value = firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS, scalar(r)
	default:
		ff.Op = []firestorepb.StructuredQuery_FieldFilter_Operator{1, 2, 3, 4, 5, 5, 5, 5, 6, 8, 10}[r.IntN(11)]
	}
	if ff.Op == firestorepb.StructuredQuery_FieldFilter_IN || ff.Op == firestorepb.StructuredQuery_FieldFilter_NOT_IN {
		ff.Value = &firestorepb.Value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{
			Values: []*firestorepb.Value{scalar(r), scalar(r)},
		}}}
	}
	return &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_FieldFilter{FieldFilter: ff}}
}

// compareQuery runs q on the server and in memory; false means that the server refused it, as it may.
func compareQuery(t *testing.T, f *fixture, e epoch, q *firestorepb.StructuredQuery) bool {
	t.Helper()
	parent, err := fsvalue.ParseParent(benchDatabase + "/documents")
	if err != nil {
		t.Fatal(err)
	}
	parsed, parseErr := fsquery.Parse(parent, proto.CloneOf(q))
	got, err := names(t, f, e.at, q)
	if !answered(t, err, parseErr, q) {
		return false
	}
	var want []string
	for _, row := range parsed.Run(e.rows(t)) {
		want = append(want, row.Name.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows differ (-evaluator +server) for %v:\n%s", q, diff)
	}
	return true
}

// answered holds the server's error against the evaluator's, and says whether there is an answer to compare:
// the server may lack an index.
func answered(t *testing.T, err, parseErr error, asked proto.Message) bool {
	t.Helper()
	switch code := status.Code(err); {
	case (code == codes.InvalidArgument) != (parseErr != nil):
		t.Errorf("server = %v, evaluator = %v for %v", err, parseErr, asked)
		return false
	case code == codes.InvalidArgument, code == codes.FailedPrecondition:
		return false
	case err != nil:
		t.Errorf("server = %v for %v", err, asked)
		return false
	}
	return true
}

func names(t *testing.T, f *fixture, at *timestamppb.Timestamp, q *firestorepb.StructuredQuery) ([]string, error) {
	t.Helper()
	s, err := f.raw.RunQuery(t.Context(), &firestorepb.RunQueryRequest{
		Parent:              benchDatabase + "/documents",
		QueryType:           &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: q},
		ConsistencySelector: &firestorepb.RunQueryRequest_ReadTime{ReadTime: at},
	})
	if err != nil {
		return nil, err
	}
	var out []string
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if m.GetDocument() != nil {
			out = append(out, m.GetDocument().GetName())
		}
	}
}
