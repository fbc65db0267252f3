package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"cloud.google.com/go/storage"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/iterator"

	"exportd/internal/panics"
	"exportd/jobs"
)

// Attrs returns what Storage holds under name, or jobs.ErrNotFound.
func (s *Store) Attrs(ctx context.Context, name string) (jobs.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	a, err := s.bucket.Object(name).Attrs(ctx)
	if err != nil {
		return jobs.Object{}, s.explain(ctx, "attributes of", name, err)
	}
	return objectOf(a), nil
}

// Holds reports whether Storage has the object, as large and with the checksum as it was written.
// jobs.ErrNoBucket where not even its bucket is there.
func (s *Store) Holds(ctx context.Context, name string, size int64, crc uint32) (bool, error) {
	o, err := s.Attrs(ctx, name)
	if errors.Is(err, jobs.ErrNotFound) {
		if err = s.missing(ctx, err); !errors.Is(err, jobs.ErrNoBucket) {
			return false, nil
		}
	}
	return err == nil && o.Size == size && o.CRC32C == crc, err
}

// Delete removes the object. One that is missing already is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	return s.delete(ctx, s.bucket.Object(name))
}

// deleteGeneration removes exactly this object, not one that has its name by now.
func (s *Store) deleteGeneration(ctx context.Context, o jobs.Object) error {
	return s.delete(ctx, s.bucket.Object(o.Name).If(storage.Conditions{GenerationMatch: o.Generation}))
}

func (s *Store) delete(ctx context.Context, o *storage.ObjectHandle) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	if err := o.Delete(ctx); err != nil && !errors.Is(err, storage.ErrObjectNotExist) {
		return s.explain(ctx, "delete", o.ObjectName(), err)
	}
	return nil
}

// deleteWorkers is how many deletes DeletePrefix has under way; each is one round trip.
const deleteWorkers = 8

// DeletePrefix removes all objects whose names begin with prefix, which must not be empty, and returns how
// many there were. Run again after an error, it goes on.
func (s *Store) DeletePrefix(ctx context.Context, prefix string) (int, error) {
	if prefix == "" {
		return 0, errors.New("delete prefix: an empty prefix is the whole bucket")
	}
	var n atomic.Int64
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(deleteWorkers)
	var listErr error
	for o, err := range s.List(groupCtx, prefix) {
		if err != nil {
			listErr = err
			break
		}
		group.Go(panics.Task(func() error {
			err := s.Delete(groupCtx, o.Name)
			if err == nil {
				n.Add(1)
			}
			return err
		}))
	}
	if err := group.Wait(); err != nil { // it is what cut the list short
		listErr = err
	}
	return int(n.Load()), listErr
}

// List gives the objects whose names begin with prefix, in the order of their names. After an error there is
// nothing more.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[jobs.Object, error] {
	return func(yield func(jobs.Object, error) bool) {
		query := &storage.Query{Prefix: prefix, Projection: storage.ProjectionNoACL}
		for token, more := "", true; more; more = token != "" {
			page, next, err := s.page(ctx, query, token)
			if err != nil {
				yield(jobs.Object{}, err)
				return
			}
			token = next
			for _, a := range page {
				if !yield(objectOf(a), nil) {
					return
				}
			}
		}
	}
}

// listPage is Storage's largest page.
const listPage = 1000

// page has a deadline for each page, however long the caller takes between them.
func (s *Store) page(ctx context.Context, q *storage.Query, token string) (page []*storage.ObjectAttrs, next string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	next, err = iterator.NewPager(s.bucket.Objects(ctx, q), listPage, token).NextPage(&page)
	if err != nil {
		return nil, "", s.explain(ctx, "list", q.Prefix, err)
	}
	return page, next, nil
}

// NewReader opens the object's bytes from offset on. Broken connections are taken up again where they broke,
// on the same generation; a read without progress for Config.StallTimeout fails. ctx covers the whole read.
// The reader must be closed.
func (s *Store) NewReader(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &objectReader{store: s, name: name, ctx: ctx, cancel: cancel}
	r.stall = time.AfterFunc(s.cfg.StallTimeout, func() { cancel(errStalled) })
	defer r.stall.Stop()
	body, err := s.bucket.Object(name).NewRangeReader(ctx, offset, -1)
	if err != nil {
		err = s.explain(ctx, "read", name, err)
		cancel(nil)
		return nil, err
	}
	r.body = body
	return r, nil
}

type objectReader struct {
	store  *Store
	name   string
	ctx    context.Context // of the download, which goes on between calls
	cancel context.CancelCauseFunc
	stall  *time.Timer
	body   *storage.Reader
}

func (r *objectReader) Read(p []byte) (int, error) {
	r.stall.Reset(r.store.cfg.StallTimeout)
	defer r.stall.Stop()
	n, err := r.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.store.explain(r.ctx, "read", r.name, err)
	}
	return n, err
}

func (r *objectReader) Close() error {
	r.stall.Stop()
	defer r.cancel(nil)
	if err := r.body.Close(); err != nil {
		return fmt.Errorf("close %s: %w", r.name, err)
	}
	return nil
}
