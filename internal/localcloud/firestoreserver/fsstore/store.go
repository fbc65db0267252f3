package fsstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/gofrs/flock"

	"exportd/internal/localcloud/firestoreserver/fsindex"
)

// formatVersion of the files; other versions are refused.
const formatVersion = 1

var (
	// ErrLocked tells that another process has the directory open.
	ErrLocked = errors.New("the data directory is in use by another process")
	// ErrTooOld tells that an instant lies before the retention period.
	ErrTooOld = errors.New("instant is older than the retention period")
	// ErrFuture tells that an instant has not come yet.
	ErrFuture = errors.New("instant lies in the future")
	// ErrClosed tells that the store was closed.
	ErrClosed = errors.New("store is closed")
)

// Options of Open. The zero value of a field means its default.
type Options struct {
	Dir        string           // ignored when InMemory
	InMemory   bool             // nothing survives Close
	Indexes    *fsindex.Config  // nil: automatic indexes only
	IndexesID  string           // identifies Indexes: a change of it rebuilds all entries
	Retention  time.Duration    // how long old versions stay readable; 1 h
	CacheBytes int64            // memtables (up to 16 MiB of it) and cached blocks; 32 MiB
	Now        func() time.Time // wall clock; time.Now
	Published  func([]*Change)  // called in commit order, must not block; may be nil
	FS         vfs.FS           // the operating system's by default; ignored when InMemory
	Logger     *slog.Logger     // discards by default
	Wear       bool             // count what production takes only for a while; see Store.Wear

	swept chan<- struct{} // told after each look for old versions; of tests
}

// Store is one open database directory holding any number of Firestore databases. All methods may be called
// concurrently.
type Store struct {
	db          *pebble.DB
	cache       *pebble.Cache
	lock        *flock.Flock
	clock       clock
	catalog     *catalog
	retention   int64
	published   func([]*Change)
	wear        *wear // nil when it does not count
	log         *slog.Logger
	fingerprint string
	opened      int64 // reads of index entries before the last rebuild are refused

	mu        sync.RWMutex
	databases map[string]uint32
	buckets   []int64           // starts of history buckets, ascending
	closed    map[groupID]int64 // last instant at which a version of the group ended
	restored  int64             // the same for groups not in closed
	touched   map[groupID]int64 // last instant at which anything in the group changed

	aged      chan struct{} // holds one token when a bucket of history has begun
	queue     chan *Commit
	quit      chan struct{}
	sequenced chan struct{} // closed when the sequencer has ended
	done      sync.WaitGroup
	stopSweep context.CancelFunc
	stopOnce  sync.Once
}

type groupID struct {
	db    uint32
	group string
}

func metaKey(name string) []byte { return append([]byte{spaceMeta}, name...) }

// Open opens or creates the store in opt.Dir. When the index configuration differs from that of the last run
// all index entries are built anew first, which takes time in proportion to the data.
func Open(opt Options) (*Store, error) {
	if opt.Retention <= 0 {
		opt.Retention = time.Hour
	}
	if opt.CacheBytes <= 0 {
		opt.CacheBytes = 32 << 20
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Indexes == nil {
		opt.Indexes = &fsindex.Config{}
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		catalog:     newCatalog(opt.Indexes),
		retention:   opt.Retention.Microseconds(),
		published:   opt.Published,
		fingerprint: opt.IndexesID,
		log:         opt.Logger,
		databases:   map[string]uint32{},
		closed:      map[groupID]int64{},
		touched:     map[groupID]int64{},
		aged:        make(chan struct{}, 1),
		queue:       make(chan *Commit, maxQueue),
		quit:        make(chan struct{}),
		sequenced:   make(chan struct{}),
	}
	if opt.Wear {
		s.wear = newWear(opt.Now, opt.Logger)
	}
	s.clock.now = opt.Now
	s.clock.moved.L = &s.clock.mu
	if err := s.openEngine(opt); err != nil {
		return nil, err
	}
	if err := s.restore(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", opt.Dir, err), s.closeEngine())
	}
	s.done.Add(2)
	go s.sequence()
	ctx, cancel := context.WithCancel(context.Background())
	s.stopSweep = cancel
	go s.sweep(ctx, opt.swept)
	return s, nil
}

func (s *Store) openEngine(opt Options) error {
	fs, dir := opt.FS, opt.Dir
	if fs == nil {
		fs = vfs.Default
	}
	if opt.InMemory {
		fs, dir = vfs.NewMem(), "db"
	} else {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("create data directory: %w", err)
		}
		s.lock = flock.New(filepath.Join(dir, "exportd.lock"))
		ok, err := s.lock.TryLock()
		if err != nil {
			return fmt.Errorf("lock data directory: %w", err)
		}
		if !ok {
			return fmt.Errorf("open %s: %w", dir, ErrLocked)
		}
	}
	s.cache = pebble.NewCache(opt.CacheBytes)
	db, err := pebble.Open(dir, engineOptions(fs, s.cache, s.log))
	if err != nil {
		s.cache.Unref()
		return errors.Join(fmt.Errorf("open storage engine: %w", err), s.unlock())
	}
	s.db, s.clock.db = db, db
	return nil
}

