package firestoreserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"exportd/internal/localcloud/firestoreserver"
)

const benchDatabase = "projects/" + project + "/databases/(default)"

// benchIndexes has the shape that a collection of messages has in the service.
const benchIndexes = `{"indexes":[
 {"collectionGroup":"messages","queryScope":"COLLECTION","fields":[{"fieldPath":"workspace","order":"ASCENDING"},{"fieldPath":"medium","order":"ASCENDING"},{"fieldPath":"at","order":"DESCENDING"},{"fieldPath":"__name__","order":"ASCENDING"}]},
 {"collectionGroup":"messages","queryScope":"COLLECTION","fields":[{"fieldPath":"workspace","order":"ASCENDING"},{"fieldPath":"medium","order":"ASCENDING"},{"fieldPath":"kind","order":"ASCENDING"},{"fieldPath":"at","order":"DESCENDING"},{"fieldPath":"__name__","order":"ASCENDING"}]},
 {"collectionGroup":"messages","queryScope":"COLLECTION","fields":[{"fieldPath":"workspace","order":"ASCENDING"},{"fieldPath":"medium","order":"ASCENDING"},{"fieldPath":"labels","arrayConfig":"CONTAINS"},{"fieldPath":"at","order":"DESCENDING"},{"fieldPath":"__name__","order":"ASCENDING"}]},
 {"collectionGroup":"messages","queryScope":"COLLECTION","fields":[{"fieldPath":"workspace","order":"ASCENDING"},{"fieldPath":"medium","order":"ASCENDING"},{"fieldPath":"kind","order":"ASCENDING"},{"fieldPath":"labels","arrayConfig":"CONTAINS"},{"fieldPath":"at","order":"DESCENDING"},{"fieldPath":"__name__","order":"ASCENDING"}]}
],"fieldOverrides":[{"collectionGroup":"messages","fieldPath":"text","indexes":[]},{"collectionGroup":"messages","fieldPath":"player","indexes":[]},{"collectionGroup":"messages","fieldPath":"name","indexes":[]}]}`

func str(s string) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: s}}
}

func num(n int) *firestorepb.Value {
	return &firestorepb.Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: int64(n)}}
}

// message makes the i-th of the documents that benchmarks run on.
func message(i int) *firestorepb.Document {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
	return &firestorepb.Document{
		// Names in no relation to the order, as generated ids are.
		Name: fmt.Sprintf("%s/documents/messages/%016x", benchDatabase, uint64(i)*0x9E3779B97F4A7C15),
		Fields: map[string]*firestorepb.Value{
			"workspace": str(fmt.Sprint("w", i%4)), "medium": str("m1"), "kind": str([]string{"text", "image"}[i%2]),
			"at":     {ValueType: &firestorepb.Value_TimestampValue{TimestampValue: timestamppb.New(at)}},
			"player": num(i % 1000), "size": num(i % 700), "name": str("somebody"),
			"text":   str("a message of the usual length, which is about a line of text or so; some are longer"),
			"labels": {ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{Values: []*firestorepb.Value{str("vip"), str("new")}}}},
		},
	}
}

// load commits documents from..to in commits of 450, four at a time.
func load(tb testing.TB, c firestorepb.FirestoreClient, from, to int) {
	tb.Helper()
	g, ctx := errgroup.WithContext(tb.Context())
	g.SetLimit(4)
	for first := from; first < to; first += 450 {
		g.Go(func() error {
			req := &firestorepb.CommitRequest{Database: benchDatabase}
			for i := first; i < min(first+450, to); i++ {
				req.Writes = append(req.Writes, &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: message(i)}})
			}
			_, err := c.Commit(ctx, req)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		tb.Fatal(err)
	}
}

// cpu returns the processor time that this process, server and client, has used.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report adds the rate and the processor time of n things of a kind, which on a busy machine says more than
// the rate.
func report(b *testing.B, kind string, n int, used time.Duration) {
	b.Helper()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), kind+"s/s")
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(n), "cpu-µs/"+kind)
}

