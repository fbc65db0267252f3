package front_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/firestoreserver"
	"exportd/internal/localcloud/front"
	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

// counting counts the connections of a listener.
type counting struct {
	net.Listener
	n atomic.Int64
}

func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// serve starts a Firestore until the test ends.
func serve(t *testing.T, opt firestoreserver.Options) *counting {
	t.Helper()
	opt.InMemory = true
	s, err := firestoreserver.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &counting{Listener: l}
	served := make(chan error, 1)
	go func() { served <- s.Serve(c) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
		<-served
	})
	return c
}

const database = "projects/p/databases/(default)"

// listenOn opens a listener and waits until the server has taken it.
func listenOn(t *testing.T, ctx context.Context, c firestorepb.FirestoreClient) {
	t.Helper()
	stream, err := c.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&firestorepb.ListenRequest{Database: database, TargetChange: &firestorepb.ListenRequest_AddTarget{AddTarget: &firestorepb.Target{
		TargetType: &firestorepb.Target_Documents{Documents: &firestorepb.Target_DocumentsTarget{Documents: []string{database + "/documents/c/d"}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
}

// TestStreams: a connection takes 100 calls; one more waits until another ends. Without the limits it does
// not.
func TestStreams(t *testing.T) {
	t.Parallel()
	for _, lax := range []bool{false, true} {
		l := serve(t, firestoreserver.Options{Lax: lax})
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := firestorepb.NewFirestoreClient(conn)
		get := func(ctx context.Context) error {
			_, err := c.GetDocument(ctx, &firestorepb.GetDocumentRequest{Name: database + "/documents/c/d"})
			return err
		}
		first, endFirst := context.WithCancel(t.Context())
		listenOn(t, first, c)
		for range front.MaxStreams - 1 {
			listenOn(t, t.Context(), c)
		}
		beside, cancel, want := t.Context(), func() {}, codes.NotFound
		if !lax { // it cannot be answered, however long it waits
			beside, cancel = context.WithTimeout(beside, 200*time.Millisecond)
			want = codes.DeadlineExceeded
		}
		if err := get(beside); status.Code(err) != want {
			t.Errorf("lax %v: a call beside %d listeners: %v, want %s", lax, front.MaxStreams, err, want)
		}
		cancel()
		endFirst()
		if err := get(t.Context()); status.Code(err) != codes.NotFound {
			t.Errorf("lax %v: a call after one listener has ended: %v, want NOT_FOUND", lax, err)
		}
	}
}

// TestConnectionAge: connections are told to go, and the official client notices nothing.
func TestConnectionAge(t *testing.T) {
	t.Parallel()
	l := serve(t, firestoreserver.Options{ConnectionAge: 20 * time.Millisecond})
	c, err := firestore.NewClient(t.Context(), "p", localcloud.GRPCOptions(l.Addr().String())...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for l.n.Load() < 4 {
		if _, err := c.Collection("c").Doc("d").Set(t.Context(), map[string]any{"a": 1}); err != nil {
			t.Fatalf("on connection %d: %v", l.n.Load(), err)
		}
	}
}

// TestPings: a client that pings faster than every 10 s is sent away. (grpc-go's clients cannot.)
func TestPings(t *testing.T) {
	t.Parallel()
	l := serve(t, firestoreserver.Options{})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for i := range 8 { // more than the few that gRPC lets pass
		if err := framer.WritePing(false, [8]byte{byte(i)}); err != nil {
			break // sent away already
		}
	}
	for {
		f, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("the connection ended without GOAWAY: %v", err)
		}
		if goAway, ok := f.(*http2.GoAwayFrame); ok {
			if goAway.ErrCode != http2.ErrCodeEnhanceYourCalm || string(goAway.DebugData()) != "too_many_pings" {
				t.Errorf("GOAWAY with %s, %q", goAway.ErrCode, goAway.DebugData())
			}
			return
		}
	}
}
