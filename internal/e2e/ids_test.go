package e2e

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// documentIDs are ids that a database might take or refuse.
func documentIDs() []string {
	ids := []string{
		"", ".", "..", "...", ".a", "a.", "a/b", "a/b/c", " ", "\x00", "a\x00b", "\n", "é", "e\u0301", "😀", "\u2028", "\ufffe", "\x7f", "*", "[", "`", "#", "%", "%2F", `\`,
		"__a", "__a__", "__aa__", "_a__", "a__", "__.__", "__\n__", "__\x00__", "__name__", "__key__",
		"__id7__", "__id-7__", "__id-92__", "__id10__", "__id07__", "__id0__", "__id-0__", "__id+7__", "__id 7__", "__id__", "__idx__", "__ID7__", "__id7_", "__id7__x",
		"__id9223372036854775807__", "__id9223372036854775808__", "__id-9223372036854775808__", "__id-9223372036854775809__",
		strings.Repeat("x", 1500), strings.Repeat("x", 1501), strings.Repeat("é", 750), strings.Repeat("é", 751), strings.Repeat("_", 1500),
	}
	for n := 1; n <= 12; n++ { // ten of them are what a cut between two ids once was
		ids = append(ids, strings.Repeat("_", n))
	}
	return ids
}

const idsDatabase = "projects/exportd-local/databases/(default)"

// sameIDs: the embedded Firestore takes, refuses and orders document and collection ids as
// Google's emulator does.
func sameIDs(t *testing.T, google, embedded string) {
	t.Helper()
	asGoogle, asEmbedded := dialFirestore(t, google), dialFirestore(t, embedded)
	for _, id := range documentIDs() {
		for what, name := range map[string]string{"document": "/documents/ids/" + id, "collection": "/documents/" + id + "/doc"} {
			want, got := createAt(t, asGoogle, name), createAt(t, asEmbedded, name)
			if got != want {
				t.Errorf("%s id %.40q of %d bytes: embedded answers %s, Google's emulator %s", what, id, len(id), got, want)
			}
		}
	}
	want, got := idsIn(t, asGoogle), idsIn(t, asEmbedded)
	if !slices.Equal(got, want) {
		t.Errorf("order of names\nembedded: %.40q\nGoogle:   %.40q", got, want)
	}
	if len(want) < 30 {
		t.Errorf("%d ids are legal, which is too few to prove anything", len(want))
	}
}

func dialFirestore(t *testing.T, addr string) firestorepb.FirestoreClient {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return firestorepb.NewFirestoreClient(conn)
}

// asOwner is how emulators know that rules do not apply.
func asOwner(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer owner")
}

func createAt(t *testing.T, c firestorepb.FirestoreClient, name string) codes.Code {
	t.Helper()
	_, err := c.Commit(asOwner(t.Context()), &firestorepb.CommitRequest{Database: idsDatabase, Writes: []*firestorepb.Write{{
		Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{Name: idsDatabase + name}},
	}}})
	return status.Code(err)
}

func idsIn(t *testing.T, c firestorepb.FirestoreClient) (ids []string) {
	t.Helper()
	stream, err := c.RunQuery(asOwner(t.Context()), &firestorepb.RunQueryRequest{
		Parent: idsDatabase + "/documents",
		QueryType: &firestorepb.RunQueryRequest_StructuredQuery{StructuredQuery: &firestorepb.StructuredQuery{
			From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "ids"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return ids
		}
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(m.GetDocument().GetName(), idsDatabase+"/documents/ids/"); ok {
			ids = append(ids, name)
		}
	}
}
