package connection

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

const (
	// pingAfter and pingWithin: a connection with calls under way that brings nothing for 20 s is pinged, and
	// ended when that is not answered. gRPC sends no pings below 10 s apart, and without calls under way
	// servers count them as abuse (proposal A8), so none are sent then.
	pingAfter  = 20 * time.Second
	pingWithin = 10 * time.Second
	// connectWithin bounds a try to connect, TLS and HTTP/2 settings included (gRPC: 20 s), and redialWithin
	// the pause between two (gRPC: 120 s): a service that is back is found within 10 s.
	connectWithin = 5 * time.Second
	redialWithin  = 5 * time.Second
	// defaultMisses calls in a row without an answer make a connection suspect.
	defaultMisses = 3
	// defaultMinTimeout: a call that was given less time says nothing of its connection.
	defaultMinTimeout = time.Second
	// defaultProbation: a connection is not blamed for what it is told in its first 10 s. Calls that a
	// service refuses for a reason of their own cost a connection in 10 s at most.
	defaultProbation = 10 * time.Second
)

// ErrSilent is the cause of a context that its owner ended because an answer did not come.
var ErrSilent = errors.New("no answer came")

// Guard watches over the connections to one service. Safe for concurrent use. The zero value is ready.
type Guard struct {
	// Misses, MinTimeout and Probation are 3, 1 s and 10 s if 0.
	Misses                int
	MinTimeout, Probation time.Duration
	// Lost is told of each connection that is ended because it brings no answers, or none but garbled ones;
	// may be nil.
	Lost func(addr string)
	// Called is told of each call when it was answered; may be nil. Of what a stream brings after that it is
	// told now and then, by calls without a method: nothing is done for each row.
	Called func(ctx context.Context, c Call)

	in, out atomic.Int64 // bytes
	since   atomic.Int64 // Unix ns at which the oldest call began since the last sign of life; 0: none did
	heard   atomic.Int64 // Unix ns at which bytes last came
	opened  atomic.Int64
	// refused says that the last try to connect was refused, for calls that fail by it until the next.
	refused atomic.Bool

	mu    sync.Mutex
	conns map[string]*guarded // by local address
}

// guarded is a connection.
type guarded struct {
	net.Conn
	g       *Guard
	opened  time.Time
	heard   atomic.Int64 // Unix ns at which bytes last came, at first that of its opening
	misses  int          // under Guard.mu, as are the next two
	since   int64        // Unix ns at which the first missed call of a row began
	garbled int          // calls in a row that ended in a way in which no service ends them
}

// Read notes that something came.
func (c *guarded) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		now := time.Now().UnixNano()
		c.heard.Store(now)
		c.g.heard.Store(now)
		c.g.in.Add(int64(n))
	}
	return n, err
}

// Write counts what goes.
func (c *guarded) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.g.out.Add(int64(n))
	return n, err
}

// Close forgets the connection.
func (c *guarded) Close() error {
	c.g.mu.Lock()
	if key := c.LocalAddr().String(); c.g.conns[key] == c {
		delete(c.g.conns, key)
	}
	c.g.mu.Unlock()
	return c.Conn.Close()
}

// Call is one that was answered.
type Call struct {
	Method string // of gRPC, "/service/Method", or of HTTP
	Err    error  // of gRPC
	Status int    // of HTTP, 0 without an answer
	// Received are the messages that a stream brought. Written are the documents of a commit.
	Received, Written int
}

func (g *Guard) called(ctx context.Context, c Call) {
	if g.Called != nil {
		g.Called(ctx, c)
	}
}

// Bytes are those that came and went over all connections so far.
func (g *Guard) Bytes() (in, out int64) { return g.in.Load(), g.out.Load() }

// Opened is how many connections have been made.
func (g *Guard) Opened() int64 { return g.opened.Load() }

// Open is how many connections there are.
func (g *Guard) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// Silent is for how long calls have been made and nothing has got through, not even that the service refuses
// connections: then another process would fare no better.
func (g *Guard) Silent(now time.Time) time.Duration {
	since := g.since.Load()
	if since == 0 {
		return 0
	}
	return max(0, now.Sub(time.Unix(0, since)))
}

// DialOptions make gRPC connections of the guard. HTTPS_PROXY does not apply to them.
func (g *Guard) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(g.dial),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingWithin}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: redialWithin},
			MinConnectTimeout: connectWithin,
		}),
		grpc.WithChainUnaryInterceptor(g.unary),
		grpc.WithChainStreamInterceptor(g.stream),
	}
}

func (g *Guard) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: connectWithin}).DialContext(ctx, "tcp", addr)
	if err != nil {
		if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
			g.refused.Store(true) // somebody answers
			g.since.Store(0)
		} else {
			g.refused.Store(false)
		}
		return nil, err
	}
	g.refused.Store(false)
	g.opened.Add(1)
	gc := &guarded{Conn: c, g: g, opened: time.Now()}
	gc.heard.Store(gc.opened.UnixNano())
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conns == nil {
		g.conns = map[string]*guarded{}
	}
	g.conns[c.LocalAddr().String()] = gc
	return gc, nil
}

type longPoll struct{}

// LongPoll marks a call that may be without an answer for as long as its deadline says: it says nothing of
// its connection.
func LongPoll(ctx context.Context) context.Context { return context.WithValue(ctx, longPoll{}, true) }

// call is one that is under way.
type call struct {
	g     *Guard
	began time.Time
	long  bool
}

func (g *Guard) begin(ctx context.Context) call {
	c := call{g: g, began: time.Now(), long: ctx.Value(longPoll{}) != nil}
	if !c.long {
		g.since.CompareAndSwap(0, c.began.UnixNano())
	}
	return c
}

