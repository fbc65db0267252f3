package firestoreserver_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver"
)

// TestWriteStream writes as Firebase's clients do: a first request that has no writes, then commits, each
// with the token of the last answer.
func TestWriteStream(t *testing.T) {
	t.Parallel()
	f := start(t, firestoreserver.Options{})
	ctx := deadline(t)
	begin := func() (firestorepb.Firestore_WriteClient, []byte) {
		t.Helper()
		s, err := f.raw.Write(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(&firestorepb.WriteRequest{Database: benchDatabase}); err != nil {
			t.Fatal(err)
		}
		first, err := s.Recv()
		if err != nil || first.GetStreamId() == "" || len(first.GetStreamToken()) == 0 || first.GetCommitTime() != nil {
			t.Fatalf("the first answer is %v, %v", first, err)
		}
		return s, first.GetStreamToken()
	}
	update := func(id string) *firestorepb.Write {
		return &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: &firestorepb.Document{Name: benchDatabase + "/documents/written/" + id}}}
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

	missing := update("nobody")
	missing.CurrentDocument = &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_Exists{Exists: true}}
	for name, c := range map[string]struct {
		req  *firestorepb.WriteRequest
		want codes.Code
		text string
	}{
		"a condition that fails":    {&firestorepb.WriteRequest{Writes: []*firestorepb.Write{update("d"), missing}}, codes.NotFound, "No document to update"},
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
