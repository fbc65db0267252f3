package localcloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"exportd/internal/localcloud/access"
	"exportd/internal/localcloud/disk"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/firestoreserver"
	"exportd/internal/localcloud/pubsubserver"
	"exportd/internal/localcloud/storageserver"
)

func openFirestore(dir string, cfg Config, faults *fault.Injector, gate *access.Gate, d *disk.Guard) (*firestoreserver.Server, error) {
	mode, err := indexMode(cfg.IndexMode)
	if err != nil {
		return nil, err
	}
	return firestoreserver.Open(firestoreserver.Options{
		Dir:                dir,
		InMemory:           cfg.InMemory,
		FS:                 d.FS(),
		IndexesJSON:        cfg.IndexesJSON,
		IndexMode:          mode,
		IndexHint:          cfg.IndexHint,
		LearnFile:          cfg.LearnFile,
		Retention:          cfg.SnapshotRetention,
		MaxStream:          cfg.QueryLimit,
		ConnectionAge:      cfg.ConnectionAge,
		Lax:                cfg.Lax,
		Logger:             slog.New(logHandler{log: cfg.Log.Named("firestore")}),
		UnaryInterceptors:  []grpc.UnaryServerInterceptor{gate.Unary(), faults.Unary(), d.Unary()},
		StreamInterceptors: []grpc.StreamServerInterceptor{gate.Stream(), faults.Stream(), d.Stream()},
	})
}

// indexMode reads the name of a mode.
func indexMode(name string) (firestoreserver.IndexMode, error) {
	mode, ok := map[string]firestoreserver.IndexMode{"": firestoreserver.Enforce, "enforce": firestoreserver.Enforce, "auto": firestoreserver.Auto, "off": firestoreserver.Scan}[name]
	if !ok {
		return 0, fmt.Errorf("index mode %q is not enforce, auto or off", name)
	}
	return mode, nil
}

func openPubSub(dir string, cfg Config, faults *fault.Injector, gate *access.Gate, d *disk.Guard) (*pubsubserver.Server, error) {
	return pubsubserver.Open(pubsubserver.Options{
		Dir:                dir,
		FS:                 d.FS(),
		ConnectionAge:      cfg.ConnectionAge,
		Lax:                cfg.Lax,
		Log:                cfg.Log.Named("pubsub"),
		Permitted:          gate.Permitted,
		UnaryInterceptors:  []grpc.UnaryServerInterceptor{gate.Unary(), faults.Unary(), d.Unary()},
		StreamInterceptors: []grpc.StreamServerInterceptor{gate.Stream(), faults.Stream(), d.Stream()},
	})
}

func openStorage(dir string, cfg Config, gate *access.Gate, d *disk.Guard) (*storageserver.Server, error) {
	return storageserver.Open(storageserver.Options{
		Dir: dir, InMemory: cfg.InMemory, ServiceAccounts: cfg.ServiceAccounts, Permitted: gate.PermittedHTTP, Disk: d, Lax: cfg.Lax, Log: cfg.Log.Named("storage"),
	})
}

// grpcService is a server that has its own bound on the time Close takes (5 s). Its ports answer HTTP/1.1 as
// well.
type grpcService struct {
	server interface {
		Serve(net.Listener) error
		Close() error
	}
	web *web
}

func (g grpcService) serve(l net.Listener) error {
	s := newSplit(l)
	var err error
	s.both.Go(func() { err = g.web.serve(s.h1, l.Addr().String()) })
	served := g.server.Serve(s.h2)
	closed := s.Close()
	s.both.Wait()
	return errors.Join(served, ignoreClosed(closed), err)
}

func (g grpcService) stop(_ context.Context) error { return g.server.Close() }

// httpService serves a handler and closes what the handler needs after the last request.
type httpService struct {
	server *http.Server
	closer io.Closer // may be nil

	// http.Server.Close does not wait for handlers, and the files must not be closed under one: requests hold
	// the read side.
	requests sync.RWMutex
	stopped  bool
}

func newHTTPService(next http.Handler, closer io.Closer, log *zap.Logger) *httpService {
	h := &httpService{closer: closer}
	h.server = &http.Server{
		ErrorLog: errorLog(log),
		// No read or write timeout: an upload or download may take as long as it takes.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.requests.RLock()
			defer h.requests.RUnlock()
			if h.stopped {
				http.Error(w, "closing", http.StatusServiceUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		}),
	}
	return h
}

// errorLog is what a server of HTTP tells of panics in handlers, which it survives, and of little else.
func errorLog(to *zap.Logger) *log.Logger {
	l, err := zap.NewStdLogAt(to, zap.ErrorLevel)
	if err != nil {
		panic(err) // the level is one
	}
	return l
}

func (h *httpService) serve(l net.Listener) error {
	if err := h.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func (h *httpService) stop(ctx context.Context) error {
	if h.server.Shutdown(ctx) != nil {
		_ = h.server.Close() // out of time: reads and writes of the handlers fail from here on
	}
	h.requests.Lock()
	defer h.requests.Unlock()
	h.stopped = true
	if h.closer == nil {
		return nil
	}
	return h.closer.Close()
}

// logHandler hands slog records to zap. Groups are flattened.
type logHandler struct{ log *zap.Logger }

// Enabled implements slog.Handler.
func (h logHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle implements slog.Handler.
func (h logHandler) Handle(_ context.Context, r slog.Record) error {
	fields := make([]zap.Field, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		fields = append(fields, zap.Any(a.Key, a.Value.Any()))
		return true
	})
	switch {
	case r.Level >= slog.LevelError:
		h.log.Error(r.Message, fields...)
	case r.Level >= slog.LevelWarn:
		h.log.Warn(r.Message, fields...)
	default:
		h.log.Info(r.Message, fields...)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := make([]zap.Field, len(attrs))
	for i, a := range attrs {
		fields[i] = zap.Any(a.Key, a.Value.Any())
	}
	return logHandler{h.log.With(fields...)}
}

// WithGroup implements slog.Handler.
func (h logHandler) WithGroup(string) slog.Handler { return h }
