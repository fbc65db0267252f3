package storageserver

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"exportd/internal/localcloud/disk"
	"exportd/internal/objectstore/crc32c"
)

// segment is a run of bytes in a file of its own or, if Small, in the index. An uploaded object has one, a
// composite those of its sources, so composing moves no bytes.
type segment struct {
	ID    int64 `json:"id"`
	Size  int64 `json:"size"`
	Small bool  `json:"small,omitempty"`
}

// blobs owns the segments. One is written once, and counts for nothing until an object record or an open
// upload names it; those that nothing names are removed when the server starts.
type blobs struct {
	files
	db   *pebble.DB
	room func() error // why nothing can be written, nil mostly

	mu    sync.Mutex
	extra map[int64]int // users of a segment beyond the first; one that is not here has one
}

// smallBytes is up to what size an object's bytes go into the index, in the same synced write as its record.
// That takes one sync instead of three.
const smallBytes = 32 << 10

// copyBufferBytes is the unit in which bodies are read, hashed and written: large enough that system calls do
// not show, small enough for hundreds of uploads at once.
const copyBufferBytes = 256 << 10

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copyBufferBytes); return &b }}

// checkFreeEvery is how many bytes are written between looks at the free space.
const checkFreeEvery = 16 << 20

func (b *blobs) checkFree() error {
	err := b.room()
	if full, ok := errors.AsType[*disk.FullError](err); ok {
		return diskFull(full.Error())
	}
	return err
}

// sweep removes what keep does not know: what a killed server was in the middle of.
func (b *blobs) sweep(keep map[int64]bool) (removed int, err error) {
	err = scan(b.db, []byte("d"), []byte("e"), func(key, _ []byte) error {
		var id int64
		if _, err := fmt.Sscanf(string(key), "d%016x", &id); err == nil && keep[id] {
			return nil
		}
		removed++
		return b.db.Delete(slices.Clone(key), pebble.NoSync)
	})
	if err != nil {
		return removed, err
	}
	n, err := b.files.sweep(keep)
	return removed + n, err
}

