package firestoreserver_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/iterator"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/localcloud/firestoreserver"
)

// listed pages through a collection and joins the ids.
func listed(t *testing.T, f *fixture, req *firestorepb.ListDocumentsRequest) string {
	t.Helper()
	var out []string
	for {
		resp, err := f.raw.ListDocuments(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(resp.GetDocuments()); n > int(req.GetPageSize()) {
			t.Fatalf("page of %d, want at most %d", n, req.GetPageSize())
		}
		for _, d := range resp.GetDocuments() {
			id := d.GetName()[strings.LastIndex(d.GetName(), "/")+1:]
			if d.GetCreateTime() == nil {
				id = "(" + id + ")"
			}
			out = append(out, id)
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return strings.Join(out, " ")
		}
	}
}

func TestListings(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	for _, name := range []string{"c/a", "c/b/s/x", "c/b/s/y", "c/b-/t/z", "c/d", "c/d/s/x", "c/e", "other/o"} {
		set(t, f.client.Doc(name), map[string]any{"n": len(name)})
	}
	snap, err := f.client.Doc("c/a").Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := timestamppb.New(snap.ReadTime)
	if _, err := f.client.Doc("c/b-/t/z").Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, f.client.Doc("c/z"), map[string]any{"n": 0})
	for name, c := range map[string]struct {
		req  *firestorepb.ListDocumentsRequest
		want string
	}{
		"documents":     {&firestorepb.ListDocumentsRequest{}, "a d e z"},
		"missing too":   {&firestorepb.ListDocumentsRequest{ShowMissing: true}, "a (b) d e z"},
		"in the past":   {&firestorepb.ListDocumentsRequest{ShowMissing: true, ConsistencySelector: &firestorepb.ListDocumentsRequest_ReadTime{ReadTime: before}}, "a (b) (b-) d e"},
		"with an order": {&firestorepb.ListDocumentsRequest{OrderBy: "n desc, __name__ desc"}, "e d a z"},
	} {
		for size := int32(1); size <= 6; size++ {
			c.req.Parent, c.req.CollectionId, c.req.PageSize = benchDatabase+"/documents", "c", size
			if got := listed(t, f, c.req); got != c.want {
				t.Errorf("%s, pages of %d: %s, want %s", name, size, got, c.want)
			}
		}
	}
	ids, err := f.raw.ListCollectionIds(t.Context(), &firestorepb.ListCollectionIdsRequest{Parent: benchDatabase + "/documents"})
	if err != nil || fmt.Sprint(ids.GetCollectionIds()) != "[c other]" {
		t.Errorf("collections = %v, %v, want c and other", ids.GetCollectionIds(), err)
	}
}

// The partitions of a collection group cover each document once.
func TestPartitions(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	load(t, f.raw, 0, 1500)
	queries, err := f.client.CollectionGroup("messages").GetPartitionedQueries(t.Context(), 4)
	if err != nil {
		t.Fatal(err)
	}
	if len(queries) != 5 {
		t.Errorf("%d queries, want 5", len(queries))
	}
	seen := map[string]bool{}
	for _, q := range queries {
		for id := range each(t, q) {
			if seen[id] {
				t.Errorf("document %s is in two partitions", id)
			}
			seen[id] = true
		}
	}
	if len(seen) != 1500 {
		t.Errorf("partitions hold %d documents, want 1500", len(seen))
	}
	whole, _ := partitions(t, f, 0, "")
	first, token := partitions(t, f, 3, "")
	rest, end := partitions(t, f, 3, token)
	if len(whole) != 4 || len(first) != 3 || token == "" || !slices.Equal(append(first, rest...), whole) || end != "" {
		t.Errorf("pages of 3 have %q and %q, then %q; all of it is %q", first, rest, end, whole)
	}
}

// partitions are where a page has the cuts between five parts of the messages.
func partitions(t *testing.T, f *fixture, size int32, token string) (cuts []string, next string) {
	t.Helper()
	resp, err := f.raw.PartitionQuery(t.Context(), &firestorepb.PartitionQueryRequest{
		Parent: benchDatabase + "/documents", PartitionCount: 4, PageSize: size, PageToken: token,
		QueryType: &firestorepb.PartitionQueryRequest_StructuredQuery{StructuredQuery: &firestorepb.StructuredQuery{
			From:    []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "messages", AllDescendants: true}},
			OrderBy: []*firestorepb.StructuredQuery_Order{{Field: fieldRef("__name__"), Direction: firestorepb.StructuredQuery_ASCENDING}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range resp.GetPartitions() {
		cuts = append(cuts, p.GetValues()[0].GetReferenceValue())
	}
	return cuts, resp.GetNextPageToken()
}

// each yields the document ids of a query.
func each(t *testing.T, q firestore.Query) func(func(string) bool) {
	t.Helper()
	return func(yield func(string) bool) {
		it := q.Documents(t.Context())
		defer it.Stop()
		for {
			d, err := it.Next()
			if errors.Is(err, iterator.Done) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			if !yield(d.Ref.ID) {
				return
			}
		}
	}
}
