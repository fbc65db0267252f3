package docwatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/panics"
)

const (
	// defaultTargets is what Google recommends as the most listeners of a client (real-time queries at scale:
	// fewer than 100), and what a client multiplexes on a stream.
	defaultTargets = 100
	// defaultStreams leaves room below the 100 that Google takes on a connection.
	defaultStreams = 50
	// defaultConnections: with the two above 20,000 documents, more than there are callers.
	defaultConnections = 4
	// defaultIdle is how long a stream without targets is kept for the next one.
	defaultIdle = 30 * time.Second
	// defaultAnswer is how long a new target may be without an answer, and defaultQuiet a stream without a
	// message, before another one is opened. Servers tell how far a quiet stream is every half minute or so;
	// that they do is not documented, so the bound is wide.
	defaultAnswer = 10 * time.Second
	defaultQuiet  = 3 * time.Minute
	// defaultBackoff and maxBackoff are the pauses before a stream is opened again.
	defaultBackoff = 200 * time.Millisecond
	maxBackoff     = 5 * time.Second
)

// Connection carries streams. *connection.Pool has it.
type Connection interface {
	grpc.ClientConnInterface
	Close() error
}

// Config is what a Watcher needs. Numbers that are 0 have defaults.
type Config struct {
	// Database is "projects/P/databases/D". Required.
	Database string
	// Dial opens a connection. Required.
	Dial func(ctx context.Context) (Connection, error)
	// Targets bounds the documents on a stream (100), Streams the streams on a connection (50), Connections
	// those (4).
	Targets, Streams, Connections int

	// Panics is told of faults in a stream, which is opened again; nobody is if nil.
	Panics *panics.Reporter

	// Idle, Answer, Quiet and Backoff are 30 s, 10 s, 3 min and 200 ms; tests have shorter ones.
	Idle, Answer, Quiet, Backoff time.Duration
}

// Watcher watches documents. Safe for concurrent use.
type Watcher struct {
	cfg    Config
	decode *decoder

	ctx    context.Context //nolint:containedctx // of the streams, which outlive their callers; Close ends it
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	targets map[string]*target // by name of the document
	lines   []*line
}

// line is a connection.
type line struct {
	conn    Connection
	streams map[*stream]struct{}
}

// New makes a Watcher. It opens nothing until something is watched. Close must be called.
func New(cfg Config) (*Watcher, error) {
	for _, n := range []struct {
		value *int
		or    int
	}{{&cfg.Targets, defaultTargets}, {&cfg.Streams, defaultStreams}, {&cfg.Connections, defaultConnections}} {
		if *n.value <= 0 {
			*n.value = n.or
		}
	}
	for _, d := range []struct {
		value *time.Duration
		or    time.Duration
	}{{&cfg.Idle, defaultIdle}, {&cfg.Answer, defaultAnswer}, {&cfg.Quiet, defaultQuiet}, {&cfg.Backoff, defaultBackoff}} {
		if *d.value <= 0 {
			*d.value = d.or
		}
	}
	decode, err := newDecoder(cfg.Database)
	if err != nil {
		return nil, err
	}
	w := &Watcher{cfg: cfg, decode: decode, targets: map[string]*target{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w, nil
}

// Close ends all streams; who still watches gets an error that is status Unavailable.
func (w *Watcher) Close() error {
	w.mu.Lock()
	again := w.closed
	w.closed = true
	for _, t := range w.targets {
		t.fail(errClosed)
	}
	w.mu.Unlock()
	w.cancel()
	w.wg.Wait()
	if again {
		return nil
	}
	errs := []error{w.decode.close()}
	for _, l := range w.lines {
		errs = append(errs, l.conn.Close())
	}
	return errors.Join(errs...)
}

var (
	errClosed = status.Error(codes.Unavailable, "the watcher is closed")
	errFull   = status.Error(codes.ResourceExhausted, "too many documents are watched")
)

// Load is how much a Watcher holds.
type Load struct{ Connections, Streams, Targets int }

// Load says how much the watcher holds now.
func (w *Watcher) Load() Load {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := Load{Connections: len(w.lines), Targets: len(w.targets)}
	for _, line := range w.lines {
		l.Streams += len(line.streams)
	}
	return l
}

// Watch calls fn with a document as it is and again after each change, until fn says stop or ctx ends. Of
// changes that come faster than fn returns the last counts. A document that is not there is given as a
// snapshot that does not exist. While Firestore is away it waits. An error that is not ctx's is a gRPC
// status: the server refuses, or there is no room.
func (w *Watcher) Watch(ctx context.Context, path string, fn func(*firestore.DocumentSnapshot) (stop bool)) error {
	u := &user{wake: make(chan struct{}, 1)}
	t, err := w.join(path, u)
	if err != nil {
		return err
	}
	defer w.leave(t, u)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-u.wake:
		}
		w.mu.Lock()
		doc, err := t.doc, t.err
		w.mu.Unlock()
		if err != nil {
			return err
		}
		snapshot, err := w.decode.snapshot(ctx, t.name, doc)
		if err != nil {
			return fmt.Errorf("read what came of %s: %w", path, err)
		}
		if fn(snapshot) {
			return nil
		}
	}
}

