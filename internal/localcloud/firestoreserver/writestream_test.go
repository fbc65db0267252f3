package firestoreserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver"
)

// openWrites opens a Write stream, as Firebase's clients do, and returns it with its first token.
func openWrites(ctx context.Context, c firestorepb.FirestoreClient) (firestorepb.Firestore_WriteClient, []byte, error) {
	s, err := c.Write(ctx)
	if err == nil {
		err = s.Send(&firestorepb.WriteRequest{Database: benchDatabase})
	}
	if err != nil {
		return nil, nil, err
	}
	first, err := s.Recv()
	if err == nil && (first.GetStreamId() == "" || len(first.GetStreamToken()) == 0 || first.GetCommitTime() != nil) {
		err = fmt.Errorf("the first answer is %v", first)
	}
	return s, first.GetStreamToken(), err
}

func update(id string) *firestorepb.Write {
	return &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{Name: benchDatabase + "/documents/written/" + id}}}
}

// TestWriteStream writes as Firebase's clients do: a first request that has no writes, then commits, each
// with the token of the last answer.
func TestWriteStream(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	ctx := deadline(t)
	begin := func() (firestorepb.Firestore_WriteClient, []byte) {
		t.Helper()
		s, token, err := openWrites(ctx, f.raw)
		if err != nil {
			t.Fatal(err)
		}
		return s, token
	}
	s, token := begin()
	tokens := [][]byte{token}
	for _, writes := range [][]*firestorepb.Write{{update("a"), update("b")}, {update("c")}, nil} {
		if err := s.Send(&firestorepb.WriteRequest{Writes: writes, StreamToken: token}); err != nil {
			t.Fatal(err)
		}
		resp, err := s.Recv()
		if err != nil || len(resp.GetWriteResults()) != len(writes) || resp.GetCommitTime() == nil || bytes.Equal(resp.GetStreamToken(), token) || resp.GetStreamId() != "" {
			t.Fatalf("%d writes are answered with %v, %v", len(writes), resp, err)
		}
		token = resp.GetStreamToken()
		tokens = append(tokens, token)
	}
	if docs, err := f.client.Collection("written").Documents(ctx).GetAll(); err != nil || len(docs) != 3 {
		t.Errorf("there are %d documents, %v, want 3", len(docs), err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the client's end: %v, want the end", err)
	}

	large := update("large")
	large.GetUpdate().Fields = map[string]*firestorepb.Value{"a": str(strings.Repeat("x", 1<<20-1000))}
	missing := update("nobody")
	missing.CurrentDocument = &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_Exists{Exists: true}}
	for name, c := range map[string]struct {
		req  *firestorepb.WriteRequest
		want codes.Code
		text string
	}{
		"a condition that fails":    {&firestorepb.WriteRequest{Writes: []*firestorepb.Write{update("d"), missing}}, codes.NotFound, "No document to update"},
		"writes of another place":   {&firestorepb.WriteRequest{Writes: []*firestorepb.Write{update("d"), {Operation: &firestorepb.Write_Delete{Delete: "projects/demo-test/databases/other/documents/a/b"}}}}, codes.InvalidArgument, "database"},
		"more than 10 MiB":          {&firestorepb.WriteRequest{Writes: append(slices.Repeat([]*firestorepb.Write{large}, 11), update("d"))}, codes.InvalidArgument, "exceeds the limit"},
		"another database":          {&firestorepb.WriteRequest{Database: "projects/demo-test/databases/other"}, codes.InvalidArgument, "same database"},
		"a token of another stream": {&firestorepb.WriteRequest{StreamToken: tokens[0]}, codes.InvalidArgument, "none of this stream"},
		"a token that is none":      {&firestorepb.WriteRequest{StreamToken: []byte("x")}, codes.InvalidArgument, "none of this stream"},
		"a stream to resume":        {&firestorepb.WriteRequest{StreamId: "x"}, codes.Unimplemented, "stream_id"},
	} {
		s, _ := begin()
		if err := s.Send(c.req); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); status.Code(err) != c.want || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want %v: %s", name, err, c.want, c.text)
		}
	}
	if d, err := f.client.Doc("written/d").Get(ctx); status.Code(err) != codes.NotFound {
		t.Errorf("a write beside one that fails: %v, %v", d, err)
	}
	s, token = begin()
	ahead := bytes.Clone(token)
	ahead[len(ahead)-1]++
	if err := s.Send(&firestorepb.WriteRequest{StreamToken: ahead}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a token that was not given yet: %v", err)
	}
	for name, first := range map[string]*firestorepb.WriteRequest{
		"writes":   {Database: benchDatabase, Writes: []*firestorepb.Write{update("d")}},
		"a token":  {Database: benchDatabase, StreamToken: token},
		"no place": {},
	} {
		s, err := f.raw.Write(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(first); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("a first request with %s: %v, want InvalidArgument", name, err)
		}
	}
}