// diskBytes returns the size of the files in dir.
func diskBytes(tb testing.TB, dir string) (n int64) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // compactions delete files all the time
		}
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	f := start(b, firestoreserver.Options{Dir: dir, IndexesJSON: []byte(benchIndexes)})
	b.ReportAllocs()
	before := cpu(b)
	b.ResetTimer()
	load(b, f.raw, 0, b.N)
	report(b, "doc", b.N, cpu(b)-before)
	b.ReportMetric(float64(diskBytes(b, dir))/float64(b.N), "disk-B/doc")
}

// BenchmarkCommit changes one document as the job store does: read it, then commit it on condition of what
// was read.
func BenchmarkCommit(b *testing.B) {
	f := start(b, firestoreserver.Options{Dir: b.TempDir(), IndexesJSON: []byte(benchIndexes)})
	load(b, f.raw, 0, 1000)
	ctx := b.Context()
	took := make([]time.Duration, 0, b.N)
	before := cpu(b)
	b.ResetTimer()
	for i := range b.N {
		doc := message(i % 1000)
		s, err := f.raw.BatchGetDocuments(ctx, &firestorepb.BatchGetDocumentsRequest{Database: benchDatabase, Documents: []string{doc.Name}})
		if err != nil {
			b.Fatal(err)
		}
		found, err := s.Recv()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		doc.Fields["kind"] = str(fmt.Sprint("kind", i))
		begun := time.Now()
		_, err = f.raw.Commit(ctx, &firestorepb.CommitRequest{Database: benchDatabase, Writes: []*firestorepb.Write{{
			Operation:       &firestorepb.Write_Update{Update: doc},
			CurrentDocument: &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_UpdateTime{UpdateTime: found.GetFound().GetUpdateTime()}},
		}}})
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	report(b, "commit", b.N, cpu(b)-before)
	quantiles(b, took)
}

func quantiles(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
}

// BenchmarkListen measures from the start of a commit until a listener on the document has its snapshot.
func BenchmarkListen(b *testing.B) {
	f := start(b, firestoreserver.Options{Dir: b.TempDir()})
	ref := f.client.Doc("jobs/one")
	it := ref.Snapshots(b.Context())
	defer it.Stop()
	if _, err := it.Next(); err != nil {
		b.Fatal(err)
	}
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for i := range b.N {
		begun := time.Now()
		if _, err := ref.Set(b.Context(), map[string]any{"n": i}); err != nil {
			b.Fatal(err)
		}
		if _, err := it.Next(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	quantiles(b, took)
}

const benchDocuments = 40_000

func scanQuery(limit int32) *firestorepb.RunQueryRequest {
	field := func(p string) *firestorepb.StructuredQuery_FieldReference {
		return &firestorepb.StructuredQuery_FieldReference{FieldPath: p}
	}
	equal := func(p, v string) *firestorepb.StructuredQuery_Filter {
		return &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_FieldFilter{
			FieldFilter: &firestorepb.StructuredQuery_FieldFilter{Field: field(p), Op: firestorepb.StructuredQuery_FieldFilter_EQUAL, Value: str(v)},
		}}
	}
	q := &firestorepb.StructuredQuery{
		From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "messages"}},
		Where: &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_CompositeFilter{
			CompositeFilter: &firestorepb.StructuredQuery_CompositeFilter{
				Op:      firestorepb.StructuredQuery_CompositeFilter_AND,
				Filters: []*firestorepb.StructuredQuery_Filter{equal("workspace", "w1"), equal("medium", "m1")},
			},
		}},
		OrderBy: []*firestorepb.StructuredQuery_Order{
			{Field: field("at"), Direction: firestorepb.StructuredQuery_DESCENDING},
			{Field: field("__name__"), Direction: firestorepb.StructuredQuery_ASCENDING},
		},
	}
	if limit > 0 {
		q.Limit = wrapperspb.Int32(limit)
	}
	return &firestorepb.RunQueryRequest{
		Parent:    benchDatabase + "/documents",
		QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: q},
	}
}

