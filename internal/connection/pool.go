package connection

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"google.golang.org/api/option"
	"google.golang.org/api/option/internaloption"
	gtransport "google.golang.org/api/transport/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// CallsEach is how many calls a connection is meant to carry at a time: half of the 100 that Google takes, so
// that there is room for the short ones beside scans and listeners.
const CallsEach = 50

// Pool is connections to one service. It is what Google's clients take with gtransport.WithConnPool. Safe for
// concurrent use.
type Pool struct {
	conns []*grpc.ClientConn
	calls []atomic.Int32 // under way, by connection
	next  atomic.Uint32
}

var _ gtransport.ConnPool = (*Pool)(nil)

// FirestoreConfig says how Firestore is reached.
type FirestoreConfig struct {
	// Emulator is the host:port of an emulator or embedded server, which is reached without TLS and
	// credentials. Empty is Google.
	Emulator string
	// Connections is how many; 1 if 0.
	Connections int
	// Guard watches over them; a new one if nil.
	Guard *Guard
	// Options go to the official transport (credentials, endpoint); unused with Emulator.
	Options []option.ClientOption
}

// DialFirestore makes a pool through the official transport, with the defaults of the generated client
// (cloud.google.com/go/firestore/apiv1). Dialling is lazy.
func DialFirestore(ctx context.Context, cfg FirestoreConfig) (*Pool, error) {
	if cfg.Guard == nil {
		cfg.Guard = &Guard{}
	}
	opts := []option.ClientOption{
		// A stats handler is called for every message: at a message per row that costs as much as the row.
		option.WithTelemetryDisabled(),
		// A page may hold a document of 1 MiB, and more beside it.
		option.WithGRPCDialOption(grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32))),
		internaloption.EnableNewAuthLibrary(),
	}
	opts = append(opts, cfg.Guard.ClientOptions()...)
	if cfg.Emulator != "" {
		opts = append(opts, EmulatorOptions("passthrough:///"+cfg.Emulator)...)
	} else {
		opts = append(opts,
			internaloption.WithDefaultEndpointTemplate("firestore.UNIVERSE_DOMAIN:443"),
			internaloption.WithDefaultMTLSEndpoint("firestore.mtls.googleapis.com:443"),
			internaloption.WithDefaultUniverseDomain("googleapis.com"),
			internaloption.WithDefaultAudience("https://firestore.googleapis.com/"),
			internaloption.WithDefaultScopes("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/datastore"),
			internaloption.EnableJwtWithScope(),
		)
		opts = append(opts, cfg.Options...)
	}
	n := max(1, cfg.Connections)
	p := &Pool{calls: make([]atomic.Int32, n)}
	for range n {
		conn, err := gtransport.Dial(ctx, opts...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connect to Firestore: %w", err), p.Close())
		}
		p.conns = append(p.conns, conn)
	}
	return p, nil
}

// ClientOptions are DialOptions for Google's clients.
func (g *Guard) ClientOptions() (opts []option.ClientOption) {
	for _, o := range g.DialOptions() {
		opts = append(opts, option.WithGRPCDialOption(o))
	}
	return opts
}

// EmulatorOptions are what Google's clients need to reach an emulator or embedded server, host:port, without
// TLS. Nothing but a loopback address may be given.
func EmulatorOptions(addr string) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(addr), option.WithoutAuthentication(), option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithPerRPCCredentials(owner{})),
	}
}

// owner is the credential that emulators take for everything.
type owner struct{}

func (owner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (owner) RequireTransportSecurity() bool { return false }

// Num is the number of connections.
func (p *Pool) Num() int { return len(p.conns) }

// Conn is the connection with the fewest calls.
func (p *Pool) Conn() *grpc.ClientConn { return p.conns[p.pick()] }

// Calls is how many calls each connection carries.
func (p *Pool) Calls() []int {
	out := make([]int, len(p.calls))
	for i := range p.calls {
		out[i] = int(p.calls[i].Load())
	}
	return out
}

// Close closes the connections. Calls under way end with an error.
func (p *Pool) Close() error {
	var errs []error
	for _, c := range p.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// pick begins at another connection each time, so that equal ones take turns.
func (p *Pool) pick() int {
	n := len(p.conns)
	best := int(p.next.Add(1)) % n
	for k, first := 1, best; k < n; k++ {
		if i := (first + k) % n; p.calls[i].Load() < p.calls[best].Load() {
			best = i
		}
	}
	return best
}

// Invoke makes a unary call.
func (p *Pool) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	i := p.pick()
	p.calls[i].Add(1)
	defer p.calls[i].Add(-1)
	return p.conns[i].Invoke(ctx, method, args, reply, opts...)
}

// NewStream begins a stream.
func (p *Pool) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	i := p.pick()
	p.calls[i].Add(1)
	s, err := p.conns[i].NewStream(ctx, desc, method, append(opts[:len(opts):len(opts)], grpc.OnFinish(func(error) { p.calls[i].Add(-1) }))...)
	return s, err
}
