package firestoreserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/localcloud/firestoreserver"
	"exportd/internal/localcloud/firestoreserver/fsstore"
)

func TestOpenTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, firestoreserver.Options{Dir: dir})
	if _, err := firestoreserver.Open(firestoreserver.Options{Dir: dir}); !errors.Is(err, fsstore.ErrLocked) {
		t.Errorf("second Open() = %v, want %v", err, fsstore.ErrLocked)
	}
}

// A changed index configuration rebuilds the entries, and only then.
func TestReopenWithOtherIndexes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	query := func(f reopened) error {
		_, err := f.client.Collection("messages").Where("workspace", "==", "w1").Where("medium", "==", "m1").
			OrderBy("at", firestore.Desc).OrderBy(firestore.DocumentID, firestore.Asc).Documents(t.Context()).GetAll()
		return err
	}
	f := reopen(t, dir, "")
	load(t, f.raw, 0, 700)
	if err := query(f); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("query without its index = %v, want FailedPrecondition", err)
	}
	f.stop()
	for range 2 {
		f = reopen(t, dir, benchIndexes)
		if err := query(f); err != nil {
			t.Errorf("query with its index = %v", err)
		}
		if n := drain(t, f.conn, scanQuery(0)); n != 175 {
			t.Errorf("%d rows, want 175", n)
		}
		if docs, err := f.server.Verify(); err != nil || docs != 700 {
			t.Errorf("Verify() = %d, %v, want 700", docs, err)
		}
		f.stop()
	}
}

// What is read at an instant is the same bytes twice, although writers change and delete everything
// meanwhile; and an instant of the retention's past is refused.
func TestReadTimeWhileWritersRun(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{IndexesJSON: []byte(benchIndexes), Retention: time.Minute})
	load(t, f.raw, 0, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	g, ctx := errgroup.WithContext(ctx)
	var written atomic.Int64
	for w := range 2 {
		g.Go(func() error {
			for i := w; ctx.Err() == nil; i++ {
				d := message(i * 7 % 1000)
				d.Fields["name"] = num(i)
				op := &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: d}}
				if i%3 == 0 {
					op = &firestorepb.Write{Operation: &firestorepb.Write_Delete{Delete: d.Name}}
				}
				req := &firestorepb.CommitRequest{Database: benchDatabase, Writes: []*firestorepb.Write{op}}
				if _, err := f.raw.Commit(ctx, req); err != nil && ctx.Err() == nil {
					return err
				}
				written.Add(1)
			}
			return nil
		})
	}
	req := scanQuery(0)
	for range 20 {
		at := readTime(t, f)
		req.ConsistencySelector = &firestorepb.RunQueryRequest_ReadTime{ReadTime: at}
		first := result(t, f, req)
		if second := result(t, f, req); !bytes.Equal(first, second) {
			t.Fatalf("two reads at %v differ after %d writes", at.AsTime(), written.Load())
		}
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.server.Verify(); err != nil {
		t.Errorf("Verify() = %v", err)
	}
	req.ConsistencySelector = &firestorepb.RunQueryRequest_ReadTime{ReadTime: timestamppb.New(time.Now().Add(-2 * time.Minute))}
	s, err := f.raw.RunQuery(t.Context(), req)
	if err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("read before the retention = %v, want FailedPrecondition", err)
	}
}

// readTime returns the instant of a strong read.
func readTime(t *testing.T, f *fixture) *timestamppb.Timestamp {
	t.Helper()
	s, err := f.raw.RunQuery(t.Context(), scanQuery(1))
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return m.GetReadTime()
}

// result returns all messages of a query as bytes.
func result(t *testing.T, f *fixture, req *firestorepb.RunQueryRequest) []byte {
	t.Helper()
	s, err := f.raw.RunQuery(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(out, m); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMaxStream(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{IndexesJSON: []byte(benchIndexes), MaxStream: time.Nanosecond})
	load(t, f.raw, 0, 4200) // a quarter is past the first look at the clock, at 1024 rows
	s, err := f.raw.RunQuery(t.Context(), scanQuery(0))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("stream ended with %v, want Unavailable", err)
	}
}

// Close must not wait for a listener or for a client that does not read.
func TestCloseEndsStreams(t *testing.T) {
	t.Parallel()
	f := reopen(t, t.TempDir(), benchIndexes)
	load(t, f.raw, 0, 900)
	s, err := f.raw.Listen(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	target := &firestorepb.Target{TargetId: 1, TargetType: &firestorepb.Target_Documents{Documents: &firestorepb.Target_DocumentsTarget{
		Documents: []string{fmt.Sprint(benchDatabase, "/documents/a/b")},
	}}}
	if err := s.Send(&firestorepb.ListenRequest{Database: benchDatabase, TargetChange: &firestorepb.ListenRequest_AddTarget{AddTarget: target}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	f.stop()
	for err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("listener ended with %v, want Unavailable", err)
	}
}