// end learns from how a call ended.
func (c call) end(ctx context.Context, p *peer.Peer, err error) {
	code := status.Code(err)
	switch {
	case errors.Is(err, io.EOF): // a stream without messages
		code = codes.OK
	case errors.Is(context.Cause(ctx), ErrSilent):
		code = codes.DeadlineExceeded
	}
	switch code {
	case codes.Canceled:
		if ctx.Err() == nil {
			c.g.garbledBy(p)
		}
	case codes.Unavailable:
		// The service says so, by bytes that came or by refusing connections, or there is no way to it.
		c.g.heardOf(c)
	case codes.DeadlineExceeded:
		patience := c.g.MinTimeout
		if patience == 0 {
			patience = defaultMinTimeout
		}
		if !c.long && time.Since(c.began) >= patience {
			c.g.miss(p, c.began)
		}
	case codes.OK, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.ResourceExhausted,
		codes.FailedPrecondition, codes.Aborted, codes.OutOfRange:
		c.g.through(p)
	default: // codes of no meaning, too
		c.g.garbledBy(p)
	}
}

// through notes that a connection answers.
func (g *Guard) through(p *peer.Peer) {
	g.since.Store(0)
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.conns[local(p)]; c != nil {
		c.misses, c.garbled = 0, 0
	}
}

// garbledBy notes an answer that tells of a call which was not understood, and ends a connection that brings
// nothing else. HTTP/2 sends a header once and then its number in a table that both ends keep (RFC 7541,
// section 2.3.2): one whose bytes changed on the way is wrong in every later call of the connection, and no
// answer to any of them says that the connection is at fault.
func (g *Guard) garbledBy(p *peer.Peer) {
	g.since.Store(0) // somebody answers
	probation := g.Probation
	if probation == 0 {
		probation = defaultProbation
	}
	g.mu.Lock()
	c := g.conns[local(p)]
	if c == nil {
		g.mu.Unlock()
		return
	}
	c.garbled++
	c.misses = 0
	ended := c.garbled >= g.misses() && time.Since(c.opened) >= probation
	if ended {
		c.garbled = 0
	}
	g.mu.Unlock()
	if ended {
		g.end(c)
	}
}

func (g *Guard) misses() int {
	if g.Misses == 0 {
		return defaultMisses
	}
	return g.Misses
}

// end closes a connection: gRPC takes it for the peer's doing, and dials anew.
func (g *Guard) end(c *guarded) {
	if g.Lost != nil {
		g.Lost(c.RemoteAddr().String())
	}
	_ = c.Close()
}

// miss notes that a connection has not answered a call, and ends it at the last of a few. With it go all that
// have brought nothing since: each would cost its own calls to find that out, and one that was merely idle is
// made again at its next call.
func (g *Guard) miss(p *peer.Peer, began time.Time) {
	var silent []*guarded
	g.mu.Lock()
	if c := g.conns[local(p)]; c != nil {
		if c.misses++; c.misses == 1 {
			c.since = began.UnixNano()
		}
		if c.misses == g.misses() { // others of its calls that give up now are of it, too
			silent = append(silent, c)
			for _, other := range g.conns {
				if other != c && other.heard.Load() < c.since {
					silent = append(silent, other)
				}
			}
		}
	}
	g.mu.Unlock()
	for _, c := range silent {
		g.end(c)
	}
}

func local(p *peer.Peer) string {
	if p == nil || p.LocalAddr == nil {
		return ""
	}
	return p.LocalAddr.String()
}

func (g *Guard) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	var p peer.Peer
	c := g.begin(ctx)
	err := invoke(ctx, method, req, reply, cc, append(opts[:len(opts):len(opts)], grpc.Peer(&p))...)
	c.end(ctx, &p, err)
	written := 0
	if w, ok := req.(interface{ GetWrites() []*firestorepb.Write }); ok { // a commit
		written = len(w.GetWrites())
	}
	g.called(ctx, Call{Method: method, Err: err, Written: written})
	return err
}

func (g *Guard) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c := g.begin(ctx)
	s, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		c.end(ctx, nil, err)
		g.called(ctx, Call{Method: method, Err: err})
		return nil, err
	}
	return &guardedStream{ClientStream: s, call: c, ctx: ctx, method: method}, nil
}

// guardedStream tells the guard of the first thing that a stream brings.
type guardedStream struct {
	grpc.ClientStream
	call   call
	ctx    context.Context //nolint:containedctx // the stream's own, which gRPC gives late
	method string
	told   bool
	more   int // messages that were not told of yet
}

// tellEvery is of how many messages of a stream is told at once.
const tellEvery = 1024

// RecvMsg is called by one goroutine at a time.
func (s *guardedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if !s.told {
		s.told = true
		s.first(err)
		return err
	}
	if err == nil {
		if s.more++; s.more < tellEvery {
			return nil
		}
		p, _ := peer.FromContext(s.Context())
		s.call.g.through(p)
	}
	if s.more > 0 {
		s.call.g.called(s.ctx, Call{Received: s.more})
		s.more = 0
	}
	return err
}

// first learns from the first thing that the stream brings. Whoever wants no more may leave it at that.
func (s *guardedStream) first(err error) {
	p, _ := peer.FromContext(s.ClientStream.Context())
	s.call.end(s.ctx, p, err)
	c := Call{Method: s.method, Err: err}
	switch {
	case err == nil:
		c.Received = 1
	case errors.Is(err, io.EOF):
		c.Err = nil
	}
	s.call.g.called(s.ctx, c)
}
