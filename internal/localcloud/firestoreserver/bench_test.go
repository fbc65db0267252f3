package firestoreserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
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
			"player": num(i % 1000), "name": str("somebody"),
			"text":   str("a message of the usual length, which is about a line of text or so; some are longer"),
			"labels": {ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{Values: []*firestorepb.Value{str("vip"), str("new")}}}},
		},
	}
}

// load commits documents from..to in commits of 500.
func load(tb testing.TB, c firestorepb.FirestoreClient, from, to int) {
	tb.Helper()
	for from < to {
		req := &firestorepb.CommitRequest{Database: benchDatabase}
		for ; from < to && len(req.Writes) < 500; from++ {
			req.Writes = append(req.Writes, &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: message(from)}})
		}
		if _, err := c.Commit(context.Background(), req); err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	f := start(b, firestoreserver.Options{Dir: b.TempDir(), IndexesJSON: []byte(benchIndexes)})
	b.ResetTimer()
	load(b, f.raw, 0, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "docs/s")
}

const benchDocuments = 200_000

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

func BenchmarkScan(b *testing.B) {
	f := start(b, firestoreserver.Options{Dir: b.TempDir(), IndexesJSON: []byte(benchIndexes)})
	load(b, f.raw, 0, benchDocuments)
	for name, req := range map[string]*firestorepb.RunQueryRequest{"all": scanQuery(0), "page": scanQuery(300)} {
		b.Run(name, func(b *testing.B) {
			rows := 0
			for b.Loop() {
				rows += drain(b, f.conn, req)
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			count(b, f.raw, scanQuery(0))
		}
		b.ReportMetric(float64(b.N)*benchDocuments/4/b.Elapsed().Seconds(), "entries/s")
	})
}

func count(tb testing.TB, c firestorepb.FirestoreClient, req *firestorepb.RunQueryRequest) int64 {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := c.RunAggregationQuery(ctx, &firestorepb.RunAggregationQueryRequest{
		Parent: req.GetParent(),
		QueryType: &firestorepb.RunAggregationQueryRequest_StructuredAggregationQuery{
			StructuredAggregationQuery: &firestorepb.StructuredAggregationQuery{
				QueryType: &firestorepb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: req.GetStructuredQuery()},
				Aggregations: []*firestorepb.StructuredAggregationQuery_Aggregation{{
					Alias:    "n",
					Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Count_{Count: &firestorepb.StructuredAggregationQuery_Aggregation_Count{}},
				}},
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
	return resp.GetResult().GetAggregateFields()["n"].GetIntegerValue()
}
