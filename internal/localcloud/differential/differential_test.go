package differential

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"exportd/internal/localcloud/firestoreserver"
	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

var (
	seedFlag   = flag.Uint64("seed", 1, "of the first round")
	roundsFlag = flag.Int("rounds", 3, "databases, each of 40 writes and 300 queries")
	googleFlag = flag.String("google", "", "HOST:PORT of Google's emulator; empty has it started where gcloud is installed, - leaves it out")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const writes, queries = 40, 300

// judge is a Firestore that answers.
type judge struct {
	name string
	firestorepb.FirestoreClient
}

// TestDifferential: the same writes and queries for all. The first judge is the server in memory; all others
// must say what it says.
func TestDifferential(t *testing.T) {
	judges := []judge{serve(t, "in memory", firestoreserver.Options{InMemory: true, IndexMode: firestoreserver.Scan})}
	judges = append(judges, serve(t, "on files", firestoreserver.Options{Dir: t.TempDir(), IndexMode: firestoreserver.Scan}))
	google := googles(t)
	if google != "" {
		judges = append(judges, judge{googleName, dial(t, google)})
	}
	c := &comparison{t: t, judges: judges, known: map[string]int{}}
	for round := range uint64(*roundsFlag) {
		c.seed = *seedFlag + round
		r := rand.New(rand.NewPCG(c.seed, 7))
		c.clear(google)
		for range writes {
			c.write(write(r))
		}
		c.readBack()
		for range queries {
			c.query(randomQuery(r))
			q := randomQuery(r)
			// Which rows a limit leaves is a matter of the order, which a total has none of.
			q.Limit, q.Offset, q.StartAt, q.EndAt, q.Select = nil, 0, nil, nil, nil
			c.totals(&firestorepb.StructuredAggregationQuery{QueryType: &firestorepb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: q}, Aggregations: randomAggregations(r)})
		}
		if t.Failed() {
			break
		}
	}
	by := "the evaluator"
	for _, j := range judges {
		by += ", " + j.name
	}
	t.Logf("%d writes, %d queries and %d totals were answered, and %d refused, by %s", c.written, c.answered, c.totaled, c.refused, by)
	if c.answered < *roundsFlag*queries/3 || c.totaled < *roundsFlag*queries/4 {
		t.Error("too few were answered to say much")
	}
	for why, n := range c.known {
		t.Logf("%d times: %s", n, why)
	}
}

type comparison struct {
	t                                   *testing.T
	judges                              []judge
	seed                                uint64
	rows                                []fsquery.Row // what there is, for the evaluator
	written, answered, totaled, refused int
	known                               map[string]int
}

func serve(t *testing.T, name string, opt firestoreserver.Options) judge {
	t.Helper()
	s, err := firestoreserver.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_, err := s.Verify()
		if err := errors.Join(err, s.Close(), <-served); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	return judge{name, dial(t, l.Addr().String())}
}

func dial(t *testing.T, addr string) firestorepb.FirestoreClient {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return firestorepb.NewFirestoreClient(conn)
}

// ctx carries what lets a caller of Google's emulator write anything.
func (c *comparison) ctx() context.Context {
	return metadata.AppendToOutgoingContext(c.t.Context(), "authorization", "Bearer owner")
}

// clear empties the databases.
func (c *comparison) clear(google string) {
	c.t.Helper()
	c.rows = nil
	for _, j := range c.judges {
		rows, err := j.run(c.ctx(), &query{From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "items", AllDescendants: true}}})
		if err != nil {
			c.t.Fatalf("%s: %v", j.name, err)
		}
		for _, d := range rows {
			if _, err := j.Commit(c.ctx(), &firestorepb.CommitRequest{Database: database, Writes: []*firestorepb.Write{{Operation: &firestorepb.Write_Delete{Delete: d.GetName()}}}}); err != nil {
				c.t.Fatalf("%s: %v", j.name, err)
			}
		}
	}
	if google == "" {
		return
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodDelete, "http://"+google+"/emulator/v1/"+database+"/documents", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// differ reports a difference, unless it is known.
func (c *comparison) differ(j judge, asked proto.Message, ours, theirs string) {
	c.t.Helper()
	if why := known(c.t, j, asked, theirs); why != "" {
		c.known[why]++
		return
	}
	c.t.Errorf("seed %d: %v\n%s: %s\n%s: %s", c.seed, asked, c.judges[0].name, ours, j.name, theirs)
}

func (c *comparison) write(w *firestorepb.Write) {
	c.t.Helper()
	var first string
	for i, j := range c.judges {
		resp, err := j.Commit(c.ctx(), &firestorepb.CommitRequest{Database: database, Writes: []*firestorepb.Write{w}})
		got := failure(err)
		for _, result := range resp.GetWriteResults() {
			for _, v := range result.GetTransformResults() {
				got += " " + text(v)
			}
		}
		if i == 0 {
			first = got
		} else if got != first {
			c.differ(j, w, first, got)
		}
	}
	c.written++
}

// readBack compares all that there is now, and shows it to the evaluator.
func (c *comparison) readBack() {
	c.t.Helper()
	all := &query{From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "items", AllDescendants: true}}}
	c.query(all)
	docs, err := c.judges[0].run(c.ctx(), all)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, d := range docs {
		p, err := fsvalue.ParseDocument(d.GetName())
		if err != nil {
			c.t.Fatal(err)
		}
		c.rows = append(c.rows, fsquery.Row{Name: p, Fields: d.GetFields()})
	}
}

