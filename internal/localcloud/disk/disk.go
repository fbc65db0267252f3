// Package disk keeps the embedded cloud whole on a disk that is full: writes of clients are refused while
// there is little room, so that the storage engines, which cannot go on without a log, keep what they need.
// Reads go on, and writes do again by themselves once there is room.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// Reserve is the room below which writes of clients are refused: for the memtables of three engines, 16
	// MiB at most, and a compaction of what they become.
	Reserve = 64 << 20
	// ballastBytes are held in a file and given to the engines when somebody else has taken all of the disk:
	// they write some hundred bytes a second even when only reads come (Firestore's clock).
	ballastBytes = 16 << 20
	// lookEvery is how long an answer about the free space holds. At 500 MB/s half of Reserve is written
	// meanwhile.
	lookEvery = 50 * time.Millisecond
	// retryEvery is how often a write of an engine that found no room at all is tried.
	retryEvery = 100 * time.Millisecond
)

// FullError says that a disk, or the memory of a cloud without one, has no room for writes of clients.
type FullError struct {
	Dir  string // "" for memory
	Free uint64
}

// Error implements error.
func (e *FullError) Error() string {
	if e.Dir == "" {
		return fmt.Sprintf("the memory of the embedded cloud is full: %d MiB are free, %d MiB are needed; writes are taken again when there is room: reset it, or start it with a data folder", e.Free>>20, Reserve>>20)
	}
	return fmt.Sprintf("the disk of the data folder %s is full: %d MiB are free, %d MiB are needed; writes are taken again when there is room", e.Dir, e.Free>>20, Reserve>>20)
}

// GRPCStatus is what a gRPC client gets. Google's clients try RESOURCE_EXHAUSTED again until their context
// ends, and their callers would not hear of it.
func (e *FullError) GRPCStatus() *status.Status {
	return status.New(codes.Internal, e.Error())
}

// Guard looks after the disk of one data folder. It is safe for concurrent use.
type Guard struct {
	dir  string
	log  *zap.Logger
	free func() (uint64, error)
	stop chan struct{}
	once sync.Once

	mu      sync.Mutex
	looked  time.Time
	full    error
	ballast bool
}

// New makes the guard of a data folder, which exists. free says how much room there is; nil asks the
// operating system. It is a *FullError when there is too little to begin with. Close must be called.
func New(dir string, free func() (uint64, error), log *zap.Logger) (*Guard, error) {
	if free == nil {
		free = func() (uint64, error) {
			usage, err := vfs.Default.GetDiskUsage(dir)
			return usage.AvailBytes, err
		}
	}
	g := &Guard{dir: dir, free: free, log: log, stop: make(chan struct{})}
	_, err := os.Stat(g.ballastPath())
	g.ballast = err == nil
	if err := g.Check(); err != nil {
		return nil, err
	}
	return g, nil
}

// MemoryLimit is how much the process may hold for writes to be taken by a cloud that has no disk: some
// 300,000 documents with their indexes, and room beside them for a gibibyte of objects.
const MemoryLimit = 2 << 30

// NewMemory makes the guard of a cloud that has no disk: what is bounded is what the process holds, as of the
// last collection of garbage, which may be half of what there is at its peak.
func NewMemory(free func() (uint64, error), log *zap.Logger) *Guard {
	if free == nil {
		free = func() (uint64, error) {
			live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
			metrics.Read(live)
			return MemoryLimit - min(MemoryLimit, live[0].Value.Uint64()), nil
		}
	}
	return &Guard{free: free, log: log, stop: make(chan struct{})}
}

// Check is a *FullError while there is less room than Reserve.
func (g *Guard) Check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if !g.looked.IsZero() && now.Sub(g.looked) < lookEvery {
		return g.full
	}
	free, err := g.free()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the data folder %s is gone: %w", g.dir, err)
	}
	if err != nil {
		return fmt.Errorf("look at the free space of %s: %w", g.place(), err)
	}
	was := g.full
	g.looked, g.full = now, nil
	if free < Reserve {
		g.full = &FullError{g.dir, free}
	}
	switch {
	case g.full != nil && was == nil:
		g.log.Error(g.full.Error())
	case g.full == nil && was != nil:
		g.log.Info(g.place()+" has room again; writes are taken", zap.Uint64("free_mib", free>>20))
	}
	if g.full == nil && g.dir != "" && !g.ballast && free >= Reserve+ballastBytes {
		g.load()
	}
	return g.full
}

// place is what the guard looks after, in words.
func (g *Guard) place() string {
	if g.dir == "" {
		return "the memory of the embedded cloud"
	}
	return "the disk of the data folder " + g.dir
}

func (g *Guard) ballastPath() string { return filepath.Join(g.dir, "ballast") }

// load takes the ballast aboard, where the file system can set room aside. Without, an engine that finds no
// room waits for it.
func (g *Guard) load() {
	f, err := vfs.Default.Create(g.ballastPath(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	err = errors.Join(f.Preallocate(0, ballastBytes), f.Close())
	g.ballast = err == nil
	if err != nil {
		_ = os.Remove(g.ballastPath())
	}
}

// FS is the file system for the engines: a write that finds no room gets the ballast's, and then waits for
// room instead of failing, which an engine does not survive. Without a disk it is a new one in memory.
func (g *Guard) FS() vfs.FS {
	if g.dir == "" {
		return vfs.NewMem()
	}
	return vfs.OnDiskFull(vfs.Default, g.makeRoom)
}

func (g *Guard) makeRoom() {
	g.mu.Lock()
	had := g.ballast
	g.ballast = false
	if had {
		_ = os.Remove(g.ballastPath())
	}
	g.looked = time.Time{}
	g.mu.Unlock()
	if had {
		g.log.Error("nothing is left of the disk of the data folder; what was set aside for that is in use", zap.String("folder", g.dir))
		return
	}
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		if free, err := g.free(); err != nil || free >= 1<<20 {
			return
		}
		select {
		case <-tick.C:
		case <-g.stop:
			return
		}
	}
}

// Close lets those who wait for room fail.
func (g *Guard) Close() { g.once.Do(func() { close(g.stop) }) }
