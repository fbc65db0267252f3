package fsstore

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const memTableBytes = 8 << 20

// engineOptions tunes the engine for a process that must stay small: whole documents and index entries are a
// few hundred bytes, written once in bulk and read in long runs.
func engineOptions(fs vfs.FS, cache *pebble.Cache, log *slog.Logger) *pebble.Options {
	o := &pebble.Options{
		FS:    fs,
		Cache: cache,
		// Start-up time is log replay, and the log is at most a few memtables.
		MemTableSize:                memTableBytes,
		MemTableStopWritesThreshold: 2, // a third would only hide a disk that is too slow, for 8 MiB
		L0CompactionThreshold:       8,
		L0StopWritesThreshold:       40,
		LBaseMaxBytes:               128 << 20,
		MaxOpenFiles:                512,
		FormatMajorVersion:          pebble.FormatNewest,
		Logger:                      quiet{log},
	}
	filter := documentFilter{bloom.FilterPolicy(10)}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = filter
		o.Levels[i].BlockSize = 16 << 10
		o.TargetFileSizes[i] = 8 << 20
		// What is about to be rewritten is not worth compressing.
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	last := len(o.Levels) - 1
	o.TargetFileSizes[last] = 16 << 20
	o.Levels[last].Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	return o
}

// documentFilter keeps only documents in the tables' filters. Index entries are many times more and nobody
// looks for one that might not exist.
type documentFilter struct{ pebble.FilterPolicy }

func (f documentFilter) Name() string { return "exportd.documents." + f.FilterPolicy.Name() }

func (f documentFilter) MayContain(t pebble.FilterType, filter, key []byte) bool {
	return len(key) == 0 || key[0] != spaceDocument || f.FilterPolicy.MayContain(t, filter, key)
}

func (f documentFilter) NewWriter(t pebble.FilterType) pebble.FilterWriter {
	return documentFilterWriter{f.FilterPolicy.NewWriter(t)}
}

type documentFilterWriter struct{ pebble.FilterWriter }

func (w documentFilterWriter) AddKey(key []byte) {
	if len(key) > 0 && key[0] == spaceDocument {
		w.FilterWriter.AddKey(key)
	}
}

// quiet passes the engine's errors on and drops its chatter.
type quiet struct{ log *slog.Logger }

func (quiet) Infof(string, ...any) {}
func (q quiet) Errorf(format string, args ...any) {
	q.log.Error("storage engine", "detail", fmt.Sprintf(format, args...))
}

// Fatalf is called when the log or the manifest is lost: going on would answer for what is not on disk.
func (q quiet) Fatalf(format string, args ...any) {
	q.log.Error("the storage engine cannot go on; the process ends", "detail", fmt.Sprintf(format, args...))
	os.Exit(1)
}