// restore reads what a restart must know; its cost does not depend on the data unless the index configuration
// changed.
func (s *Store) restore() error {
	version, err := s.metaInstant("format")
	if err != nil {
		return err
	}
	if version != nil && instant(version) != formatVersion {
		return fmt.Errorf("it has format %d, and this program reads format %d; nothing was changed: start the program that wrote it, or this one with another data folder", instant(version), formatVersion)
	}
	if version == nil {
		if err := s.db.Set(metaKey("format"), putInstant(nil, formatVersion), pebble.Sync); err != nil {
			return fmt.Errorf("write format version: %w", err)
		}
	}
	lease, err := s.metaInstant("lease")
	if err != nil {
		return err
	}
	if lease != nil {
		s.clock.last, s.clock.lease = instant(lease), instant(lease)
	}
	s.restored = s.clock.last
	if err := s.loadDatabases(); err != nil {
		return err
	}
	if err := s.loadBuckets(); err != nil {
		return err
	}
	return s.syncIndexes()
}

func (s *Store) meta(name string) ([]byte, error) {
	v, err := getCopy(s.db, metaKey(name))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return v, nil
}

// metaInstant is meta for what is written by putInstant.
func (s *Store) metaInstant(name string) ([]byte, error) {
	v, err := s.meta(name)
	if err == nil && v != nil && len(v) != fromBytes {
		err = fmt.Errorf("read %s: %w", name, errCorrupt)
	}
	return v, err
}

func (s *Store) loadDatabases() error {
	prefix := metaKey("db/")
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: metaKey("db0")})
	if err != nil {
		return fmt.Errorf("list databases: %w", err)
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if name := string(it.Key()[len(prefix):]); len(it.Value()) == 4 {
			s.databases[name] = binary.BigEndian.Uint32(it.Value())
		} else {
			err = fmt.Errorf("database %s: %w", name, errCorrupt)
		}
	}
	return errors.Join(err, it.Close())
}

// Databases lists the names of the databases.
func (s *Store) Databases() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.databases))
}

// DatabaseID returns the small number that stands for a database in keys, choosing one at first use.
func (s *Store) DatabaseID(name string) (uint32, error) {
	s.mu.RLock()
	id, ok := s.databases[name]
	s.mu.RUnlock()
	if ok {
		return id, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, ok := s.databases[name]; ok {
		return id, nil
	}
	id = uint32(len(s.databases) + 1)
	if err := s.db.Set(metaKey("db/"+name), binary.BigEndian.AppendUint32(nil, id), pebble.Sync); err != nil {
		return 0, fmt.Errorf("register database: %w", err)
	}
	s.databases[name] = id
	return id, nil
}

// Close waits for the commits under way, stops the background work and closes the files. Open views must be
// closed before.
func (s *Store) Close() error {
	var err error
	s.stopOnce.Do(func() {
		close(s.quit)
		s.stopSweep()
		s.done.Wait()
		s.clock.mu.Lock()
		last, failed := s.clock.last, s.clock.err
		s.clock.mu.Unlock()
		if failed == nil {
			err = s.db.Set(metaKey("lease"), putInstant(nil, last), pebble.Sync)
		}
		err = errors.Join(err, s.closeEngine())
	})
	return err
}

func (s *Store) closeEngine() error {
	err := s.db.Close()
	s.cache.Unref()
	return errors.Join(err, s.unlock())
}

func (s *Store) unlock() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Unlock()
}

// getCopy returns a copy of the value, nil when there is none.
func getCopy(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(v)), v...)
	return out, closer.Close()
}
