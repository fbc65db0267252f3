package pubsubserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/front"
)

// maxReceiveBytes leaves room for a request over the 10 MB publish limit, so that it is refused with
// INVALID_ARGUMENT: the official client retries gRPC's own RESOURCE_EXHAUSTED until its context ends.
const maxReceiveBytes = 20 << 20

// stopGrace is how long Close waits for calls that are under way before it cuts them off.
const stopGrace = 5 * time.Second

// Limits bound the backlog of each subscription. All of it is in memory as well as on disk.
type Limits struct {
	Messages int   // default 100,000: about 100 MB of memory with small messages
	Bytes    int64 // default 128 MiB
}

// Options configure a Server.
type Options struct {
	// Dir holds the data; it is created if missing. Only one process may have it open.
	Dir string
	// FS holds the data; default: the operating system's.
	FS vfs.FS
	// Limits per subscription; zero fields take their defaults.
	Limits Limits
	// Interceptors wrap all calls, inside panic recovery.
	UnaryInterceptors  []grpc.UnaryServerInterceptor
	StreamInterceptors []grpc.StreamServerInterceptor
	// ConnectionAge is after how long connections are told to go: front.DefaultAge.
	ConnectionAge time.Duration
	// Lax leaves out the limits of streams on a connection and of its age.
	Lax bool
	// Permitted says whether a caller has a permission, for TestIamPermissions; default: every one.
	Permitted func(ctx context.Context, permission string) bool
	// Log receives what an operator should know; default none. Message contents are never logged.
	Log *zap.Logger

	// scheduler is of the store's compactions; default: the engine's, which looks for some ten times a
	// second.
	scheduler pebble.CompactionScheduler
}

// Server is a Pub/Sub server. All methods are safe for concurrent use.
type Server struct {
	store   *store
	limits  Limits
	log     *zap.Logger
	grpc    *grpc.Server
	seq     atomic.Uint64 // last message number; message ids and uids come from it
	workers sync.WaitGroup
	http    *http.Client // sends pushes
	// permitted is Options.Permitted, which may be nil.
	permitted func(ctx context.Context, permission string) bool

	mu     sync.RWMutex
	closed bool
	topics map[string]*topic
	subs   map[string]*backlog
	snaps  map[string]*snapshot

	// publishing is held for reading from when a message's subscriptions are looked up until it is in them.
	publishing sync.RWMutex
}

type topic struct {
	config *pubsubpb.Topic // replaced, never changed
	subs   map[string]*backlog
}

// Open loads the data in o.Dir. Messages that were leased when the server ended are deliverable at once.
func Open(o Options) (*Server, error) {
	if o.Limits.Messages <= 0 {
		o.Limits.Messages = 100_000
	}
	if o.Limits.Bytes <= 0 {
		o.Limits.Bytes = 128 << 20
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	st, err := openStore(o.Dir, o.FS, o.scheduler, o.Log)
	if err != nil {
		return nil, err
	}
	s := &Server{
		store: st, limits: o.Limits, log: o.Log, permitted: o.Permitted, http: newPushClient(),
		topics: map[string]*topic{}, subs: map[string]*backlog{}, snaps: map[string]*snapshot{},
	}
	// Numbers start from the clock: below one message a microsecond they are never used twice, without
	// writing a counter.
	s.seq.Store(uint64(time.Now().UnixMicro()))
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("load pubsub data: %w", err), st.close())
	}
	s.grpc = grpc.NewServer(append(front.Options(o.ConnectionAge, o.Lax),
		grpc.MaxRecvMsgSize(maxReceiveBytes),
		grpc.WaitForHandlers(true),
		grpc.ChainUnaryInterceptor(append(append([]grpc.UnaryServerInterceptor{s.recoverUnary}, o.UnaryInterceptors...), served.Unary(serverName))...),
		grpc.ChainStreamInterceptor(append(append([]grpc.StreamServerInterceptor{s.recoverStream}, o.StreamInterceptors...), served.Stream(serverName))...),
	)...)
	pubsubpb.RegisterPublisherServer(s.grpc, &publisher{s: s})
	pubsubpb.RegisterSubscriberServer(s.grpc, &subscriber{s: s})
	pubsubpb.RegisterSchemaServiceServer(s.grpc, schemas{})
	iampb.RegisterIAMPolicyServer(s.grpc, &iam{s: s})
	return s, nil
}

