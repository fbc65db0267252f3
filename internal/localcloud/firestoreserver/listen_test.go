package firestoreserver_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver"
)

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func set(t *testing.T, doc *firestore.DocumentRef, data map[string]any) {
	t.Helper()
	if _, err := doc.Set(t.Context(), data); err != nil {
		t.Fatal(err)
	}
}

func TestListenDocument(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	doc := f.client.Doc("jobs/j1")
	it := doc.Snapshots(deadline(t))
	defer it.Stop()
	if snap, err := it.Next(); err != nil || snap.Exists() {
		t.Fatalf("first snapshot = %v, %v, want a missing document", snap, err)
	}
	for i := range 20 {
		set(t, doc, map[string]any{"n": i})
		snap, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got := snap.Data()["n"]; got != int64(i) {
			t.Fatalf("snapshot %d holds %v: every commit is a snapshot of its own", i, got)
		}
	}
	if _, err := doc.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if snap, err := it.Next(); err != nil || snap.Exists() {
		t.Fatalf("last snapshot = %v, %v, want a missing document", snap, err)
	}
}

func TestListenLimitedQuery(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	coll := f.client.Collection("scores")
	for i := range 5 {
		set(t, coll.Doc(fmt.Sprint("d", i)), map[string]any{"v": i * 10})
	}
	it := coll.OrderBy("v", firestore.Asc).Limit(2).Snapshots(deadline(t))
	defer it.Stop()
	expect := func(want string) {
		t.Helper()
		snap, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(t, snap.Documents); got != want {
			t.Errorf("window = %q, want %q", got, want)
		}
	}
	expect("d0d1")
	set(t, coll.Doc("d4"), map[string]any{"v": 5})
	expect("d0d4")
	if _, err := coll.Doc("d0").Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("d4d1")
}

// watcher follows a query by raw messages, so that it can break off anywhere.
type watcher struct {
	t     *testing.T
	f     *fixture
	token []byte
	docs  map[string]int64
	count int32 // of the last filter, -1 without
	reset bool
	took  int // messages of the last stream
}

// follow listens until a global mark at or after the commit instant, then breaks the stream off.
func (w *watcher) follow(q *firestorepb.StructuredQuery, until time.Time) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(deadline(w.t))
	defer cancel()
	s, err := w.f.raw.Listen(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	target := &firestorepb.Target{TargetId: 214, TargetType: &firestorepb.Target_Query{Query: &firestorepb.Target_QueryTarget{
		Parent:    benchDatabase + "/documents",
		QueryType: &firestorepb.Target_QueryTarget_StructuredQuery{StructuredQuery: q},
	}}}
	if w.token != nil {
		target.ResumeType = &firestorepb.Target_ResumeToken{ResumeToken: w.token}
	}
	req := &firestorepb.ListenRequest{Database: benchDatabase, TargetChange: &firestorepb.ListenRequest_AddTarget{AddTarget: target}}
	if err := s.Send(req); err != nil {
		w.t.Fatal(err)
	}
	w.count, w.reset, w.took = -1, false, 0
	for {
		m, err := s.Recv()
		if err != nil {
			w.t.Fatal(err)
		}
		w.took++
		if w.take(m) && !m.GetTargetChange().GetReadTime().AsTime().Before(until) {
			return
		}
	}
}

// take applies one message and reports whether it was a global mark.
func (w *watcher) take(m *firestorepb.ListenResponse) bool {
	w.t.Helper()
	switch r := m.GetResponseType().(type) {
	case *firestorepb.ListenResponse_DocumentChange:
		d := r.DocumentChange.GetDocument()
		w.docs[d.GetName()] = d.GetFields()["n"].GetIntegerValue()
	case *firestorepb.ListenResponse_DocumentDelete:
		delete(w.docs, r.DocumentDelete.GetDocument())
	case *firestorepb.ListenResponse_DocumentRemove:
		delete(w.docs, r.DocumentRemove.GetDocument())
	case *firestorepb.ListenResponse_Filter:
		w.count = r.Filter.GetCount()
	case *firestorepb.ListenResponse_TargetChange:
		tc := r.TargetChange
		switch tc.GetTargetChangeType() {
		case firestorepb.TargetChange_REMOVE:
			w.t.Fatalf("target removed: %v", tc.GetCause())
		case firestorepb.TargetChange_RESET:
			w.reset = true
			clear(w.docs)
		case firestorepb.TargetChange_NO_CHANGE:
			w.token = tc.GetResumeToken()
			return len(tc.GetTargetIds()) == 0
		}
	}
	return false
}

