package connection_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"sync"
	"testing"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/connection"
)

const queried = 3000

func (fake) RunQuery(_ *firestorepb.RunQueryRequest, s firestorepb.Firestore_RunQueryServer) error {
	for range queried {
		if err := s.Send(&firestorepb.RunQueryResponse{}); err != nil {
			return err
		}
	}
	return nil
}

func (fake) Commit(context.Context, *firestorepb.CommitRequest) (*firestorepb.CommitResponse, error) {
	return &firestorepb.CommitResponse{}, nil
}

// heard are the calls that a guard told of.
type heard struct {
	mu       sync.Mutex
	calls    map[string]int // by method and code
	received int
	written  int
	told     int
}

func (h *heard) note(_ context.Context, c connection.Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told++
	h.received += c.Received
	h.written += c.Written
	if c.Method != "" {
		what := path.Base(c.Method) + " " + status.Code(c.Err).String()
		if c.Status != 0 {
			what = c.Method + " " + http.StatusText(c.Status)
		}
		h.calls[what]++
	}
}

// TestCalled: the guard tells of each call once, and of what a stream brings a few times, not for each
// message; who reads the first alone is told of too.
func TestCalled(t *testing.T) {
	t.Parallel()
	h := &heard{calls: map[string]int{}}
	g := &connection.Guard{Called: h.note}
	p := dial(t, serve(t), g, 1)
	client := firestorepb.NewFirestoreClient(p)
	if _, err := client.GetDocument(t.Context(), &firestorepb.GetDocumentRequest{}); status.Code(err) != codes.Aborted {
		t.Fatal(err)
	}
	if _, err := client.Commit(t.Context(), &firestorepb.CommitRequest{Writes: make([]*firestorepb.Write, 3)}); err != nil {
		t.Fatal(err)
	}
	s, err := client.RunQuery(t.Context(), &firestorepb.RunQueryRequest{})
	for err == nil {
		_, err = s.Recv()
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if s, err = client.RunQuery(ctx, &firestorepb.RunQueryRequest{}); err == nil {
		_, err = s.Recv()
	}
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	for what, n := range map[string]int{"GetDocument Aborted": 1, "Commit OK": 1, "RunQuery OK": 2} {
		if h.calls[what] != n {
			t.Errorf("%s: %d times, want %d (%v)", what, h.calls[what], n, h.calls)
		}
	}
	if h.received != queried+1 || h.written != 3 || h.told > 4+1+queried/1024 {
		t.Errorf("%d messages, %d documents written, told %d times", h.received, h.written, h.told)
	}
	if in, out := g.Bytes(); in < queried || out == 0 {
		t.Errorf("%d bytes came, %d went", in, out)
	}
}

// TestCalledHTTP: requests are told of with the status of the answer.
func TestCalledHTTP(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	h := &heard{calls: map[string]int{}}
	g := &connection.Guard{Called: h.note}
	transport := g.Transport(0)
	defer transport.Close()
	ask := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if err := ask(); err == nil {
		t.Error("a server that is gone answered")
	}
	if h.calls["PUT I'm a teapot"] != 1 || h.told != 2 {
		t.Errorf("told of %v", h.calls)
	}
}
