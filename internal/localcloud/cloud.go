package localcloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"go.uber.org/zap"

	"exportd/internal/localcloud/access"
	"exportd/internal/localcloud/disk"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/seal"
)

// closeLimit bounds Close when its context does not: calls under way then lose their connections.
const closeLimit = 10 * time.Second

// Config says where the cloud keeps its data and where it listens.
type Config struct {
	// DataDir holds everything; it is created with mode 0700 if missing. Required unless InMemory. One
	// process at a time may use it.
	DataDir string
	// InMemory keeps everything in the memory of the process, up to disk.MemoryLimit, until Close, and writes
	// no file.
	InMemory bool
	// Addresses to listen on, loopback only. Default "127.0.0.1:0", a free port.
	FirestoreAddr, PubSubAddr, StorageAddr string
	// ControlAddr serves /faults and /counters (package fault), /permissions (package access), /reset
	// (Reset), and /wear: what was written to Firestore faster than production takes for long. Default: not
	// served.
	ControlAddr string
	// Roles are accounts that may do only what they are granted, each at addresses of its own, which are free
	// ports. The addresses above stay without bounds. Default: no accounts.
	Roles *access.Roles
	// ServiceAccounts are key files (JSON) of service accounts whose signed URLs Cloud Storage takes beside
	// those that it signs itself. Default: none.
	ServiceAccounts [][]byte
	// IndexesJSON is the content of a firestore.indexes.json. A query that needs an index which is not in it
	// is refused, as in production. Default: no composite indexes.
	IndexesJSON []byte
	// IndexMode is what becomes of such a query: enforce (the default), auto or off. See
	// firestoreserver.IndexMode.
	IndexMode string
	// IndexHint is told to whoever lacks an index: how to start this cloud in another mode.
	IndexHint string
	// LearnFile is where mode auto writes IndexesJSON with the indexes that were missing. Default: nowhere.
	LearnFile string
	// SnapshotRetention is how far back a Firestore read time may lie. Default 1 h, as in production without
	// point-in-time recovery.
	SnapshotRetention time.Duration
	// QueryLimit ends Firestore query streams that take longer. Default 60 s, about what production allows;
	// no limit when Lax.
	QueryLimit time.Duration
	// ConnectionAge is after how long gRPC connections are told to go. Default 1 h, as in production; no
	// limit when Lax.
	ConnectionAge time.Duration
	// Lax leaves out production's limits on wear and time: streams on a connection, the age of connections,
	// the length of query streams, and how often one object may change. What is wrong in itself, as a
	// document that is too large, is refused anyway.
	Lax bool
	// DiskFree says how much room the disk of DataDir has, or the memory. Default: what the operating system,
	// or the runtime, says.
	DiskFree func() (uint64, error)
	// Faults is what goes wrong from the start. Default: nothing.
	Faults fault.Config
	// Log receives what an operator should know. Default: none.
	Log *zap.Logger
}

// Endpoints are host:port addresses. Control is empty when it is not served.
type Endpoints struct {
	Firestore, PubSub, Storage, Control string
	// Accounts has the addresses of each account of Config.Roles.
	Accounts map[string]Endpoints
}

