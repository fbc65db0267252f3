package storageserver

import (
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"
)

// memory keeps segments in pieces, so that a file that grows is not copied.
type memory struct {
	mu    sync.RWMutex
	files map[int64]*memoryFile
}

// pieceBytes is the unit in which a file grows, that of the buffers that are written to it.
const pieceBytes = copyBufferBytes

type memoryFile struct {
	mu      sync.RWMutex
	pieces  [][]byte // all of pieceBytes but the last
	size    int64
	written time.Time
}

func newMemory() *memory { return &memory{files: map[int64]*memoryFile{}} }

func (m *memory) find(id int64) *memoryFile {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.files[id]
}

func (m *memory) edit(id int64) (segmentFile, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files[id] == nil {
		m.files[id] = &memoryFile{written: time.Now()}
	}
	return m.files[id], nil
}

func (m *memory) read(id int64) (segmentReader, error) {
	if f := m.find(id); f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("segment %d: %w", id, fs.ErrNotExist)
}

func (m *memory) remove(id int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, id)
	return nil
}

func (m *memory) changed(id int64) time.Time {
	f := m.find(id)
	if f == nil {
		return time.Time{}
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.written
}

func (m *memory) sync(int64) error { return nil }

func (m *memory) sweep(map[int64]bool) (int, error) { return 0, nil } // of an earlier process

// WriteAt implements io.WriterAt, without holes: off is at most the size.
func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off > f.size {
		return 0, fmt.Errorf("write at %d of %d bytes", off, f.size)
	}
	f.written = time.Now()
	done := 0
	for done < len(p) {
		i, in := int(off/pieceBytes), int(off%pieceBytes)
		if i == len(f.pieces) {
			f.pieces = append(f.pieces, nil)
		}
		n := min(len(p)-done, pieceBytes-in)
		if have := len(f.pieces[i]); in+n > have {
			f.pieces[i] = append(f.pieces[i], p[done+have-in:done+n]...)
		}
		copy(f.pieces[i][in:], p[done:done+n])
		done, off = done+n, off+int64(n)
	}
	f.size = max(f.size, off)
	return done, nil
}

// Truncate implements segmentFile. It only makes shorter.
func (f *memoryFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if size >= f.size {
		return nil
	}
	i := int(size / pieceBytes)
	f.pieces[i] = f.pieces[i][:size%pieceBytes]
	clear(f.pieces[i+1:])
	f.pieces, f.size = f.pieces[:i+1], size
	return nil
}

// ReadAt implements io.ReaderAt.
func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	done := 0
	for done < len(p) && off < f.size {
		n := copy(p[done:], f.pieces[off/pieceBytes][off%pieceBytes:])
		done, off = done+n, off+int64(n)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// Close implements io.Closer.
func (f *memoryFile) Close() error { return nil }