// A stream that breaks again and again, with changes in between, ends with what the query holds, and resumes
// by the difference as long as it may.
func TestListenOverBrokenStreams(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	q := &firestorepb.StructuredQuery{
		From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "live"}},
		Where: &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_FieldFilter{
			FieldFilter: &firestorepb.StructuredQuery_FieldFilter{Field: fieldRef("n"), Op: firestorepb.StructuredQuery_FieldFilter_LESS_THAN, Value: num(50)},
		}},
	}
	w := &watcher{t: t, f: f, docs: map[string]int64{}}
	coll := f.client.Collection("live")
	for round := range 12 {
		var last time.Time
		for i := range 10 {
			doc := coll.Doc(fmt.Sprint((round*3 + i) % 14))
			var res *firestore.WriteResult
			var err error
			if (round+i)%5 == 0 {
				_, err = doc.Delete(t.Context())
			} else if res, err = doc.Set(t.Context(), map[string]any{"n": (round*17 + i*13) % 70}); err == nil {
				last = res.UpdateTime
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		w.follow(q, last)
		if round > 0 && w.reset {
			t.Errorf("round %d: the token was not honoured", round)
		}
		want := contents(t, coll.Where("n", "<", 50))
		if int(w.count) != len(want) && round > 0 {
			t.Errorf("round %d: filter counts %d, want %d", round, w.count, len(want))
		}
		if fmt.Sprint(w.docs) != fmt.Sprint(want) {
			t.Errorf("round %d: listener holds %v, want %v", round, w.docs, want)
		}
	}
}

// What a listener lacks after the server was killed and started again is the difference alone, in the first
// messages. (Google's clients pause up to a second before they connect, and again before they listen.)
func TestListenAfterRestart(t *testing.T) {
	t.Parallel()
	dir, killed := t.TempDir(), t.TempDir()
	f := start(t, firestoreserver.Options{Dir: dir})
	q := &firestorepb.StructuredQuery{From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "live"}}}
	w := &watcher{t: t, f: f, docs: map[string]int64{}}
	batch := f.client.BulkWriter(t.Context())
	const docs = 200
	for i := range docs {
		if _, err := batch.Set(f.client.Doc(fmt.Sprint("live/d", i)), map[string]any{"n": i}); err != nil {
			t.Fatal(err)
		}
	}
	batch.End()
	w.follow(q, time.Time{})
	if len(w.docs) != docs {
		t.Fatalf("%d documents, want %d", len(w.docs), docs)
	}
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil { // all that is acknowledged is on disk
		t.Fatal(err)
	}
	w.f = start(t, firestoreserver.Options{Dir: killed})
	res, err := w.f.client.Doc("live/d7").Set(t.Context(), map[string]any{"n": -7})
	if err != nil {
		t.Fatal(err)
	}
	w.follow(q, res.UpdateTime)
	if len(w.docs) != docs || w.docs[benchDatabase+"/documents/live/d7"] != -7 || w.reset || w.count != docs {
		t.Errorf("%d documents with %v, reset %v, filter %d", len(w.docs), w.docs[benchDatabase+"/documents/live/d7"], w.reset, w.count)
	}
	// The target is added, one document, the count of all, the target is current, and so is all.
	if w.took != 5 {
		t.Errorf("it took %d messages, want 5", w.took)
	}
}

func contents(t *testing.T, q firestore.Query) map[string]int64 {
	t.Helper()
	docs, err := q.Documents(t.Context()).GetAll()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int64{}
	for _, d := range docs {
		out[d.Ref.Path] = d.Data()["n"].(int64)
	}
	return out
}

// A listener that does not read is brought up to date in one step, and never holds up those who write.
func TestListenOverrun(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	q := &firestorepb.StructuredQuery{From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "busy"}}}
	ctx := deadline(t)
	s, err := f.raw.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	target := &firestorepb.Target{TargetId: 1, TargetType: &firestorepb.Target_Query{Query: &firestorepb.Target_QueryTarget{
		Parent: benchDatabase + "/documents", QueryType: &firestorepb.Target_QueryTarget_StructuredQuery{StructuredQuery: q},
	}}}
	if err := s.Send(&firestorepb.ListenRequest{Database: benchDatabase, TargetChange: &firestorepb.ListenRequest_AddTarget{AddTarget: target}}); err != nil {
		t.Fatal(err)
	}
	coll := f.client.Collection("busy")
	var last time.Time
	long := make([]byte, 20_000) // so that the transport's buffers do not hide the backlog
	for i := range 400 {
		res, err := coll.Doc(fmt.Sprint(i%30)).Set(ctx, map[string]any{"n": i, "b": long})
		if err != nil {
			t.Fatal(err)
		}
		last = res.UpdateTime
	}
	w := &watcher{t: t, f: f, docs: map[string]int64{}}
	messages := 0
	for {
		m, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		messages++
		if w.take(m) && !m.GetTargetChange().GetReadTime().AsTime().Before(last) {
			break
		}
	}
	if want := contents(t, coll.Query); fmt.Sprint(w.docs) != fmt.Sprint(want) {
		t.Errorf("listener holds %v, want %v", w.docs, want)
	}
	t.Logf("%d messages for 400 commits", messages)
}

func TestListenRefusals(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	q := f.client.Collection("x").Where("a", "==", 1).OrderBy("b", firestore.Asc)
	it := q.Snapshots(deadline(t))
	defer it.Stop()
	if _, err := it.Next(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("listening without an index = %v, want FailedPrecondition", err)
	}
}