func (j judge) run(ctx context.Context, q *query) (out []*firestorepb.Document, err error) {
	s, err := j.RunQuery(ctx, &firestorepb.RunQueryRequest{Parent: root, QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: q}})
	for err == nil {
		var m *firestorepb.RunQueryResponse
		if m, err = s.Recv(); err == nil && m.GetDocument() != nil {
			out = append(out, m.GetDocument())
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out, err
}

func (c *comparison) query(q *query) {
	c.t.Helper()
	var first string
	for i, j := range c.judges {
		docs, err := j.run(c.ctx(), q)
		got := failure(err)
		for _, d := range docs {
			got += "\n" + strings.TrimPrefix(d.GetName(), root) + " " + fieldsText(d.GetFields())
		}
		switch {
		case i == 0:
			first = got
		case got != first:
			c.differ(j, q, first, got)
		}
	}
	if strings.HasPrefix(first, "!") {
		c.refused++
		return
	}
	c.answered++
	if c.rows == nil {
		return
	}
	if got := c.evaluate(q); got != first {
		c.differ(judge{name: "the evaluator"}, q, first, got)
	}
}

func parent(t *testing.T) fsvalue.Path {
	t.Helper()
	p, err := fsvalue.ParseParent(root)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (c *comparison) evaluate(q *query) (out string) {
	c.t.Helper()
	parsed, err := fsquery.Parse(parent(c.t), proto.CloneOf(q))
	if err != nil {
		return failure(err)
	}
	for _, row := range parsed.Run(c.rows) {
		fields := row.Fields
		switch {
		case parsed.KeysOnly:
			fields = nil
		case parsed.Projection != nil:
			fields = fsvalue.Project(fields, parsed.Projection)
		}
		out += "\n" + strings.TrimPrefix(row.Name.String(), root) + " " + fieldsText(fields)
	}
	return out
}

func (c *comparison) totals(q *firestorepb.StructuredAggregationQuery) {
	c.t.Helper()
	var first map[string]*value
	var failed string
	for i, j := range c.judges {
		got, err := j.aggregate(c.ctx(), q)
		switch {
		case i == 0:
			first, failed = got, failure(err)
		case failure(err) == "" && failed == "" && j.name == googleName && sameButRounding(first, got):
			c.known["doubles are added up in an order that is not documented, here exactly, and so the sum of large and small ones differs"]++
		case failure(err) != failed || !sameTotals(first, got):
			c.differ(j, q, failed+fieldsText(first), failure(err)+fieldsText(got))
		}
	}
	if failed != "" {
		c.refused++
		return
	}
	c.totaled++
	parsed, err := fsquery.ParseAggregation(parent(c.t), proto.CloneOf(q))
	if err != nil {
		c.differ(judge{name: "the evaluator"}, q, fieldsText(first), failure(err))
		return
	}
	sum := fsquery.NewAggregator(parsed)
	for _, row := range parsed.Query.Run(c.rows) {
		sum.AddRow(row)
	}
	if got := sum.Result(); !sameTotals(first, got) {
		c.differ(judge{name: "the evaluator"}, q, fieldsText(first), fieldsText(got))
	}
}

func (j judge) aggregate(ctx context.Context, q *firestorepb.StructuredAggregationQuery) (map[string]*value, error) {
	s, err := j.RunAggregationQuery(ctx, &firestorepb.RunAggregationQueryRequest{Parent: root, QueryType: &firestorepb.RunAggregationQueryRequest_StructuredAggregationQuery{StructuredAggregationQuery: q}})
	if err != nil {
		return nil, err
	}
	m, err := s.Recv()
	if err != nil {
		return nil, err
	}
	for { // to the end, which lets go of the stream
		if _, err := s.Recv(); err != nil {
			break
		}
	}
	return m.GetResult().GetAggregateFields(), nil
}

// sameTotals allows doubles what the order of addition may change in them.
func sameTotals(a, b map[string]*value) bool {
	if len(a) != len(b) {
		return false
	}
	for name, x := range a {
		y := b[name]
		f, isDouble := x.GetValueType().(*firestorepb.Value_DoubleValue)
		g, both := y.GetValueType().(*firestorepb.Value_DoubleValue)
		if !isDouble || !both || math.IsNaN(f.DoubleValue) || math.IsInf(f.DoubleValue, 0) {
			if text(x) != text(y) {
				return false
			}
			continue
		}
		if math.Abs(f.DoubleValue-g.DoubleValue) > 1e-9*math.Max(math.Abs(f.DoubleValue), math.Abs(g.DoubleValue)) {
			return false
		}
	}
	return true
}

// sameButRounding says whether totals differ in doubles only, and in none that is no number.
func sameButRounding(a, b map[string]*value) bool {
	for name, x := range a {
		f, isDouble := x.GetValueType().(*firestorepb.Value_DoubleValue)
		g, both := b[name].GetValueType().(*firestorepb.Value_DoubleValue)
		switch {
		case !isDouble || !both:
			if text(x) != text(b[name]) {
				return false
			}
		case math.IsNaN(f.DoubleValue) != math.IsNaN(g.DoubleValue):
			return false
		}
	}
	return len(a) == len(b) && !sameTotals(a, b)
}

// failure is the code of an error, "" for none: how errors are worded is for others to judge.
func failure(err error) string {
	if err == nil {
		return ""
	}
	if s := status.Convert(err); s.Code() != codes.InvalidArgument {
		return "!" + s.Code().String() + ": " + s.Message()
	}
	return "!" + codes.InvalidArgument.String()
}

// serverTime is from when on a time is one that a server took.
const serverTime = 1_767_225_600 // 2026

// text is a value such that different ones differ, but for the time that a server took.
func text(v *value) string {
	switch x := v.GetValueType().(type) {
	case nil:
		return "-"
	case *firestorepb.Value_NullValue:
		return "null"
	case *firestorepb.Value_DoubleValue:
		if math.IsNaN(x.DoubleValue) {
			return "NaN" // whichever
		}
		return fmt.Sprintf("double %x", math.Float64bits(x.DoubleValue))
	case *firestorepb.Value_TimestampValue:
		if x.TimestampValue.GetSeconds() >= serverTime {
			return "the server's time"
		}
		return fmt.Sprintf("time %d.%09d", x.TimestampValue.GetSeconds(), x.TimestampValue.GetNanos())
	case *firestorepb.Value_ArrayValue:
		var parts []string
		for _, e := range x.ArrayValue.GetValues() {
			parts = append(parts, text(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *firestorepb.Value_MapValue:
		return fieldsText(x.MapValue.GetFields())
	case *firestorepb.Value_GeoPointValue:
		return fmt.Sprintf("(%g, %g)", x.GeoPointValue.GetLatitude(), x.GeoPointValue.GetLongitude())
	case *firestorepb.Value_StringValue:
		return fmt.Sprintf("%q", x.StringValue)
	case *firestorepb.Value_BytesValue:
		return fmt.Sprintf("bytes %q", x.BytesValue)
	case *firestorepb.Value_ReferenceValue:
		return "ref " + x.ReferenceValue
	case *firestorepb.Value_IntegerValue:
		return fmt.Sprint(x.IntegerValue)
	case *firestorepb.Value_BooleanValue:
		return fmt.Sprint(x.BooleanValue)
	}
	return fmt.Sprint(v)
}

func fieldsText(m map[string]*value) string {
	var parts []string
	for k, v := range m {
		parts = append(parts, fmt.Sprintf("%q: %s", k, text(v)))
	}
	slices.SortFunc(parts, cmp.Compare)
	return "{" + strings.Join(parts, ", ") + "}"
}
