package firestoreserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"cloud.google.com/go/firestore/apiv1/admin/adminpb"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
	"exportd/internal/localcloud/front"
)

// IndexMode says what happens to a query whose index does not exist.
type IndexMode uint8

const (
	// Enforce refuses it with production's error. It is the default.
	Enforce IndexMode = iota
	// Auto serves it by scanning and sorting, logs the index once in the words of firestore.indexes.json, and
	// writes it to the LearnFile.
	Auto
	// Scan serves it by scanning and sorting.
	Scan
)

const (
	// maxRequestBytes is production's limit, checked by the server itself since the transport's own refusal
	// is RESOURCE_EXHAUSTED, which clients retry.
	maxRequestBytes   = 10 << 20
	maxTransportBytes = 32 << 20
	// closeGrace bounds how long Close waits for calls to end by themselves.
	closeGrace = 5 * time.Second
	// defaultMaxStream is how long production lets a query stream be.
	defaultMaxStream = time.Minute
)

// Options of Open. The zero value of a field means its default.
type Options struct {
	Dir      string // holds the data; made if missing. Ignored when InMemory
	InMemory bool   // nothing survives Close
	// IndexesJSON is the content of a firestore.indexes.json. When it differs from the last run all index
	// entries are rebuilt by Open.
	IndexesJSON []byte
	IndexMode   IndexMode
	// IndexHint is what whoever lacks an index may do besides adding it, for the error's text.
	IndexHint string
	// LearnFile is where Auto writes IndexesJSON with the indexes that were missing. Default: nowhere.
	LearnFile string
	// AggregateWithoutIndex lets sum and average run although their fields are in no index, as the clients'
	// own test suite expects of emulators.
	AggregateWithoutIndex bool
	// Retention is how far back read_time may reach; 1 h, as in production without point-in-time recovery.
	Retention time.Duration
	// MaxStream ends query streams that take longer with UNAVAILABLE; 60 s, as in production, or no limit
	// when Lax.
	MaxStream time.Duration
	// ConnectionAge is after how long connections are told to go: front.DefaultAge.
	ConnectionAge time.Duration
	// Lax leaves out the limits of production that only wear and time bring on: streams on a connection, age
	// of connections, length of query streams.
	Lax        bool
	FS         vfs.FS           // holds the data; the operating system's by default
	CacheBytes int64            // engine's memtables and cached blocks; 32 MiB
	Clock      func() time.Time // wall clock; time.Now
	Logger     *slog.Logger     // discards by default

	// Interceptors run outside of the handlers, in order. Streamed query rows reach SendMsg as a private type
	// that holds wire bytes.
	UnaryInterceptors  []grpc.UnaryServerInterceptor
	StreamInterceptors []grpc.StreamServerInterceptor
}

// Server is one embedded Firestore. All methods may be called concurrently.
type Server struct {
	firestorepb.UnimplementedFirestoreServer

	opt     Options
	indexes *fsindex.Config
	store   *fsstore.Store
	hub     *hub
	txns    *transactions
	turns   *reservations
	grpc    *grpc.Server
	log     *slog.Logger

	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc
	once   sync.Once
	err    error

	ttl        map[string]fsvalue.FieldPath // by collection group
	background sync.WaitGroup

	learned learned
	samples samples
	results results
}

// Open opens or creates the data directory and prepares the service; Serve starts it. A directory in use by
// another process is refused.
func Open(opt Options) (*Server, error) {
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.MaxStream == 0 && !opt.Lax {
		opt.MaxStream = defaultMaxStream
	}
	if len(opt.IndexesJSON) == 0 {
		opt.IndexesJSON = []byte("{}")
	}
	indexes, err := fsindex.Parse(opt.IndexesJSON)
	if err != nil {
		return nil, fmt.Errorf("read index configuration: %w", err)
	}
	s := &Server{opt: opt, indexes: indexes, hub: newHub(), log: opt.Logger}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	sum := sha256.Sum256(opt.IndexesJSON)
	s.store, err = fsstore.Open(fsstore.Options{
		Dir: opt.Dir, FS: opt.FS, InMemory: opt.InMemory, Indexes: indexes, IndexesID: hex.EncodeToString(sum[:]),
		Retention: opt.Retention, CacheBytes: opt.CacheBytes, Now: opt.Clock,
		Published: s.hub.publish, Logger: opt.Logger, Wear: !opt.Lax,
	})
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.txns, s.turns = newTransactions(opt.Clock), newReservations()
	s.grpc = grpc.NewServer(s.serverOptions()...)
	firestorepb.RegisterFirestoreServer(s.grpc, s)
	admin, err := newAdmin(opt.IndexesJSON, opt.Retention)
	if err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	adminpb.RegisterFirestoreAdminServer(s.grpc, admin)
	if s.ttl, err = admin.policies(); err != nil {
		return nil, errors.Join(err, s.store.Close())
	}
	s.background.Add(1)
	go s.expireForever()
	return s, nil
}

func (s *Server) serverOptions() []grpc.ServerOption {
	const name = "the embedded Firestore server"
	unary := append(append([]grpc.UnaryServerInterceptor{s.recoverUnary}, s.opt.UnaryInterceptors...), served.Unary(name))
	stream := append(append([]grpc.StreamServerInterceptor{s.recoverStream}, s.opt.StreamInterceptors...), served.Stream(name))
	return append(front.Options(s.opt.ConnectionAge, s.opt.Lax),
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(maxTransportBytes),
		grpc.MaxSendMsgSize(maxTransportBytes),
		grpc.WaitForHandlers(true), // the files must not close under one
		grpc.InitialWindowSize(1<<20),
		grpc.InitialConnWindowSize(4<<20),
		grpc.WriteBufferSize(64<<10),
		grpc.ReadBufferSize(64<<10),
		grpc.ChainUnaryInterceptor(unary...),
		grpc.ChainStreamInterceptor(stream...),
	)
}

// Serve answers calls on l until Close, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve firestore: %w", err)
	}
	return nil
}

// Close ends listeners and write streams with UNAVAILABLE, lets other calls end for up to five seconds, and
// closes the files.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.cancel()
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			s.grpc.GracefulStop()
		}()
		timer := time.NewTimer(closeGrace)
		defer timer.Stop()
		select {
		case <-stopped:
		case <-timer.C:
			s.grpc.Stop()
			<-stopped
		}
		s.background.Wait()
		s.err = s.store.Close()
	})
	return s.err
}

// Verify checks that index entries and documents agree, for diagnosis and tests, and returns the number of
// documents. It reads all data.
func (s *Server) Verify() (documents int, err error) { return s.store.Verify() }

// Wear tells what was written faster than production takes for long; nothing when Lax.
func (s *Server) Wear() fsstore.Wear { return s.store.Wear() }

// recovered turns a panic into UNKNOWN: INTERNAL and UNAVAILABLE are retried by clients, who would hit the
// same defect again until their deadline.
func (s *Server) recovered(method string, v any) error {
	s.log.Error("panic in handler", "method", method, "panic", v, "stack", string(debug.Stack()))
	return status.Error(codes.Unknown, "internal defect; see the server's log")
}

func (s *Server) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = s.recovered(info.FullMethod, v)
		}
	}()
	resp, err = next(ctx, req)
	return resp, s.answer(err)
}

func (s *Server) recoverStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = s.recovered(info.FullMethod, v)
		}
	}()
	return s.answer(next(srv, ss))
}
