package connection_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"exportd/internal/connection"
	"exportd/internal/connection/connectiontest"
)

func TestMain(m *testing.M) {
	// Started once per process by the OpenCensus that Google's transport imports; it has no stop.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// fake answers GetDocument at once, with ABORTED, UpdateDocument with INVALID_ARGUMENT; Rollback never;
// streams wait for their end.
type fake struct {
	firestorepb.UnimplementedFirestoreServer
}

func (fake) GetDocument(context.Context, *firestorepb.GetDocumentRequest) (*firestorepb.Document, error) {
	return nil, status.Error(codes.Aborted, "an answer")
}

func (fake) CreateDocument(context.Context, *firestorepb.CreateDocumentRequest) (*firestorepb.Document, error) {
	return nil, status.Error(codes.Unavailable, "overloaded")
}

func (fake) UpdateDocument(context.Context, *firestorepb.UpdateDocumentRequest) (*firestorepb.Document, error) {
	return nil, status.Error(codes.InvalidArgument, "no such field")
}

func (fake) Rollback(ctx context.Context, _ *firestorepb.RollbackRequest) (*emptypb.Empty, error) {
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

func (fake) Listen(s firestorepb.Firestore_ListenServer) error {
	<-s.Context().Done()
	return nil
}

func serve(t *testing.T, opts ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(opts...)
	firestorepb.RegisterFirestoreServer(server, fake{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-served })
	return l.Addr().String()
}

func dial(t *testing.T, addr string, g *connection.Guard, n int) *connection.Pool {
	t.Helper()
	p, err := connection.DialFirestore(t.Context(), connection.FirestoreConfig{Emulator: addr, Guard: g, Connections: n})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// get makes a call and says by what code it ended.
func get(ctx context.Context, p *connection.Pool, within time.Duration) codes.Code {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, err := firestorepb.NewFirestoreClient(p).GetDocument(ctx, &firestorepb.GetDocumentRequest{})
	return status.Code(err)
}

// A connection that brings nothing is left after a few calls, and calls go through as soon as the way is good
// again. Without the guard they never do.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	proxy := connectiontest.Start(t, serve(t))
	const patience = 20 * time.Millisecond
	lost := make(chan string, 10)
	g := &connection.Guard{MinTimeout: patience, Lost: func(addr string) { lost <- addr }}
	p := dial(t, proxy.Addr, g, 1)
	if code := get(t.Context(), p, time.Minute); code != codes.Aborted {
		t.Fatalf("first call = %s", code)
	}
	if s := g.Silent(time.Now().Add(time.Hour)); s != 0 {
		t.Errorf("silent for %s after an answer", s)
	}
	proxy.Silence()
	for len(lost) == 0 { // one that a busy machine began too late says nothing of the connection
		if code := get(t.Context(), p, 2*patience); code != codes.DeadlineExceeded {
			t.Errorf("call through a silent proxy = %s", code)
		}
	}
	if addr := <-lost; addr != proxy.Addr {
		t.Errorf("lost the connection to %s, want %s", addr, proxy.Addr)
	}
	if s := g.Silent(time.Now().Add(time.Hour)); s < time.Hour {
		t.Errorf("silent for %s, want over an hour", s)
	}
	proxy.Heal()
	// The try to connect that is under way may have been swallowed: it ends within 5 s.
	if code := get(t.Context(), p, time.Minute); code != codes.Aborted && code != codes.Unavailable {
		t.Errorf("call after healing = %s", code)
	}
	for get(t.Context(), p, time.Minute) != codes.Aborted {
	}
	if s := g.Silent(time.Now().Add(time.Hour)); s != 0 || g.Opened() < 2 || g.Open() != 1 {
		t.Errorf("silent for %s, opened %d, open %d", s, g.Opened(), g.Open())
	}
}

// A connection whose table of headers is damaged, so that no call on it is understood any more, is left after
// a few calls, whichever byte it was. Without the guard some stay damaged for good.
func TestGarbledConnection(t *testing.T) {
	t.Parallel()
	proxy := connectiontest.Start(t, serve(t))
	ended := 0
	for every := int64(220); every < 310; every += 6 {
		g := &connection.Guard{MinTimeout: 100 * time.Millisecond, Probation: time.Nanosecond}
		p := dial(t, proxy.Addr, g, 1)
		proxy.Damage(every)
		get(t.Context(), p, 100*time.Millisecond)
		proxy.Heal()
		garbled := 0
		for code := codes.OK; code != codes.Aborted; {
			code = get(t.Context(), p, 200*time.Millisecond)
			if code != codes.Aborted && code != codes.Unavailable && code != codes.DeadlineExceeded {
				garbled++
			}
			if garbled == 100 {
				t.Fatalf("with a byte in %d changed, no call got through after healing: %s", every, code)
			}
		}
		if garbled == 2 { // beside the damaged call itself
			ended++
		}
		_ = p.Close()
	}
	if ended == 0 {
		t.Error("no damage garbled a connection: nothing was tried")
	}
}

// A connection that has brought something lately, or is new, is not blamed for what a service refuses.
func TestRefusedCalls(t *testing.T) {
	t.Parallel()
	g := &connection.Guard{Lost: func(addr string) { t.Errorf("lost the connection to %s", addr) }}
	p := dial(t, serve(t), g, 1)
	for range 5 {
		if code := refused(t.Context(), p); code != codes.InvalidArgument {
			t.Fatalf("refused call = %s", code)
		}
	}
	g.Probation = time.Nanosecond
	get(t.Context(), p, time.Minute)
	for range 5 {
		refused(t.Context(), p)
		refused(t.Context(), p)
		get(t.Context(), p, time.Minute)
	}
	if g.Opened() != 1 {
		t.Errorf("%d connections were opened, want 1", g.Opened())
	}
}

// refused makes a call that the service refuses, and says by what code.
func refused(ctx context.Context, p *connection.Pool) codes.Code {
	_, err := firestorepb.NewFirestoreClient(p).UpdateDocument(ctx, &firestorepb.UpdateDocumentRequest{})
	return status.Code(err)
}

// What one connection of a pool finds out holds for those that have brought nothing since, and not for those
// that have.
func TestSilentPool(t *testing.T) {
	t.Parallel()
	proxy := connectiontest.Start(t, serve(t))
	lost := make(chan string, 10)
	g := &connection.Guard{MinTimeout: 20 * time.Millisecond, Lost: func(addr string) { lost <- addr }}
	silent, healthy := dial(t, proxy.Addr, g, 1), dial(t, serve(t), g, 1)
	idle := dial(t, proxy.Addr, g, 1)
	for _, p := range []*connection.Pool{silent, healthy, idle} {
		get(t.Context(), p, time.Minute)
	}
	proxy.Silence()
	for len(lost) == 0 {
		get(t.Context(), silent, 40*time.Millisecond)
		get(t.Context(), healthy, time.Minute)
	}
	proxy.Heal()
	opened := g.Opened()
	if code := get(t.Context(), healthy, time.Minute); code != codes.Aborted || g.Open() < 1 {
		t.Errorf("a call on the connection that answers = %s", code)
	}
	for get(t.Context(), idle, time.Minute) != codes.Aborted { // within the first tries, not after three misses
	}
	if g.Opened() > opened+2 {
		t.Errorf("%d connections were opened for two", g.Opened()-opened)
	}
}

// What is no sign of a silent connection does not end it.
func TestConnectionIsKept(t *testing.T) {
	t.Parallel()
	g := &connection.Guard{MinTimeout: 10 * time.Millisecond}
	p := dial(t, serve(t), g, 1)
	client := firestorepb.NewFirestoreClient(p)
	get(t.Context(), p, time.Minute) // a call that is canceled dials for nobody
	slow := func(ctx context.Context, within time.Duration) {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		if _, err := client.Rollback(ctx, &firestorepb.RollbackRequest{}); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("call that is not answered = %v", err)
		}
	}
	for name, call := range map[string]func(){
		"long polls": func() { slow(connection.LongPoll(t.Context()), 20*time.Millisecond) },
		"answers in between": func() {
			slow(t.Context(), 20*time.Millisecond)
			get(t.Context(), p, time.Minute)
		},
		"canceled": func() {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, _ = client.Rollback(ctx, &firestorepb.RollbackRequest{})
		},
		"unavailable": func() { _, _ = client.CreateDocument(t.Context(), &firestorepb.CreateDocumentRequest{}) },
	} {
		for range 5 {
			call()
		}
		if g.Opened() != 1 {
			t.Errorf("after %s %d connections were opened, want 1", name, g.Opened())
		}
		get(t.Context(), p, time.Minute)
	}
	_, _ = client.CreateDocument(t.Context(), &firestorepb.CreateDocumentRequest{})
	if s := g.Silent(time.Now().Add(time.Hour)); s != 0 {
		t.Errorf("silent for %s although the service says that it is overloaded", s)
	}
}

// Streams that their owners end for want of an answer count like calls that time out.
func TestSilentStream(t *testing.T) {
	t.Parallel()
	g := &connection.Guard{MinTimeout: time.Nanosecond}
	p := dial(t, serve(t), g, 1)
	for range 3 {
		ctx, cancel := context.WithCancelCause(t.Context())
		s, err := firestorepb.NewFirestoreClient(p).Listen(ctx)
		if err != nil {
			t.Fatal(err)
		}
		cancel(connection.ErrSilent)
		if _, err := s.Recv(); err == nil {
			t.Error("a canceled stream gave a message")
		}
	}
	for g.Opened() < 2 {
		get(t.Context(), p, time.Minute)
	}
}

// A refused connection is an answer of sorts: another process would fare no better. Not parallel: another
// test could be given the port that this one has closed.
func TestRefusedIsNotSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	g := &connection.Guard{}
	p := dial(t, addr, g, 1)
	for range 20 { // most of them fail by the try before them
		if code := get(t.Context(), p, time.Minute); code != codes.Unavailable {
			t.Errorf("call = %s", code)
		}
		if s := g.Silent(time.Now().Add(time.Hour)); s != 0 {
			t.Errorf("silent for %s", s)
		}
	}
}