// share adds a user to the files that find returns. find must read them from a committed record: that, and
// the order "remove the record, then release", is why they cannot vanish in between.
func (b *blobs) share(find func() ([]segment, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	segs, err := find()
	for _, s := range segs {
		b.extra[s.ID]++
	}
	return err
}

// release takes a user from each file and removes the files that have none left.
func (b *blobs) release(segs []segment) error {
	var errs []error
	for _, s := range segs {
		b.mu.Lock()
		n := b.extra[s.ID]
		if n > 1 {
			b.extra[s.ID] = n - 1
		} else {
			delete(b.extra, s.ID)
		}
		b.mu.Unlock()
		switch {
		case n > 0:
		case s.Small:
			errs = append(errs, b.db.Delete(smallKey(s.ID), pebble.NoSync))
		default:
			errs = append(errs, b.remove(s.ID))
		}
	}
	return errors.Join(errs...)
}

// digest is what is known of a run of bytes that may still grow.
type digest struct {
	size int64
	crc  uint32
	md5  hash.Hash // nil of a composite, which has none
	// known is the MD5 of bytes that were not added here: those of a copy.
	known []byte
}

func (d *digest) add(p []byte) {
	d.size += int64(len(p))
	d.crc = crc32c.Update(d.crc, p)
	if d.md5 != nil {
		d.md5.Write(p)
	}
}

// sum is the MD5 as the API has it, "" of a composite.
func (d *digest) sum() string {
	if d.md5 != nil {
		return base64.StdEncoding.EncodeToString(d.md5.Sum(nil))
	}
	return base64.StdEncoding.EncodeToString(d.known)
}

// check compares with what the client declared, as base64; empty means not declared.
func (d *digest) check(wantCRC, wantMD5 string) error {
	if got := encodeCRC(d.crc); wantCRC != "" && wantCRC != got {
		return badRequest("Provided CRC32C %q doesn't match calculated CRC32C %q.", wantCRC, got)
	}
	if wantMD5 == "" {
		return nil
	}
	if got := d.sum(); wantMD5 != got {
		return badRequest("Provided MD5 hash %q doesn't match calculated MD5 hash %q.", wantMD5, got)
	}
	return nil
}

// appendTo appends r to the file of id, which holds d.size bytes, and keeps d in step with the file, also
// when it fails half way: a file is never longer than d says.
func (b *blobs) appendTo(id int64, d *digest, r io.Reader) error {
	if err := b.checkFree(); err != nil {
		return err
	}
	f, err := b.edit(id)
	if err != nil {
		return storageError("open object file", err)
	}
	defer func() { _ = f.Close() }() // write errors show in WriteAt and sync
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for unchecked := 0; ; {
		n, readErr := fill(*buf, r)
		if n > 0 {
			if _, err := f.WriteAt((*buf)[:n], d.size); err != nil {
				return errors.Join(storageError("write object file", err), f.Truncate(d.size))
			}
			d.add((*buf)[:n])
		}
		if unchecked += n; unchecked >= checkFreeEvery {
			if err := b.checkFree(); err != nil {
				return err
			}
			unchecked = 0
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return errBrokenBody
		}
	}
}

// fill is io.ReadFull that keeps the error of r: a body that was cut off must not look like its end.
func fill(p []byte, r io.Reader) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// sync makes the file of id and its name survive a power failure.
func (b *blobs) sync(id int64) error {
	if err := b.files.sync(id); err != nil {
		return storageError("sync object file", err)
	}
	return nil
}

// reader reads segments as one run of bytes. It holds one open at a time.
type reader struct {
	blobs *blobs
	segs  []segment
	size  int64

	pos   int64
	open  io.ReaderAt // the segment at index, nil until it is needed
	index int
	start int64 // where the segment at index starts
}

func (b *blobs) reader(segs []segment) *reader {
	r := &reader{blobs: b, segs: segs}
	for _, s := range segs {
		r.size += s.Size
	}
	return r
}

func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	r.pos = offset
	return offset, nil
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.pos >= r.size {
			return 0, io.EOF
		}
		if r.pos < r.start {
			r.index, r.start = 0, 0
			r.closeFile()
		}
		seg := r.segs[r.index]
		if r.pos >= r.start+seg.Size {
			r.start += seg.Size
			r.index++
			r.closeFile()
			continue
		}
		if r.open == nil {
			var err error
			if r.open, err = r.blobs.open(seg); err != nil {
				return 0, err
			}
		}
		n, err := r.open.ReadAt(p[:min(int64(len(p)), r.start+seg.Size-r.pos)], r.pos-r.start)
		r.pos += int64(n)
		if n > 0 {
			return n, nil
		}
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, fmt.Errorf("read object file: %w", err)
	}
}

func (r *reader) closeFile() {
	if f, ok := r.open.(io.Closer); ok {
		_ = f.Close() // opened for reading
	}
	r.open = nil
}

func (b *blobs) open(s segment) (io.ReaderAt, error) {
	if !s.Small {
		f, err := b.read(s.ID)
		if err != nil {
			return nil, fmt.Errorf("open object file: %w", err)
		}
		return f, nil
	}
	value, closer, err := b.db.Get(smallKey(s.ID))
	if err != nil {
		return nil, fmt.Errorf("read small object: %w", err)
	}
	data := slices.Clone(value)
	return bytes.NewReader(data), closer.Close()
}

// has says whether a segment is there.
func (b *blobs) has(s segment) bool {
	if !s.Small {
		return !b.changed(s.ID).IsZero()
	}
	_, closer, err := b.db.Get(smallKey(s.ID))
	return err == nil && closer.Close() == nil
}

// encodeCRC is the base64 of the big-endian checksum, as the JSON API writes it.
func encodeCRC(crc uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}