// user is a caller of Watch. wake holds a token when there is something new.
type user struct{ wake chan struct{} }

func (u *user) notify() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// target is a watched document. The watcher's mutex guards it.
type target struct {
	name   string // in full
	id     int32  // on its stream
	stream *stream
	users  map[*user]struct{}

	known   bool                  // doc has been told
	current bool                  // the server has sent what there is
	doc     *firestorepb.Document // nil: there is none
	seen    bool                  // a message since it was added has told of the document
	err     error
}

// set takes what the server says of the document, and tells the users if it is new.
func (t *target) set(doc *firestorepb.Document) {
	t.seen = true
	if t.known && (doc == nil) == (t.doc == nil) && (doc == nil || doc.GetUpdateTime().AsTime().Equal(t.doc.GetUpdateTime().AsTime())) {
		return
	}
	t.known, t.doc = true, doc
	t.tell()
}

func (t *target) fail(err error) {
	t.err = err
	t.tell()
}

func (t *target) tell() {
	for u := range t.users {
		u.notify()
	}
}

// join adds a caller to a document's target, which may be new.
func (w *Watcher) join(path string, u *user) (*target, error) {
	name := w.cfg.Database + "/documents/" + path
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, errClosed
	}
	if t := w.targets[name]; t != nil {
		t.users[u] = struct{}{}
		// What was known before a stream broke may be old: then the next one tells.
		if t.known && t.current {
			u.notify()
		}
		return t, nil
	}
	s, err := w.room()
	if err != nil {
		return nil, err
	}
	t := &target{name: name, stream: s, users: map[*user]struct{}{u: {}}}
	w.targets[name] = t
	s.add(t)
	return t, nil
}

// leave takes a caller off; the last one takes the target with it.
func (w *Watcher) leave(t *target, u *user) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(t.users, u)
	if len(t.users) == 0 && w.targets[t.name] == t {
		delete(w.targets, t.name)
		t.stream.remove(t)
	}
}

// room finds a stream that takes one more target, or opens one.
func (w *Watcher) room() (*stream, error) {
	for _, l := range w.lines {
		for s := range l.streams {
			if len(s.targets) < w.cfg.Targets {
				return s, nil
			}
		}
	}
	for _, l := range w.lines {
		if len(l.streams) < w.cfg.Streams {
			return w.open(l), nil
		}
	}
	if len(w.lines) >= w.cfg.Connections {
		return nil, errFull
	}
	conn, err := w.cfg.Dial(w.ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, fmt.Sprintf("connect to watch: %v", err))
	}
	l := &line{conn: conn, streams: map[*stream]struct{}{}}
	w.lines = append(w.lines, l)
	return w.open(l), nil
}

func (w *Watcher) open(l *line) *stream {
	s := &stream{w: w, line: l, targets: map[int32]*target{}, sent: map[int32]bool{}, changed: make(chan struct{}, 1)}
	l.streams[s] = struct{}{}
	w.wg.Go(func() { w.cfg.Panics.Loop(w.ctx, panics.Documents, s.run) })
	return s
}