// The pool keeps calls that last even over its connections, so that none carries more than the server takes.
func TestPoolSpreads(t *testing.T) {
	t.Parallel()
	p := dial(t, serve(t, grpc.MaxConcurrentStreams(100)), &connection.Guard{}, 4)
	ctx, cancel := context.WithCancel(t.Context())
	var streams []grpc.ClientStream
	for range 390 {
		s, err := firestorepb.NewFirestoreClient(p).Listen(ctx)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
		for range 3 { // short ones in between do not tip the balance
			get(t.Context(), p, time.Minute)
		}
	}
	for i, n := range p.Calls() {
		if n < 97 || n > 98 {
			t.Errorf("connection %d carries %d calls of 390", i, n)
		}
	}
	cancel()
	for _, s := range streams {
		_ = s.RecvMsg(&firestorepb.ListenResponse{})
	}
	for i, n := range p.Calls() {
		if n != 0 {
			t.Errorf("connection %d carries %d calls after all have ended", i, n)
		}
	}
}

// silentConn takes everything and brings nothing.
type silentConn struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func (c *silentConn) Read([]byte) (int, error)    { <-c.closed; return 0, net.ErrClosed }
func (c *silentConn) Write(b []byte) (int, error) { return len(b), nil }
func (c *silentConn) Close() error                { c.once.Do(func() { close(c.closed) }); return nil }

// The first 9 bytes of a connection are the server's settings, after which nothing comes: pings find that out
// while a call is under way, whatever its deadline.
func TestPingsEndSilentConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		_ = client.Close()
		_ = server.Close()
		g := &connection.Guard{}
		opts := append(g.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
				return &settled{silentConn: &silentConn{Conn: client, closed: make(chan struct{})}, left: []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}}, nil
			}))
		conn, err := grpc.NewClient("passthrough:///nowhere", opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		began := time.Now()
		_, err = firestorepb.NewFirestoreClient(conn).GetDocument(t.Context(), &firestorepb.GetDocumentRequest{})
		if took := time.Since(began); status.Code(err) != codes.Unavailable || took < 20*time.Second || took > 31*time.Second {
			t.Errorf("call ended after %s with %v, want after 30s", took, err)
		}
	})
}

type settled struct {
	*silentConn
	left []byte
}

func (c *settled) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		return c.silentConn.Read(p)
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}
