package firestoreserver_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/localcloud/firestoreserver"
)

// listening is a stream of raw messages.
type listening struct {
	t      *testing.T
	stream firestorepb.Firestore_ListenClient
	heard  []string // since the last call of until
}

func listen(t *testing.T, f *fixture) *listening {
	t.Helper()
	s, err := f.raw.Listen(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return &listening{t: t, stream: s}
}

// add follows the collection live, in an order.
func (l *listening) add(target *firestorepb.Target, order ...*firestorepb.StructuredQuery_Order) {
	l.t.Helper()
	target.TargetType = &firestorepb.Target_Query{Query: &firestorepb.Target_QueryTarget{
		Parent: benchDatabase + "/documents",
		QueryType: &firestorepb.Target_QueryTarget_StructuredQuery{StructuredQuery: &firestorepb.StructuredQuery{
			From: []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: "live"}}, OrderBy: order,
		}},
	}}
	l.send(&firestorepb.ListenRequest{TargetChange: &firestorepb.ListenRequest_AddTarget{AddTarget: target}})
}

func (l *listening) send(req *firestorepb.ListenRequest) {
	l.t.Helper()
	req.Database = benchDatabase
	if err := l.stream.Send(req); err != nil {
		l.t.Fatal(err)
	}
}

// until returns what is heard up to the message: documents by id and changes of targets, with the targets,
// and "mark" for all of them being up to date.
func (l *listening) until(last string) []string {
	l.t.Helper()
	l.heard = nil
	for {
		m, err := l.stream.Recv()
		if err != nil {
			l.t.Fatalf("%v after %q", err, l.heard)
		}
		got := said(m)
		l.heard = append(l.heard, got)
		if got == last {
			return l.heard
		}
	}
}

func said(m *firestorepb.ListenResponse) string {
	switch r := m.GetResponseType().(type) {
	case *firestorepb.ListenResponse_DocumentChange:
		name := r.DocumentChange.GetDocument().GetName()
		return fmt.Sprint(name[len(benchDatabase+"/documents/live/"):], " ", r.DocumentChange.GetTargetIds())
	case *firestorepb.ListenResponse_DocumentDelete:
		return fmt.Sprint("deleted ", r.DocumentDelete.GetDocument()[len(benchDatabase+"/documents/live/"):], " ", r.DocumentDelete.GetRemovedTargetIds())
	case *firestorepb.ListenResponse_DocumentRemove:
		return fmt.Sprint("-", r.DocumentRemove.GetDocument()[len(benchDatabase+"/documents/live/"):], " ", r.DocumentRemove.GetRemovedTargetIds())
	case *firestorepb.ListenResponse_Filter:
		return fmt.Sprint("filter ", r.Filter.GetCount(), " [", r.Filter.GetTargetId(), "]")
	case *firestorepb.ListenResponse_TargetChange:
		if len(r.TargetChange.GetTargetIds()) == 0 {
			return "mark"
		}
		return fmt.Sprint(r.TargetChange.GetTargetChangeType(), " ", r.TargetChange.GetTargetIds())
	}
	return fmt.Sprint(m)
}

func (l *listening) expect(last string, want ...string) {
	l.t.Helper()
	if got := l.until(last); fmt.Sprint(got) != fmt.Sprint(want) {
		l.t.Errorf("heard %q, want %q", got, want)
	}
}

// TestListenOnce: a target that is wanted once ends when it is current, and hears nothing of what comes then.
func TestListenOnce(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	set(t, f.client.Doc("live/a"), map[string]any{"n": 1})
	l := listen(t, f)
	l.add(&firestorepb.Target{TargetId: 1, Once: true})
	l.add(&firestorepb.Target{TargetId: 2})
	l.expect("CURRENT [2]", "ADD [1]", "a [1]", "CURRENT [1]", "mark", "REMOVE [1]", "ADD [2]", "a [2]", "CURRENT [2]")
	l.until("mark")
	set(t, f.client.Doc("live/b"), map[string]any{"n": 2})
	l.expect("mark", "b [2]", "mark")
}

