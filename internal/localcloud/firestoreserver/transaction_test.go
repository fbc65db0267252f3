package firestoreserver_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"exportd/internal/localcloud/firestoreserver"
)

// Clients that add to one counter must end with the sum.
func TestTransactionsUnderContention(t *testing.T) {
	t.Parallel()
	for clients, each := range map[int]int{2: 100, 8: 25} {
		t.Run(fmt.Sprint(clients), func(t *testing.T) {
			t.Parallel()
			contend(t, clients, each)
		})
	}
}

func contend(t *testing.T, clients, each int) {
	t.Helper()
	f := start(t, firestoreserver.Options{})
	doc := "counters/one"
	if _, err := f.client.Doc(doc).Set(t.Context(), map[string]any{"n": 0}); err != nil {
		t.Fatal(err)
	}
	g, ctx := errgroup.WithContext(t.Context())
	for range clients {
		_, client := dial(t, f.addr)
		g.Go(func() error {
			for range each {
				if err := increment(ctx, client, client.Doc(doc)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	snap, err := f.client.Doc(doc).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := snap.Data()["n"], int64(clients*each); got != want {
		t.Errorf("counter = %v, want %v", got, want)
	}
}

func increment(ctx context.Context, client *firestore.Client, doc *firestore.DocumentRef) error {
	return client.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
		snap, err := tx.Get(doc)
		if err != nil {
			return err
		}
		n, err := snap.DataAt("n")
		if err != nil {
			return err
		}
		return tx.Set(doc, map[string]any{"n": n.(int64) + 1})
	})
}

// TestRollback: only what is under way in the database is rolled back, and what has ended by a call stays so.
func TestRollback(t *testing.T) {
	t.Parallel()
	const other = "projects/demo-test/databases/other"
	var late atomic.Int64
	f := start(t, firestoreserver.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(late.Load())) }})
	begin := func() []byte {
		t.Helper()
		resp, err := f.raw.BeginTransaction(t.Context(), &firestorepb.BeginTransactionRequest{Database: benchDatabase})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetTransaction()
	}
	commit := func(id []byte, db string, condition *firestorepb.Precondition) error {
		_, err := f.raw.Commit(t.Context(), &firestorepb.CommitRequest{Database: db, Transaction: id, Writes: []*firestorepb.Write{{
			Operation:       &firestorepb.Write_Delete{Delete: db + "/documents/c/none"},
			CurrentDocument: condition,
		}}})
		return err
	}
	rollback := func(id []byte, db, want string) {
		t.Helper()
		_, err := f.raw.Rollback(t.Context(), &firestorepb.RollbackRequest{Database: db, Transaction: id})
		if got := status.Convert(err).Message(); got != want || (status.Code(err) == codes.InvalidArgument) != (want != "") {
			t.Errorf("Rollback() = %v, want %q", err, want)
		}
	}
	const unknown, ended = "Invalid transaction.", "The referenced transaction has expired or is no longer valid."
	rollback([]byte("AAAA"), benchDatabase, unknown)
	id := begin()
	rollback(id, other, unknown)
	if err := commit(id, other, nil); status.Code(err) != codes.InvalidArgument {
		t.Errorf("commit in another database: %v", err)
	}
	if err := commit(id, benchDatabase, nil); err != nil {
		t.Errorf("it is over after it was named in another database: %v", err)
	}
	rollback(id, benchDatabase, "")
	rollback(id, other, unknown)

	id = begin()
	rollback(id, benchDatabase, "")
	rollback(id, benchDatabase, "")
	if err := commit(id, benchDatabase, nil); status.Convert(err).Message() != ended {
		t.Errorf("commit of what is rolled back: %v", err)
	}
	id = begin()
	if err := commit(id, benchDatabase, &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_Exists{Exists: true}}); status.Code(err) != codes.NotFound {
		t.Errorf("commit: %v, want NOT_FOUND", err)
	}
	rollback(id, benchDatabase, "")

	id = begin()
	late.Store(int64(time.Hour))
	rollback(id, benchDatabase, ended)
	rollback(id, benchDatabase, ended)
}

// TestTransactionOfAnotherDatabase: no read takes a transaction of another database.
func TestTransactionOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	begun, err := f.raw.BeginTransaction(t.Context(), &firestorepb.BeginTransactionRequest{Database: "projects/demo-test/databases/other"})
	if err != nil {
		t.Fatal(err)
	}
	id, root := begun.GetTransaction(), benchDatabase+"/documents"
	query := &firestorepb.StructuredQuery{From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "c"}}}
	for method, req := range map[string]proto.Message{
		"GetDocument":       &firestorepb.GetDocumentRequest{Name: root + "/c/a", ConsistencySelector: &firestorepb.GetDocumentRequest_Transaction{Transaction: id}},
		"ListDocuments":     &firestorepb.ListDocumentsRequest{Parent: root, CollectionId: "c", ConsistencySelector: &firestorepb.ListDocumentsRequest_Transaction{Transaction: id}},
		"BatchGetDocuments": &firestorepb.BatchGetDocumentsRequest{Database: benchDatabase, Documents: []string{root + "/c/a"}, ConsistencySelector: &firestorepb.BatchGetDocumentsRequest_Transaction{Transaction: id}},
		"RunQuery": &firestorepb.RunQueryRequest{
			Parent: root, QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: query}, ConsistencySelector: &firestorepb.RunQueryRequest_Transaction{Transaction: id},
		},
		"RunAggregationQuery": &firestorepb.RunAggregationQueryRequest{
			Parent: root, ConsistencySelector: &firestorepb.RunAggregationQueryRequest_Transaction{Transaction: id},
			QueryType: &firestorepb.RunAggregationQueryRequest_StructuredAggregationQuery{StructuredAggregationQuery: &firestorepb.StructuredAggregationQuery{
				QueryType: &firestorepb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: query},
				Aggregations: []*firestorepb.StructuredAggregationQuery_Aggregation{{Alias: "n", Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Count_{
					Count: &firestorepb.StructuredAggregationQuery_Aggregation_Count{},
				}}},
			}},
		},
	} {
		s, err := f.conn.NewStream(deadline(t), &grpc.StreamDesc{ServerStreams: true}, "/google.firestore.v1.Firestore/"+method)
		if err == nil {
			err = s.SendMsg(req)
		}
		if err == nil {
			err = s.RecvMsg(&firestorepb.Document{})
		}
		if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "Invalid transaction." {
			t.Errorf("%s: %v, want INVALID_ARGUMENT", method, err)
		}
	}
}