// load runs before anything is shared.
func (s *Server) load() error {
	byUID := map[uint64]*backlog{}
	waiting := map[*backlog][]*entry{}
	stray := s.store.newChange()
	top := s.seq.Load()
	err := s.store.load(
		func(t *pubsubpb.Topic) { s.topics[t.GetName()] = &topic{config: t, subs: map[string]*backlog{}} },
		func(uid uint64, sub *pubsubpb.Subscription) {
			b := s.newBacklog(uid, sub)
			top = max(top, uid)
			s.subs[sub.GetName()] = b
			if sub.GetDetached() {
				b.close(errDetached)
				return
			}
			byUID[uid] = b
			if t := s.topics[sub.GetTopic()]; t != nil {
				t.subs[sub.GetName()] = b
			}
		},
		func(uid uint64, e *entry) {
			top = max(top, e.seq)
			if b := byUID[uid]; b != nil {
				waiting[b] = append(waiting[b], e)
				return
			}
			stray.remove(uid, e.seq) // published while its subscription was being deleted or detached
		})
	err = errors.Join(err, s.store.loadSnapshots(func(snap *snapshot) {
		top = max(top, snap.uid)
		s.snaps[snap.config.GetName()] = snap
	}))
	if err := errors.Join(err, stray.commit()); err != nil {
		return err
	}
	s.seq.Store(top)
	for b, entries := range waiting {
		b.enqueue(entries...)
	}
	for _, b := range s.subs {
		b.update(b.sub) // to push where that is wanted
	}
	return nil
}

func (s *Server) newBacklog(uid uint64, sub *pubsubpb.Subscription) *backlog {
	pass, _ := parseFilter(sub.GetFilter()) // checked when the subscription was made
	return &backlog{
		filter: pass, keys: map[string][]*entry{},
		uid: uid, sub: sub, store: s.store, log: s.log, limits: s.limits,
		forward: s.forwardDeadLetter, gone: make(chan struct{}), turned: make(chan struct{}), workers: &s.workers, http: s.http,
		all: map[uint64]*entry{}, gen: uint64(time.Now().UnixMicro()),
	}
}

// Serve answers calls on l until Close; it then returns nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve pubsub: %w", err)
	}
	return nil
}

// Close ends all streams with UNAVAILABLE, which clients answer by trying again, waits up to 5 s for other
// calls and closes the store. A second Close does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for _, b := range s.subs {
		b.close(errClosing)
	}
	s.mu.Unlock()

	cut := time.AfterFunc(stopGrace, s.grpc.Stop)
	s.grpc.GracefulStop()
	cut.Stop()
	s.workers.Wait()
	s.http.CloseIdleConnections()
	if err := s.store.close(); err != nil {
		return fmt.Errorf("close pubsub store: %w", err)
	}
	return nil
}

var errClosing = status.Error(codes.Unavailable, "the embedded Pub/Sub server is closing")

// view finds a subscription for a call on it.
func (s *Server) view(name string) (*backlog, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, errClosing
	}
	if b := s.subs[name]; b != nil {
		return b, nil
	}
	return nil, notFound(name)
}

// attached finds one for a call that a detached subscription refuses.
func (s *Server) attached(name string) (*backlog, error) {
	b, err := s.view(name)
	if err == nil && b.subscription().GetDetached() {
		err = errDetached
	}
	return b, err
}

func notFound(name string) error {
	return status.Errorf(codes.NotFound, "resource not found: %s", name)
}