// TestListenRemoveTarget: a target that is removed hears nothing more, and its id is free.
func TestListenRemoveTarget(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	l := listen(t, f)
	for _, id := range []int32{1, 2} {
		l.add(&firestorepb.Target{TargetId: id})
		l.expect("mark", fmt.Sprintf("ADD [%d]", id), fmt.Sprintf("CURRENT [%d]", id), "mark")
	}
	l.send(&firestorepb.ListenRequest{TargetChange: &firestorepb.ListenRequest_RemoveTarget{RemoveTarget: 1}})
	l.expect("REMOVE [1]", "REMOVE [1]")
	set(t, f.client.Doc("live/a"), map[string]any{"n": 1})
	l.expect("mark", "a [2]", "mark")
	l.add(&firestorepb.Target{TargetId: 1})
	l.expect("mark", "ADD [1]", "a [1]", "CURRENT [1]", "mark")
}

// TestListenFromReadTime: a target is told what changed since a time, or everything when that is not known.
func TestListenFromReadTime(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	var first *firestore.WriteResult
	for i, id := range []string{"a", "b"} {
		res, err := f.client.Doc("live/"+id).Set(t.Context(), map[string]any{"n": i})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = res
		}
	}
	l := listen(t, f)
	at := func(when time.Time) *firestorepb.Target_ReadTime {
		return &firestorepb.Target_ReadTime{ReadTime: timestamppb.New(when)}
	}
	l.add(&firestorepb.Target{TargetId: 1, ResumeType: at(first.UpdateTime)})
	l.expect("mark", "ADD [1]", "b [1]", "filter 2 [1]", "CURRENT [1]", "mark")
	l.add(&firestorepb.Target{TargetId: 2, ResumeType: at(first.UpdateTime.Add(-2 * time.Hour))})
	if got := l.until("mark"); len(got) != 6 || got[1] != "RESET [2]" || got[4] != "CURRENT [2]" {
		t.Errorf("from a time that is too old: heard %q, want a reset and both documents", got)
	}
}

// TestListenOrder: what is sent at once comes in one order: what has left by name, what is there in the order
// of the query, and of several targets those of lower ids first.
func TestListenOrder(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	ids := strings.Split("abcdefgh", "")
	var last *firestore.WriteResult
	for i, id := range ids {
		res, err := f.client.Doc("live/"+id).Set(t.Context(), map[string]any{"n": -i})
		if err != nil {
			t.Fatal(err)
		}
		last = res
	}
	byN := &firestorepb.StructuredQuery_Order{Field: &firestorepb.StructuredQuery_FieldReference{FieldPath: "n"}, Direction: firestorepb.StructuredQuery_ASCENDING}
	l := listen(t, f)
	l.add(&firestorepb.Target{TargetId: 9}, byN)
	l.expect("CURRENT [9]", "ADD [9]", "h [9]", "g [9]", "f [9]", "e [9]", "d [9]", "c [9]", "b [9]", "a [9]", "CURRENT [9]")
	l.send(&firestorepb.ListenRequest{TargetChange: &firestorepb.ListenRequest_RemoveTarget{RemoveTarget: 9}})
	for _, id := range []string{"e", "c", "a", "g"} {
		if _, err := f.client.Doc("live/" + id).Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	set(t, f.client.Doc("live/f"), map[string]any{"m": 1}) // which the order leaves out
	for i, id := range []string{"x", "d", "b", "y"} {
		set(t, f.client.Doc("live/"+id), map[string]any{"n": i})
	}
	l.until("REMOVE [9]")
	l.add(&firestorepb.Target{TargetId: 8, ResumeType: &firestorepb.Target_ReadTime{ReadTime: timestamppb.New(last.UpdateTime)}}, byN)
	l.until("ADD [8]")
	l.expect("CURRENT [8]", "deleted a [8]", "deleted c [8]", "deleted e [8]", "-f [8]", "deleted g [8]", "x [8]", "d [8]", "b [8]", "y [8]", "filter 5 [8]", "CURRENT [8]")
	for _, id := range []int32{6, 4, 2} {
		l.add(&firestorepb.Target{TargetId: id})
		l.until(fmt.Sprintf("CURRENT [%d]", id))
	}
	for i := range 3 {
		l.until("mark")
		set(t, f.client.Doc("live/z"), map[string]any{"n": i})
		l.expect("z [8]", "z [2]", "z [4]", "z [6]", "z [8]")
	}
}
