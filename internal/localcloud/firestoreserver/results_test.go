package firestoreserver_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/localcloud/firestoreserver"
)

// countOf is the server's own count of a query, at an instant (zero is now), for which the official client
// does not ask.
func countOf(tb testing.TB, f *fixture, q firestore.Query, at time.Time) int64 {
	tb.Helper()
	var query firestorepb.RunQueryRequest
	b, err := q.Serialize()
	if err == nil {
		err = proto.Unmarshal(b, &query)
	}
	if err != nil {
		tb.Fatal(err)
	}
	req := &firestorepb.RunAggregationQueryRequest{
		Parent: query.GetParent(),
		QueryType: &firestorepb.RunAggregationQueryRequest_StructuredAggregationQuery{StructuredAggregationQuery: &firestorepb.StructuredAggregationQuery{
			QueryType: &firestorepb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: query.GetStructuredQuery()},
			Aggregations: []*firestorepb.StructuredAggregationQuery_Aggregation{{
				Alias: "n", Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Count_{Count: &firestorepb.StructuredAggregationQuery_Aggregation_Count{}},
			}},
		}},
	}
	if !at.IsZero() {
		req.ConsistencySelector = &firestorepb.RunAggregationQueryRequest_ReadTime{ReadTime: timestamppb.New(at)}
	}
	s, err := f.raw.RunAggregationQuery(tb.Context(), req)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := s.Recv()
	if err != nil {
		tb.Fatal(err)
	}
	return resp.GetResult().GetAggregateFields()["n"].GetIntegerValue()
}

// TestCountsFollowWrites: a count that was asked for before is the count now, and the count of an instant
// stays what it was.
func TestCountsFollowWrites(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	things := f.client.Collection("things")
	red := things.Where("colour", "==", "red")
	r := rand.New(rand.NewPCG(1, 2))
	colour := map[string]string{}
	type past struct {
		at       time.Time
		red, all int64
	}
	var seen []past
	for i := range 200 {
		id := fmt.Sprint(r.IntN(20))
		var written *firestore.WriteResult
		var err error
		switch r.IntN(4) {
		case 0:
			delete(colour, id)
			written, err = things.Doc(id).Delete(t.Context())
		case 1: // another collection of another name
			written, err = f.client.Collection("others").Doc(id).Set(t.Context(), map[string]any{"n": i})
		default:
			colour[id] = []string{"red", "blue"}[r.IntN(2)]
			written, err = things.Doc(id).Set(t.Context(), map[string]any{"colour": colour[id], "n": i})
		}
		if err != nil {
			t.Fatal(err)
		}
		now := past{at: written.UpdateTime, all: int64(len(colour))}
		for _, c := range colour {
			if c == "red" {
				now.red++
			}
		}
		if !now.at.IsZero() {
			seen = append(seen, now)
		}
		for range 2 { // the second is the known one
			if gotRed, gotAll := countOf(t, f, red, time.Time{}), countOf(t, f, things.Query, time.Time{}); gotRed != now.red || gotAll != now.all {
				t.Fatalf("after write %d: %d red of %d, want %d of %d", i, gotRed, gotAll, now.red, now.all)
			}
		}
		if len(seen) == 0 { // deletions have no time
			continue
		}
		p := seen[r.IntN(len(seen))]
		if gotRed, gotAll := countOf(t, f, red, p.at), countOf(t, f, things.Query, p.at); gotRed != p.red || gotAll != p.all {
			t.Fatalf("after write %d: %d red of %d at %s, want %d of %d", i, gotRed, gotAll, p.at, p.red, p.all)
		}
	}
}

// TestCountsSeeAcknowledgedWrites: with many writers and counters at once, no count misses a write that was
// acknowledged before it was asked for.
func TestCountsSeeAcknowledgedWrites(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	things := f.client.Collection("things")
	const writers, each = 4, 50
	acknowledged := make(chan int64, 1)
	acknowledged <- 0
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			for i := range each {
				if _, err := things.Doc(fmt.Sprint(w, "-", i)).Create(t.Context(), map[string]any{"n": i}); err != nil {
					return err
				}
				acknowledged <- 1 + <-acknowledged
				least := <-acknowledged
				acknowledged <- least
				got, err := things.NewAggregationQuery().WithCount("n").Get(t.Context())
				if err != nil {
					return err
				}
				if n := got["n"].(*firestorepb.Value).GetIntegerValue(); n < least {
					return fmt.Errorf("count = %d after %d writes were acknowledged", n, least)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := countOf(t, f, things.Query, time.Time{}); n != writers*each {
		t.Errorf("count = %d, want %d", n, writers*each)
	}
}
