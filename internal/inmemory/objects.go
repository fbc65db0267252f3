package inmemory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"exportd/jobs"
)

// Objects is a bucket. Safe for concurrent use. Its links are to SignedURLHost, which it serves itself.
type Objects struct {
	// NoBucket: even the bucket is missing.
	NoBucket bool

	mu      sync.Mutex
	objects map[string]object
	writes  int64
	key     []byte // of the links
}

type object struct {
	jobs.Object
	attrs jobs.ObjectAttrs
	data  []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewObjects makes an empty bucket.
func NewObjects() *Objects { return &Objects{objects: map[string]object{}, key: newLinkKey()} }

// unfit says why a call gets no answer.
func (s *Objects) unfit(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if s.NoBucket {
		return jobs.Fail(jobs.CodeBucketMissing, jobs.Transient, "the storage for export files is not there", "", jobs.ErrNoBucket)
	}
	return nil
}

// put makes an object, unless another has its name.
func (s *Objects) put(name string, attrs jobs.ObjectAttrs, data []byte) (jobs.Object, error) {
	crc := crc32.Checksum(data, castagnoli)
	if o, ok := s.objects[name]; ok {
		if o.Size != int64(len(data)) || o.CRC32C != crc {
			return jobs.Object{}, fmt.Errorf("write %s: %w", name, jobs.ErrExists)
		}
		return o.Object, nil
	}
	s.writes++
	o := jobs.Object{Name: name, Generation: s.writes, Size: int64(len(data)), CRC32C: crc, Created: time.Now().UTC()}
	s.objects[name] = object{o, attrs, data}
	return o, nil
}

// Create begins an object.
func (s *Objects) Create(ctx context.Context, name string, attrs jobs.ObjectAttrs) jobs.ObjectWriter {
	return &objectWriter{store: s, ctx: ctx, name: name, attrs: attrs}
}

type objectWriter struct {
	store *Objects
	ctx   context.Context // of the whole object
	name  string
	attrs jobs.ObjectAttrs
	data  bytes.Buffer
	ended bool
}

var errWriterEnded = errors.New("the writer has ended")

func (w *objectWriter) Write(p []byte) (int, error) {
	if w.ended {
		return 0, errWriterEnded
	}
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.data.Write(p)
}

func (w *objectWriter) Commit(ctx context.Context) (jobs.Object, error) {
	if w.ended {
		return jobs.Object{}, errWriterEnded
	}
	w.ended = true
	if err := errors.Join(context.Cause(w.ctx), w.store.unfit(ctx)); err != nil {
		return jobs.Object{}, fmt.Errorf("write %s: %w", w.name, err)
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	return w.store.put(w.name, w.attrs, w.data.Bytes())
}

func (w *objectWriter) Abort() { w.ended = true }

// Compose makes an object of others.
func (s *Objects) Compose(ctx context.Context, dst string, sources []string, attrs jobs.ObjectAttrs, size int64, crc uint32) (jobs.Object, error) {
	if err := s.unfit(ctx); err != nil {
		return jobs.Object{}, err
	}
	if len(sources) == 0 {
		return jobs.Object{}, fmt.Errorf("compose %s: no sources", dst)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	got, ok := s.objects[dst]
	if ok && (got.Size != size || got.CRC32C != crc) {
		return jobs.Object{}, fmt.Errorf("compose %s: %w", dst, jobs.ErrExists)
	}
	if !ok {
		var data []byte
		for _, name := range sources {
			o, ok := s.objects[name]
			if !ok {
				return jobs.Object{}, fmt.Errorf("compose %s of %s: %w", dst, name, jobs.ErrNotFound)
			}
			data = append(data, o.data...)
		}
		if int64(len(data)) != size || crc32.Checksum(data, castagnoli) != crc {
			return jobs.Object{}, jobs.Fail(jobs.CodeStorageCorrupt, jobs.Transient, "the file in storage is not the one that was written", "", nil)
		}
		if _, err := s.put(dst, attrs, data); err != nil {
			return jobs.Object{}, err
		}
	}
	maps.DeleteFunc(s.objects, func(name string, _ object) bool { return strings.HasPrefix(name, dst+".compose/") })
	return s.objects[dst].Object, nil
}

// List gives the objects below prefix, as they are when it begins.
func (s *Objects) List(ctx context.Context, prefix string) iter.Seq2[jobs.Object, error] {
	return func(yield func(jobs.Object, error) bool) {
		if err := s.unfit(ctx); err != nil {
			yield(jobs.Object{}, err)
			return
		}
		s.mu.Lock()
		var below []jobs.Object
		for _, name := range slices.Sorted(maps.Keys(s.objects)) {
			if strings.HasPrefix(name, prefix) {
				below = append(below, s.objects[name].Object)
			}
		}
		s.mu.Unlock()
		for _, o := range below {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Delete removes an object.
func (s *Objects) Delete(ctx context.Context, name string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	return nil
}

// DeletePrefix removes all objects below prefix.
func (s *Objects) DeletePrefix(ctx context.Context, prefix string) (int, error) {
	if err := s.unfit(ctx); err != nil {
		return 0, err
	}
	if prefix == "" {
		return 0, errors.New("delete prefix: an empty prefix is the whole bucket")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.objects)
	maps.DeleteFunc(s.objects, func(name string, _ object) bool { return strings.HasPrefix(name, prefix) })
	return before - len(s.objects), nil
}

// Holds reports whether an object is there as it was written.
func (s *Objects) Holds(ctx context.Context, name string, size int64, crc uint32) (bool, error) {
	if err := s.unfit(ctx); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	return ok && o.Size == size && o.CRC32C == crc, nil
}

// NewReader opens an object's bytes.
func (s *Objects) NewReader(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	if err := s.unfit(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	if !ok || offset > o.Size {
		return nil, fmt.Errorf("read %s from %d: %w", name, offset, jobs.ErrNotFound)
	}
	return io.NopCloser(bytes.NewReader(o.data[offset:])), nil
}
