// Package storageserver is a small Cloud Storage server for machines without Google Cloud: buckets and
// objects of the JSON API, and reading, writing and deleting objects through the XML API, signed (V4) or as
// Google's clients do it. Plain links are refused, as for private objects. Fields and parameters are honoured
// or refused by name (fields.go); none is left out in silence.
//
// What it promises: an object that was acknowledged is whole and survives kill -9 and power failure; an
// object that was not acknowledged is not visible, not even in part; an upload chunk that is sent again,
// whole or cut off, neither doubles nor loses bytes; memory does not grow with object size.
//
// How: bytes are hashed on their way into a file that nothing refers to yet, the file is synced, and one
// synced write to the index (Pebble) makes the object exist; up to 32 KiB are part of that write instead.
// Files that the index does not know are removed at start. A composite refers to the files of its sources, so
// composing costs the same at any size. In a bucket with versions the same write has the object before be one
// that is not live, and moves no bytes either.
//
// It has no authentication and must listen on loopback only. Requests that a web page could send (they carry
// Origin, or name another host than this machine) are refused, but for signed URLs of buckets whose CORS
// configuration names the page's origin.
package storageserver

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/zap"

	"exportd/internal/localcloud/disk"
)

// Options configure a Server.
type Options struct {
	// Dir holds everything the server keeps; it is created when missing and locked while the server runs.
	Dir string
	// InMemory keeps everything in memory, and Dir is not looked at.
	InMemory bool
	// Lax leaves out how often an object, and buckets, may change, and of what size the chunks and parts of
	// an upload are.
	Lax bool
	// ServiceAccounts are key files of accounts that sign URLs by themselves. What others sign is verified by
	// the server's own key.
	ServiceAccounts [][]byte
	// Permitted says whether a caller has a permission, for testIamPermissions; default: every one.
	Permitted func(r *http.Request, permission string) bool
	// Disk is the guard of the disk, where the folder has one.
	Disk *disk.Guard
	// Log receives what the operator should know; nil discards it.
	Log *zap.Logger
}

// Server is a Cloud Storage server on files. It is safe for concurrent use.
type Server struct {
	log    *zap.Logger
	db     *pebble.DB
	blobs  *blobs
	signer *signer
	// permitted is Options.Permitted, which may be nil.
	permitted func(r *http.Request, permission string) bool

	lax  bool
	pace *pace // nil when lax
	seed maphash.Seed
	last atomic.Int64 // the latest generation or file id given out

	buckets  sync.RWMutex    // written by changes to buckets, read by changes to objects
	names    [256]sync.Mutex // by hash of the object name: precondition and commit are one step
	uploads  [64]sync.Mutex  // by hash of the multipart upload's id, locked before buckets and names
	mu       sync.Mutex      // guards sessions
	sessions map[string]*session

	stop    chan struct{}
	janitor sync.WaitGroup
}

// indexMemory is the size of Pebble's write buffer and block cache: an index entry is about 1 KiB, so a few
// thousand objects stay in memory and the rest is read from the page cache.
const indexMemory = 4 << 20

// Open starts a server on the folder, which only one server may use at a time. It removes what an earlier one
// left half done. Close must be called.
func Open(opts Options) (*Server, error) {
	log := opts.Log
	if log == nil {
		log = zap.NewNop()
	}
	accounts, err := accountKeys(opts.ServiceAccounts)
	if err != nil {
		return nil, err
	}
	fs, room := vfs.FS(vfs.Default), func() error { return nil } // without Pebble's watch for slow disks, which outlives a failed Open
	if opts.Disk != nil {
		fs, room = opts.Disk.FS(), opts.Disk.Check
	}
	if opts.InMemory {
		fs = vfs.NewMem()
	} else if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create storage folder: %w", err)
	}
	db, err := pebble.Open(filepath.Join(opts.Dir, "index"), &pebble.Options{
		FS:                 fs,
		FormatMajorVersion: pebble.FormatTableFormatV6,
		MemTableSize:       indexMemory,
		CacheSize:          indexMemory,
		Logger:             indexLogger{log.WithOptions(zap.AddStacktrace(zap.FatalLevel + 1)).Sugar()},
	})
	if err != nil {
		return nil, fmt.Errorf("open storage index: %w", err)
	}
	key, bytes, err := openFiles(opts) // the index's lock makes this the only server here
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	key.accounts = accounts
	s := &Server{log: log, db: db, signer: key, permitted: opts.Permitted, lax: opts.Lax, seed: maphash.MakeSeed(), sessions: map[string]*session{}, stop: make(chan struct{})}
	if !opts.Lax {
		s.pace = newPace()
	}
	s.blobs = &blobs{files: bytes, db: db, room: room, extra: map[int64]int{}}
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.janitor.Go(s.runJanitor)
	return s, nil
}