// rawCodec receives frames without decoding them, as the exporter does.
type rawCodec struct{ encoding.CodecV2 }

type rawMessage struct{ size int }

func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*rawMessage); ok {
		m.size += data.Len()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// drain runs a query and drops its rows.
func drain(tb testing.TB, conn *grpc.ClientConn, req *firestorepb.RunQueryRequest) (rows int) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, firestorepb.Firestore_RunQuery_FullMethodName,
		grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(s.SendMsg(req), s.CloseSend()); err != nil {
		tb.Fatal(err)
	}
	var m rawMessage
	for {
		if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
			return rows
		} else if err != nil {
			tb.Fatal(err)
		}
		rows++
	}
}

// BenchmarkScan runs each query on two streams at once.
func BenchmarkScan(b *testing.B) {
	f := start(b, firestoreserver.Options{Dir: b.TempDir(), IndexesJSON: []byte(benchIndexes)})
	load(b, f.raw, 0, benchDocuments)
	for _, q := range []struct {
		name string
		run  func() (rows int)
	}{
		{"all", func() int { return drain(b, f.conn, scanQuery(0)) }},
		{"page", func() int { return drain(b, f.conn, scanQuery(300)) }},
		{"count", func() int { return int(count(b, f.raw, scanQuery(0))) }},
		{"count-all", func() int { return int(count(b, f.raw, everyMessage())) }},
		{"average-all", func() int { average(b, f.raw, everyMessage(), "size"); return benchDocuments }},
	} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			var rows atomic.Int64
			before := cpu(b)
			for b.Loop() {
				var g errgroup.Group
				for range 2 {
					g.Go(func() error { rows.Add(int64(q.run())); return nil })
				}
				_ = g.Wait()
			}
			report(b, "row", int(rows.Load()), cpu(b)-before)
		})
	}
}

// counts makes each count another aggregation, which the server has not kept.
var counts atomic.Int64

func count(tb testing.TB, c firestorepb.FirestoreClient, req *firestorepb.RunQueryRequest) int64 {
	tb.Helper()
	return aggregate(tb, c, req, &firestorepb.StructuredAggregationQuery_Aggregation{
		Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Count_{Count: &firestorepb.StructuredAggregationQuery_Aggregation_Count{}},
	}).GetIntegerValue()
}

func average(tb testing.TB, c firestorepb.FirestoreClient, req *firestorepb.RunQueryRequest, field string) float64 {
	tb.Helper()
	return aggregate(tb, c, req, &firestorepb.StructuredAggregationQuery_Aggregation{
		Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Avg_{Avg: &firestorepb.StructuredAggregationQuery_Aggregation_Avg{
			Field: &firestorepb.StructuredQuery_FieldReference{FieldPath: field},
		}},
	}).GetDoubleValue()
}

func everyMessage() *firestorepb.RunQueryRequest {
	return &firestorepb.RunQueryRequest{
		Parent: benchDatabase + "/documents",
		QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: &firestorepb.StructuredQuery{
			From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "messages"}},
		}},
	}
}

func aggregate(tb testing.TB, c firestorepb.FirestoreClient, req *firestorepb.RunQueryRequest, a *firestorepb.StructuredAggregationQuery_Aggregation) *firestorepb.Value {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a.Alias = fmt.Sprint("n", counts.Add(1))
	s, err := c.RunAggregationQuery(ctx, &firestorepb.RunAggregationQueryRequest{
		Parent: req.GetParent(),
		QueryType: &firestorepb.RunAggregationQueryRequest_StructuredAggregationQuery{
			StructuredAggregationQuery: &firestorepb.StructuredAggregationQuery{
				QueryType:    &firestorepb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: req.GetStructuredQuery()},
				Aggregations: []*firestorepb.StructuredAggregationQuery_Aggregation{a},
			},
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := s.Recv()
	if err != nil {
		tb.Fatal(err)
	}
	return resp.GetResult().GetAggregateFields()[a.Alias]
}