// Cloud is a running cloud. All methods are safe for concurrent use.
type Cloud struct {
	endpoints Endpoints
	faults    *fault.Injector
	gate      *access.Gate
	stores    stores
	lock      *flock.Flock // nil without a folder
	disk      *disk.Guard
	dir       string
	lost      atomic.Bool // the folder is gone
	services  []service
	serving   sync.WaitGroup

	failOnce  sync.Once
	failure   error // why done was closed; nil after Close
	done      chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// service is a server of the cloud.
type service interface {
	// serve blocks until stop, and then returns nil. It closes the listener.
	serve(net.Listener) error
	// stop ends serve, waits for calls under way as long as ctx allows, and closes the files.
	stop(ctx context.Context) error
}

// Start opens the data folder, binds all addresses and serves. The context bounds only the start: the cloud
// runs until Close. Errors are ErrInUse for a folder that another process has open, or say in one line which
// folder or address cannot be used.
func Start(ctx context.Context, cfg Config) (*Cloud, error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if _, err := indexMode(cfg.IndexMode); err != nil {
		return nil, fmt.Errorf("start embedded cloud: %w", err)
	}
	faults, err := fault.New(cfg.Faults)
	if err != nil {
		return nil, fmt.Errorf("start embedded cloud: %w", err)
	}
	c := &Cloud{dir: cfg.DataDir, faults: faults, gate: access.NewGate(cfg.Log.Named("access")), done: make(chan struct{})}
	if err := c.takeFolder(cfg); err != nil {
		return nil, fmt.Errorf("start embedded cloud: %w", err)
	}
	if err := c.start(ctx, cfg); err != nil {
		c.disk.Close()
		return nil, errors.Join(fmt.Errorf("start embedded cloud: %w", err), c.unlock())
	}
	return c, nil
}

// takeFolder locks the data folder, if there is to be one, and looks after its room.
func (c *Cloud) takeFolder(cfg Config) (err error) {
	if cfg.InMemory {
		if cfg.DataDir != "" {
			return errors.New("a cloud in memory has no data folder")
		}
		c.disk = disk.NewMemory(cfg.DiskFree, cfg.Log.Named("memory"))
		return nil
	}
	if c.lock, err = openFolder(cfg.DataDir); err != nil {
		return err
	}
	if c.disk, err = disk.New(cfg.DataDir, cfg.DiskFree, cfg.Log.Named("disk")); err != nil {
		return errors.Join(err, c.unlock())
	}
	return nil
}

// unlock lets others have the data folder.
func (c *Cloud) unlock() error {
	if c.lock == nil {
		return nil
	}
	return c.lock.Unlock()
}

func (c *Cloud) start(ctx context.Context, cfg Config) error {
	parts := []struct {
		name, addr string
		endpoint   *string
		open       func() (service, error)
	}{
		{"Firestore", cfg.FirestoreAddr, &c.endpoints.Firestore, func() (service, error) {
			s, err := openFirestore(filepath.Join(cfg.DataDir, "firestore"), cfg, c.faults, c.gate, c.disk)
			if err != nil {
				return nil, err
			}
			c.stores.firestore = s
			return grpcService{s, firestoreWeb(c, cfg.Log)}, nil
		}},
		{"Pub/Sub", cfg.PubSubAddr, &c.endpoints.PubSub, func() (service, error) {
			s, err := openPubSub(filepath.Join(cfg.DataDir, "pubsub"), cfg, c.faults, c.gate, c.disk)
			if err != nil {
				return nil, err
			}
			c.stores.pubsub = s
			return grpcService{s, pubsubWeb(cfg.Log)}, nil
		}},
		{"Cloud Storage", cfg.StorageAddr, &c.endpoints.Storage, func() (service, error) {
			s, err := openStorage(filepath.Join(cfg.DataDir, "storage"), cfg, c.gate, c.disk)
			if err != nil {
				return nil, err
			}
			c.stores.storage = s
			return newHTTPService(c.gate.HTTP(c.faults.HTTP(s.Handler())), s, cfg.Log.Named("storage")), nil
		}},
		{"fault control", cfg.ControlAddr, &c.endpoints.Control, func() (service, error) {
			return newHTTPService(c.faults.Control(c.reports(cfg), map[string]http.HandlerFunc{"/reset": c.serveReset}), nil, cfg.Log.Named("control")), nil
		}},
	}
	if cfg.ControlAddr == "" {
		parts = parts[:len(parts)-1]
	}
	// All addresses are bound before anything is opened: a taken port is the likeliest error and should leave
	// no trace.
	listeners := make([][]net.Listener, len(parts)) // of each part
	abort := func(err error) error {
		for _, l := range slices.Concat(listeners...) {
			_ = l.Close()
		}
		for _, s := range c.services {
			err = errors.Join(err, s.stop(ctx))
		}
		return err
	}
	for i, p := range parts {
		l, err := listen(ctx, p.name, p.addr)
		if err != nil {
			return abort(err)
		}
		listeners[i] = append(listeners[i], l)
		*p.endpoint = l.Addr().String()
	}
	if err := c.listenForAccounts(ctx, cfg.Roles, listeners); err != nil {
		return abort(err)
	}
	if c.lock != nil {
		if err := seal.Break(cfg.DataDir); err != nil {
			return abort(err)
		}
	}
	for _, p := range parts {
		s, err := p.open()
		if err != nil {
			return abort(err)
		}
		c.services = append(c.services, s)
	}
	for i, s := range c.services {
		for _, l := range listeners[i] {
			c.serving.Go(func() {
				if err := s.serve(l); err != nil {
					c.fail(fmt.Errorf("embedded %s: %w", parts[i].name, err))
				}
			})
		}
	}
	if c.lock == nil {
		return nil
	}
	c.serving.Go(func() {
		if err := watchFolder(cfg.DataDir, c.done); err != nil {
			c.lost.Store(true)
			c.fail(err)
		}
	})
	return nil
}

// listenForAccounts adds listeners for each account to those of Firestore, Pub/Sub and Cloud Storage, in this
// order.
func (c *Cloud) listenForAccounts(ctx context.Context, roles *access.Roles, listeners [][]net.Listener) error {
	if roles == nil {
		return nil
	}
	c.endpoints.Accounts = map[string]Endpoints{}
	for _, name := range roles.Names() {
		var e Endpoints
		for i, addr := range []*string{&e.Firestore, &e.PubSub, &e.Storage} {
			l, err := listen(ctx, "account "+name, "")
			if err != nil {
				return err
			}
			listeners[i] = append(listeners[i], l)
			*addr = l.Addr().String()
			c.gate.Bind(l.Addr(), roles.Account(name))
		}
		c.endpoints.Accounts[name] = e
	}
	return nil
}

// reports are what the control address tells beside faults.
func (c *Cloud) reports(cfg Config) map[string]func() any {
	out := map[string]func() any{"/wear": func() any { return c.stores.firestore.Wear() }}
	if cfg.Roles != nil {
		out["/permissions"] = func() any { return cfg.Roles.Usage() }
	}
	return out
}

func (c *Cloud) fail(err error) {
	c.failOnce.Do(func() {
		c.failure = err
		close(c.done)
	})
}

// Endpoints returns where the services listen.
func (c *Cloud) Endpoints() Endpoints { return c.endpoints }

// peers are the addresses of the account whose Firestore is at addr.
func (c *Cloud) peers(addr string) Endpoints {
	for _, e := range c.endpoints.Accounts {
		if e.Firestore == addr {
			return e
		}
	}
	return c.endpoints
}

// Faults returns what makes the cloud misbehave and counts its calls.
func (c *Cloud) Faults() *fault.Injector { return c.faults }

// Done is closed when a server has failed or Close was called; Wait then tells which.
func (c *Cloud) Done() <-chan struct{} { return c.done }

// Wait blocks until a server fails, and returns why, or until Close is called, and returns nil. After a
// failure the other servers still run; Close is still needed.
func (c *Cloud) Wait() error {
	<-c.done
	return c.failure
}

// Close ends all calls, waiting for those under way until ctx ends or 10 s have passed, and closes the data
// folder. Calling it again returns the same result.
func (c *Cloud) Close(ctx context.Context) error {
	c.closeOnce.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, closeLimit)
		defer cancel()
		c.fail(nil)
		c.disk.Close()
		errs := make([]error, len(c.services))
		var stopping sync.WaitGroup
		for i, s := range c.services {
			stopping.Go(func() { errs[i] = s.stop(ctx) })
		}
		stopping.Wait()
		c.serving.Wait()
		if errors.Join(errs...) == nil && c.lock != nil && !c.lost.Load() {
			errs = append(errs, seal.Write(c.dir, subfolders...))
		}
		if err := errors.Join(append(errs, c.unlock())...); err != nil {
			c.closeErr = fmt.Errorf("close embedded cloud: %w", err)
		}
	})
	return c.closeErr
}
