// Package rowdiff finds what has changed between two files of rows: which were added, changed and removed, by
// their ids. It reads each file once, from begin to end, side by side.
//
// Rows may stand at other places in the two files, as a row whose sort key has changed does. One that has not
// been met on the other side yet is kept until it is; as both files are in the same order, these are about as
// many as there are changes. Beyond a bound they are written down, in runs sorted by id, which are merged in
// the end: memory grows with neither rows nor changes.
package rowdiff

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Kind says what has happened to a row.
type Kind int

// The kinds of changes.
const (
	Added Kind = iota
	Changed
	Removed
)

// Counts are how many rows there are of each kind.
type Counts struct{ Added, Changed, Removed, Unchanged int64 }

// ErrTwice: an id is that of two rows of one file.
var ErrTwice = errors.New("two rows have the same id")

// Source gives the rows of a file. Id and row are valid until the next call; io.EOF after the last row.
type Source interface {
	Next() (id, row []byte, err error)
}

// Store keeps runs.
type Store interface {
	// Write keeps what fn writes, and gives a name for it.
	Write(fn func(io.Writer) error) (name string, err error)
	Read(name string) (io.ReadCloser, error)
	// Forget says that a run is needed no more.
	Forget(name string)
}

// Config is what a comparison needs besides the two files.
type Config struct {
	// MaxBytes bounds the rows that are kept in memory. Within it fits one row at least.
	MaxBytes int
	// MaxRuns bounds the runs that are merged at a time, and so are open; at least 2.
	MaxRuns int
	Runs    Store
	// Emit gets each row that is not as it was, as it is now or, if it was removed, as it was. Each id comes
	// once: changed rows as they are met, the others, by id, in the end; all that was written down by id in
	// the end, too. It does not keep row.
	Emit func(kind Kind, row []byte) error
}

// side is one of the two files.
type side byte

const (
	before side = iota
	after
)

func (s side) other() side { return 1 - s }

// kept is a row that has not been met on the other side.
type kept struct {
	id   string
	side side
	row  []byte
}

// keptOverhead is what a kept row takes besides its bytes, about.
const keptOverhead = 128

func byID(a, b kept) int { return cmp.Or(strings.Compare(a.id, b.id), cmp.Compare(a.side, b.side)) }

type differ struct {
	ctx    context.Context
	cfg    Config
	counts Counts
	kept   map[string]kept
	bytes  int
	runs   []run
}

// Compare compares two files. ctx ends it between rows.
func Compare(ctx context.Context, earlier, later Source, cfg Config) (Counts, error) {
	d := &differ{ctx: ctx, cfg: cfg, kept: map[string]kept{}}
	defer d.forget()
	if err := d.walk([2]Source{before: earlier, after: later}); err != nil {
		return d.counts, err
	}
	return d.counts, d.rest()
}

// walk reads both files by turns: so a row is apart from itself by the rows that were added or removed before
// it, and no more.
func (d *differ) walk(sources [2]Source) error {
	var ended [2]bool
	at := before
	for !ended[before] || !ended[after] {
		if ended[at] {
			at = at.other()
		}
		id, row, err := sources[at].Next()
		if err == io.EOF {
			ended[at] = true
			continue
		}
		if err != nil {
			return err
		}
		if err := d.meet(at, id, row); err != nil {
			return err
		}
		at = at.other()
	}
	return d.ctx.Err()
}

// meet takes a row, which has been met on the other side, or is kept until it is.
func (d *differ) meet(at side, id, row []byte) error {
	k, there := d.kept[string(id)]
	switch {
	case there && k.side == at:
		return fmt.Errorf("id %q: %w", id, ErrTwice)
	case there:
		delete(d.kept, k.id)
		d.bytes -= k.size()
		if at == after {
			return d.pair(k.row, row)
		}
		return d.pair(row, k.row)
	}
	k = kept{id: string(id), side: at, row: bytes.Clone(row)}
	d.kept[k.id] = k
	d.bytes += k.size()
	if d.bytes <= d.cfg.MaxBytes {
		return nil
	}
	return d.spill()
}

func (k kept) size() int { return len(k.id) + len(k.row) + keptOverhead }

// pair takes a row as it was and as it is.
func (d *differ) pair(was, is []byte) error {
	if bytes.Equal(was, is) {
		d.counts.Unchanged++
		return nil
	}
	d.counts.Changed++
	return d.cfg.Emit(Changed, is)
}

// single takes a row that is on one side alone.
func (d *differ) single(k kept) error {
	if k.side == before {
		d.counts.Removed++
		return d.cfg.Emit(Removed, k.row)
	}
	d.counts.Added++
	return d.cfg.Emit(Added, k.row)
}

// rest says what became of the rows that have not been met in memory.
func (d *differ) rest() error {
	if len(d.runs) == 0 {
		return d.drain(d.single)
	}
	if err := d.spill(); err != nil {
		return err
	}
	return d.merge(d.single)
}

// drain gives fn all that was kept, by id.
func (d *differ) drain(fn func(kept) error) error {
	list := slices.SortedFunc(maps.Values(d.kept), byID)
	clear(d.kept)
	d.bytes = 0
	for _, k := range list {
		if err := fn(k); err != nil {
			return err
		}
	}
	return nil
}