func openFiles(opts Options) (*signer, files, error) {
	if opts.InMemory {
		key, err := newSigner()
		return key, newMemory(), err
	}
	key, err := openSigner(filepath.Join(opts.Dir, "signing-key.pem"))
	if err != nil {
		return nil, nil, err
	}
	bytes, err := openFolder(filepath.Join(opts.Dir, "objects"))
	return key, bytes, err
}

// Close waits for background work and closes the index. Requests must have ended; objects acknowledged before
// are safe whether Close is called or not.
func (s *Server) Close() error {
	close(s.stop)
	s.janitor.Wait()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close storage index: %w", err)
	}
	return nil
}

// recover learns from the index which files are in use, how often, and the latest generation, and removes all
// other files.
func (s *Server) recover() error {
	known := map[int64]bool{}
	err := scan(s.db, []byte("o"), []byte("p"), func(_, value []byte) error {
		var rec record
		if err := decode(value, &rec); err != nil {
			return err
		}
		s.last.Store(max(s.last.Load(), rec.Object.Generation))
		for _, seg := range rec.Segments {
			if known[seg.ID] {
				s.blobs.extra[seg.ID]++
			}
			known[seg.ID] = true
			s.last.Store(max(s.last.Load(), seg.ID))
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = scan(s.db, []byte("s"), []byte("t"), func(_, value []byte) error {
		var state sessionState
		if err := decode(value, &state); err != nil {
			return err
		}
		if !state.Done {
			known[state.Blob] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.recoverMultiparts(known); err != nil {
		return err
	}
	removed, err := s.blobs.sweep(known)
	if removed > 0 {
		s.log.Info("removed unfinished uploads", zap.Int("files", removed))
	}
	return err
}

// scan calls visit for the index entries from lower to below upper, in order, until it returns an error. The
// slices are valid during the call only.
func scan(db *pebble.DB, lower, upper []byte, visit func(key, value []byte) error) error {
	return iterate(db, lower, upper, (*pebble.Iterator).First, (*pebble.Iterator).Next, visit)
}

// scanBack is scan from the last entry to the first.
func scanBack(db *pebble.DB, lower, upper []byte, visit func(key, value []byte) error) error {
	return iterate(db, lower, upper, (*pebble.Iterator).Last, (*pebble.Iterator).Prev, visit)
}

func iterate(db *pebble.DB, lower, upper []byte, first, next func(*pebble.Iterator) bool, visit func(key, value []byte) error) error {
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	for ok := first(iter); ok && err == nil; ok = next(iter) {
		err = visit(iter.Key(), iter.Value())
	}
	return errors.Join(err, iter.Close())
}

// nextID returns a number larger than all before: microseconds since 1970, as generations are in Cloud
// Storage, or one more than the last when the clock stands still.
func (s *Server) nextID() int64 {
	for {
		last := s.last.Load()
		id := max(last+1, time.Now().UnixMicro())
		if s.last.CompareAndSwap(last, id) {
			return id
		}
	}
}

// lockName makes the caller the only one to change the object.
func (s *Server) lockName(bucket, name string) *sync.Mutex {
	mu := &s.names[maphash.Bytes(s.seed, objectKey(bucket, name))%uint64(len(s.names))]
	mu.Lock()
	return mu
}

// lockUpload makes the caller the only one to change the multipart upload.
func (s *Server) lockUpload(id string) *sync.Mutex {
	mu := &s.uploads[maphash.String(s.seed, id)%uint64(len(s.uploads))]
	mu.Lock()
	return mu
}

// indexLogger passes on Pebble's errors; its notes about each flush are of no use to an operator.
type indexLogger struct{ *zap.SugaredLogger }

func (indexLogger) Infof(string, ...any) {}
func (l indexLogger) Errorf(f string, args ...any) {
	l.SugaredLogger.Errorf("storage index: "+f, args...)
}
func (l indexLogger) Fatalf(f string, args ...any) {
	l.SugaredLogger.Fatalf("storage index: "+f, args...)
}
