package firestoreserver

import (
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// TestRetryTakesTurns: one that begins again after it lost has what it reads to itself until it ends.
func TestRetryTakesTurns(t *testing.T) {
	t.Parallel()
	s, err := Open(Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	const name = "projects/demo/databases/turns"
	doc, err := fsvalue.ParseDocument(name + "/documents/c/a")
	if err != nil {
		t.Fatal(err)
	}
	db, err := s.database(name)
	if err != nil {
		t.Fatal(err)
	}
	reserved := func() bool { return s.turns.blocked(nil, documentKey{db.id, doc}) != nil }
	var lost []byte
	for _, again := range []bool{false, true} {
		req := &firestorepb.BeginTransactionRequest{Database: name, Options: &firestorepb.TransactionOptions{
			Mode: &firestorepb.TransactionOptions_ReadWrite_{ReadWrite: &firestorepb.TransactionOptions_ReadWrite{RetryTransaction: lost}},
		}}
		if err := served.Check(req, "the server"); err != nil { // as on a connection
			t.Fatal(err)
		}
		begun, err := s.BeginTransaction(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.GetDocument(t.Context(), &firestorepb.GetDocumentRequest{
			Name: doc.String(), ConsistencySelector: &firestorepb.GetDocumentRequest_Transaction{Transaction: begun.GetTransaction()},
		})
		if status.Code(err) != codes.NotFound {
			t.Fatal(err)
		}
		if got := reserved(); got != again {
			t.Errorf("begun again %v: the document is reserved: %v", again, got)
		}
		if _, err := s.Rollback(t.Context(), &firestorepb.RollbackRequest{Database: name, Transaction: begun.GetTransaction()}); err != nil {
			t.Fatal(err)
		}
		if reserved() {
			t.Error("the document is reserved after the transaction's end")
		}
		lost = begun.GetTransaction()
	}
}