// TestWriteStreamsAtOnce: writers that wait for no answer before they send on, and close their side, have
// each commit answered in the order in which they sent it, and what they write at once adds up.
func TestWriteStreamsAtOnce(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	const writers, each = 3, 20
	sum := update("sum")
	sum.UpdateMask = &firestorepb.DocumentMask{}
	sum.UpdateTransforms = []*firestorepb.DocumentTransform_FieldTransform{{FieldPath: "n", TransformType: &firestorepb.DocumentTransform_FieldTransform_Increment{Increment: num(1)}}}
	g, ctx := errgroup.WithContext(deadline(t))
	for w := range writers {
		g.Go(func() error {
			s, token, err := openWrites(ctx, f.raw)
			for i := 0; i < each && err == nil; i++ {
				err = s.Send(&firestorepb.WriteRequest{StreamToken: token, Writes: []*firestorepb.Write{sum, update(fmt.Sprint(w, "-", i))}})
			}
			if err == nil {
				err = s.CloseSend()
			}
			last := int64(0)
			for range each {
				if err != nil {
					return err
				}
				var resp *firestorepb.WriteResponse
				resp, err = s.Recv()
				n := resp.GetWriteResults()
				if err == nil && (len(n) != 2 || n[0].GetTransformResults()[0].GetIntegerValue() <= last) {
					return fmt.Errorf("after the sum of %d: %v", last, resp)
				}
				if err == nil {
					last = n[0].GetTransformResults()[0].GetIntegerValue()
				}
			}
			if _, err := s.Recv(); !errors.Is(err, io.EOF) {
				return fmt.Errorf("after the last answer: %w", err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	docs, err := f.client.Collection("written").Documents(t.Context()).GetAll()
	if err != nil || len(docs) != writers*each+1 {
		t.Fatalf("%d documents, %v, want %d", len(docs), err, writers*each+1)
	}
	if n := docs[len(docs)-1].Data()["n"]; n != int64(writers*each) {
		t.Errorf("the sum is %v, want %d", n, writers*each)
	}
}

// TestCloseEndsWriteStreams: a server that closes ends an idle stream, and one in the middle of writes, with
// UNAVAILABLE, after which clients send again what has no answer. What has one is there.
func TestCloseEndsWriteStreams(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), deadline(t)
	f := reopen(t, dir, "")
	idle, _, err := openWrites(ctx, f.raw)
	if err != nil {
		t.Fatal(err)
	}
	busy, _, err := openWrites(ctx, f.raw)
	if err != nil {
		t.Fatal(err)
	}
	some, ended := make(chan int, 1), make(chan error, 1)
	answered := 0
	go func() {
		for {
			err := busy.Send(&firestorepb.WriteRequest{Writes: []*firestorepb.Write{update(strconv.Itoa(answered + 1))}})
			if err == nil || errors.Is(err, io.EOF) { // Recv tells why
				_, err = busy.Recv()
			}
			if err != nil {
				ended <- err
				return
			}
			if answered++; answered == 20 {
				some <- answered
			}
		}
	}()
	select {
	case <-some:
	case err := <-ended:
		t.Fatal(err)
	}
	f.stop()
	if _, err := idle.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("the idle stream ended with %v, want Unavailable: it was cut", err)
	}
	if err := <-ended; status.Code(err) != codes.Unavailable {
		t.Errorf("the busy stream ended with %v, want Unavailable", err)
	}
	f = reopen(t, dir, "")
	defer f.stop()
	docs, err := f.client.Collection("written").Documents(ctx).GetAll()
	if err != nil || len(docs) != answered && len(docs) != answered+1 {
		t.Errorf("%d documents, %v, after %d answers", len(docs), err, answered)
	}
}
