package docwatch_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/docwatch"
)

// script is a Firestore whose Listen streams are played by a test. It gives each stream to the test, which
// plays it to its end.
type script struct {
	firestorepb.UnimplementedFirestoreServer
	streams chan *played
}

type played struct {
	firestorepb.Firestore_ListenServer
	end chan error
}

func (s *script) Listen(stream firestorepb.Firestore_ListenServer) error {
	p := &played{stream, make(chan error, 1)}
	select {
	case s.streams <- p:
	case <-stream.Context().Done():
		return nil
	}
	select {
	case err := <-p.end:
		return err
	case <-stream.Context().Done():
		return nil
	}
}

func play(t *testing.T, change ...func(*docwatch.Config)) (*docwatch.Watcher, *script) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{streams: make(chan *played)}
	server := grpc.NewServer()
	firestorepb.RegisterFirestoreServer(server, s)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-served })
	return open(t, l.Addr().String(), change...), s
}

// added reads requests up to one that adds a target and gives its id.
func (p *played) added(t *testing.T) int32 {
	t.Helper()
	for {
		req, err := p.Recv()
		if err != nil {
			t.Fatalf("read request: %v", err)
		}
		if a := req.GetAddTarget(); a != nil {
			return a.GetTargetId()
		}
	}
}

func (p *played) change(kind firestorepb.TargetChange_TargetChangeType, cause error, ids ...int32) {
	c := &firestorepb.TargetChange{TargetChangeType: kind, TargetIds: ids}
	if cause != nil {
		c.Cause = status.Convert(cause).Proto()
	}
	_ = p.Send(&firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_TargetChange{TargetChange: c}})
}

// doc sends the document with a value, which is its update time as well.
func (p *played) doc(id int32, n int64) {
	_ = p.Send(&firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_DocumentChange{DocumentChange: &firestorepb.DocumentChange{
		TargetIds: []int32{id}, Document: &firestorepb.Document{
			Name: database + "/documents/Things/a", UpdateTime: &timestamppb.Timestamp{Seconds: n}, CreateTime: &timestamppb.Timestamp{Seconds: 1},
			Fields: map[string]*firestorepb.Value{"n": {ValueType: &firestorepb.Value_IntegerValue{IntegerValue: n}}},
		},
	}}})
}

func (p *played) filter(id, count int32) {
	_ = p.Send(&firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_Filter{Filter: &firestorepb.ExistenceFilter{TargetId: id, Count: count}}})
}

// watching watches Things/a until its value is 9.
func watching(t *testing.T, w *docwatch.Watcher) (told chan int64, done chan error) {
	told, done = make(chan int64, 20), make(chan error, 1)
	go func() {
		done <- w.Watch(t.Context(), "Things/a", func(doc *firestore.DocumentSnapshot) bool {
			n := int64(-1)
			if doc.Exists() {
				n, _ = doc.Data()["n"].(int64)
			}
			told <- n
			return n == 9
		})
		close(told)
	}()
	return told, done
}

const (
	added   = firestorepb.TargetChange_ADD
	current = firestorepb.TargetChange_CURRENT
	removed = firestorepb.TargetChange_REMOVE
	reset   = firestorepb.TargetChange_RESET
)

