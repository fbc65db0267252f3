package firestoreserver_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"go.uber.org/goleak"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"exportd/internal/localcloud/firestoreserver"
)

const project = "demo-test"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		fmt.Fprintln(os.Stderr, crashWriter(dir, os.Args[1]))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m,
		// The client library's tracing worker never ends.
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// fixture is a running server and connections to it.
type fixture struct {
	server *firestoreserver.Server
	addr   string
	conn   *grpc.ClientConn
	raw    firestorepb.FirestoreClient
	client *firestore.Client
}

// start runs a server in memory, or in opt.Dir, until the test ends.
func start(tb testing.TB, opt firestoreserver.Options) *fixture {
	tb.Helper()
	opt.InMemory = opt.Dir == ""
	s, err := firestoreserver.Open(opt)
	if err != nil {
		tb.Fatalf("Open() = %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	f := &fixture{server: s, addr: l.Addr().String()}
	f.conn, f.client = dial(tb, f.addr)
	f.raw = firestorepb.NewFirestoreClient(f.conn)
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("Close() = %v", err)
		}
		if err := <-served; err != nil {
			tb.Errorf("Serve() = %v", err)
		}
	})
	return f
}

// dial opens a connection and the official client over it.
func dial(tb testing.TB, addr string) (*grpc.ClientConn, *firestore.Client) {
	tb.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		tb.Fatal(err)
	}
	client, err := firestore.NewClient(context.Background(), project, option.WithGRPCConn(conn))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = client.Close()
		_ = conn.Close()
	})
	return conn, client
}
