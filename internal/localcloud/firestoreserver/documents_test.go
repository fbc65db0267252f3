package firestoreserver_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver"
)

func TestWrites(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	doc := f.client.Doc("users/u1")
	created, err := doc.Create(t.Context(), map[string]any{"n": 1, "m": map[string]any{"a": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := doc.Create(t.Context(), map[string]any{}); status.Code(err) != codes.AlreadyExists {
		t.Errorf("second Create = %v, want AlreadyExists", err)
	}
	same, err := doc.Set(t.Context(), map[string]any{"n": 1, "m": map[string]any{"a": "x"}})
	if err != nil || !same.UpdateTime.Equal(created.UpdateTime) {
		t.Errorf("Set of the same content = %v, %v, want update time %v", same, err, created.UpdateTime)
	}
	_, err = doc.Update(t.Context(), []firestore.Update{
		{Path: "n", Value: firestore.Increment(2)}, {Path: "m.b", Value: firestore.ServerTimestamp},
		{Path: "tags", Value: firestore.ArrayUnion("p", "q", "p")},
	})
	if err != nil {
		t.Fatal(err)
	}
	snap, err := doc.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data := snap.Data()
	if n, want := data["n"], int64(3); n != want {
		t.Errorf("n = %v, want %v", n, want)
	}
	if at, ok := data["m"].(map[string]any)["b"].(time.Time); !ok || !at.Equal(snap.UpdateTime.Truncate(time.Millisecond)) {
		t.Errorf("server timestamp = %v, want the milliseconds of the update time %v", data["m"], snap.UpdateTime)
	}
	if tags := data["tags"].([]any); len(tags) != 2 {
		t.Errorf("tags = %v, want two", tags)
	}
	if _, err := doc.Update(t.Context(), []firestore.Update{{Path: "n", Value: 1}}, firestore.LastUpdateTime(created.UpdateTime)); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("Update of a stale version = %v, want FailedPrecondition", err)
	}
	if _, err := f.client.Doc("users/u2").Update(t.Context(), []firestore.Update{{Path: "n", Value: 1}}); status.Code(err) != codes.NotFound {
		t.Errorf("Update of a missing document = %v, want NotFound", err)
	}
	// What is read with a view is answered in the words of the status alone.
	missing := f.client.Doc("users/u2").Path
	_, err = f.raw.GetDocument(t.Context(), &firestorepb.GetDocumentRequest{Name: missing})
	if got, want := status.Convert(err).Message(), fmt.Sprintf("Document %q not found.", missing); got != want {
		t.Errorf("GetDocument says %q, want %q", got, want)
	}
}

func TestReadTimeIsStable(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	coll := f.client.Collection("items")
	for _, id := range []string{"a", "b", "c"} {
		if _, err := coll.Doc(id).Set(t.Context(), map[string]any{"v": 1, "id": id}); err != nil {
			t.Fatal(err)
		}
	}
	first, err := coll.Doc("a").Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := coll.Doc("a").Set(t.Context(), map[string]any{"v": 2, "id": "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := coll.Doc("b").Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := coll.Doc("d").Set(t.Context(), map[string]any{"v": 1, "id": "d"}); err != nil {
		t.Fatal(err)
	}
	old := f.client.Collection("items").WithReadOptions(firestore.ReadTime(first.ReadTime))
	if got := ids(t, old.Where("v", "==", 1).Documents(t.Context())); got != "abc" {
		t.Errorf("rows at the old instant = %q, want abc", got)
	}
	if got := ids(t, f.client.Collection("items").Where("v", "==", 1).Documents(t.Context())); got != "cd" {
		t.Errorf("rows now = %q, want cd", got)
	}
}

// ids joins the document ids of a result.
func ids(tb testing.TB, it *firestore.DocumentIterator) string {
	tb.Helper()
	defer it.Stop()
	var out string
	for {
		d, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return out
		}
		if err != nil {
			tb.Fatal(err)
		}
		out += d.Ref.ID
	}
}

// One transform inside of what another one changes has no order to be done in, and is refused.
func TestConflictingTransforms(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	for _, c := range []struct {
		a, b string
		want codes.Code
	}{{"m", "m.k", codes.InvalidArgument}, {"m.k.l", "m", codes.InvalidArgument}, {"m.k", "m.l", codes.OK}, {"m", "mk", codes.OK}, {"n", "n", codes.OK}} {
		w := &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{Name: benchDatabase + "/documents/c/d"}}}
		for _, path := range []string{c.a, c.b} {
			w.UpdateTransforms = append(w.UpdateTransforms, &firestorepb.DocumentTransform_FieldTransform{FieldPath: path, TransformType: &firestorepb.DocumentTransform_FieldTransform_Increment{Increment: num(1)}})
		}
		if _, err := f.raw.Commit(t.Context(), &firestorepb.CommitRequest{Database: benchDatabase, Writes: []*firestorepb.Write{w}}); status.Code(err) != c.want {
			t.Errorf("%s and %s: %v, want %v", c.a, c.b, err, c.want)
		}
	}
}