// Whatever a server may say in between, the last state is told, and each once.
func TestStreamSurvives(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		play func(t *testing.T, s *script, p *played, id int32)
		want []int64
	}{
		"reset": {func(_ *testing.T, _ *script, p *played, id int32) {
			p.change(reset, nil, id)
			p.doc(id, 1)
			p.change(current, nil, id)
			p.doc(id, 9)
		}, []int64{1, 9}},
		"reset and gone": {func(_ *testing.T, _ *script, p *played, id int32) {
			p.change(reset, nil) // all targets
			p.change(current, nil)
			p.doc(id, 9)
		}, []int64{1, -1, 9}},
		"filter that fits": {func(_ *testing.T, _ *script, p *played, id int32) { p.filter(id, 1); p.doc(id, 9) }, []int64{1, 9}},
		"filter that does not": {func(t *testing.T, _ *script, p *played, id int32) {
			p.filter(id, 0)
			next := p.added(t)
			if next == id {
				t.Error("the id is used again")
			}
			p.doc(id, 5) // late, of the id that was given up
			p.change(current, nil, next)
			p.doc(next, 9)
		}, []int64{1, -1, 9}},
		"removed for a while": {func(t *testing.T, _ *script, p *played, id int32) {
			p.change(removed, status.Error(codes.Unavailable, "overloaded"), id)
			next := p.added(t)
			p.doc(next, 9)
		}, []int64{1, 9}},
		"broken": {func(t *testing.T, s *script, p *played, _ int32) {
			p.end <- status.Error(codes.Unavailable, "going away")
			p = <-s.streams
			p.doc(p.added(t), 9)
		}, []int64{1, 9}},
		"ended in order": {func(t *testing.T, s *script, p *played, _ int32) {
			p.end <- nil
			p = <-s.streams
			id := p.added(t)
			p.doc(id, 1)
			p.doc(id, 9)
		}, []int64{1, 9}},
		"deleted while it was broken": {func(t *testing.T, s *script, p *played, _ int32) {
			p.end <- status.Error(codes.Internal, "")
			p = <-s.streams
			id := p.added(t)
			p.change(current, nil, id)
			p.doc(id, 9)
		}, []int64{1, -1, 9}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := play(t, func(c *docwatch.Config) { c.Answer = time.Minute })
			told, done := watching(t, w)
			p := <-s.streams
			id := p.added(t)
			p.change(added, nil, id)
			p.doc(id, 1)
			p.change(current, nil, id)
			var got []int64
			got = append(got, <-told)
			tc.play(t, s, p, id)
			for n := range told {
				got = append(got, n)
			}
			if err := <-done; err != nil || got[len(got)-1] != 9 {
				t.Errorf("told %v, %v", got, err)
			}
			// States that follow each other at once may be told as the last.
			if !slices.Equal(got, tc.want) && !slices.Equal(got, []int64{1, 9}) {
				t.Errorf("told %v, want %v", got, tc.want)
			}
		})
	}
}

// A stream that says nothing of a target is left for another. The script answers as soon as it can, and may
// be left too where it cannot in time.
func TestStreamWithoutAnswer(t *testing.T) {
	t.Parallel()
	w, s := play(t, func(c *docwatch.Config) { c.Answer = 100 * time.Millisecond })
	told, done := watching(t, w)
	silent := <-s.streams
	for left := false; !left; {
		select {
		case <-silent.Context().Done():
			left = true
		case n := <-told:
			t.Fatalf("told %d by a stream that says nothing", n)
		}
	}
	for {
		select {
		case p := <-s.streams:
			go func() { // ends with the stream
				for {
					req, err := p.Recv()
					if err != nil {
						return
					}
					if a := req.GetAddTarget(); a != nil {
						p.doc(a.GetTargetId(), 9)
					}
				}
			}()
			continue
		case n := <-told:
			if n != 9 {
				t.Errorf("told %d, want 9", n)
			}
		}
		break
	}
	if err := <-done; err != nil {
		t.Errorf("Watch = %v", err)
	}
}

// What the server refuses for good is an error, and the next caller asks anew.
func TestStreamRefused(t *testing.T) {
	t.Parallel()
	w, s := play(t)
	_, done := watching(t, w)
	p := <-s.streams
	p.change(removed, status.Error(codes.PermissionDenied, "not yours"), p.added(t))
	if err := <-done; status.Code(err) != codes.PermissionDenied {
		t.Errorf("Watch of a refused target = %v", err)
	}
	told, done := watching(t, w)
	p.doc(p.added(t), 9)
	if n := <-told; n != 9 {
		t.Errorf("told %d, want 9", n)
	}
	if err := <-done; err != nil {
		t.Errorf("Watch = %v", err)
	}
	_, done = watching(t, w)
	p.added(t)
	p.end <- status.Error(codes.NotFound, "no such database")
	if err := <-done; status.Code(err) != codes.NotFound {
		t.Errorf("Watch on a refused stream = %v", err)
	}
}

var errGone = errors.New("gone")

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	w, s := play(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Watch(ctx, "Things/a", func(*firestore.DocumentSnapshot) bool { return false }) }()
	(<-s.streams).added(t)
	cancel(errGone)
	if err := <-done; !errors.Is(err, errGone) {
		t.Errorf("Watch = %v, want the context's cause", err)
	}
	_, done = watching(t, w)
	if err := w.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if err := <-done; status.Code(err) != codes.Unavailable {
		t.Errorf("Watch of a closed watcher = %v", err)
	}
}
