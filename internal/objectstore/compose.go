package objectstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"cloud.google.com/go/storage"
	"golang.org/x/sync/errgroup"

	"exportd/internal/panics"
	"exportd/jobs"
)

const (
	// maxComposeSources is Storage's limit for one request.
	maxComposeSources = 32
	// composeWorkers is how many requests of one level of the tree are under way.
	composeWorkers = 4
)

// Compose makes dst of the sources' bytes, laid end to end, without moving them, and checks that the result
// has wantSize bytes with CRC32C wantCRC (see crc32c.Combine); if not, it is removed and the error is
// ErrMismatch. A missing source is jobs.ErrNotFound, a missing bucket jobs.ErrNoBucket.
//
// More than 32 sources go through intermediate objects named dst+".compose/...", removed afterwards. It may
// be run again after a crash or an error, with the same sources, also when dst is there already.
func (s *Store) Compose(ctx context.Context, dst string, srcs []string, attrs jobs.ObjectAttrs, wantSize int64, wantCRC uint32) (jobs.Object, error) {
	if len(srcs) == 0 {
		return jobs.Object{}, fmt.Errorf("compose %s: no sources", dst)
	}
	got, err := s.Attrs(ctx, dst)
	if errors.Is(err, jobs.ErrNotFound) {
		got, err = s.composeTree(ctx, dst, srcs, attrs)
		if errors.Is(err, jobs.ErrNotFound) { // of another who composes the same, has ended and removed what both had made?
			if there, gone := s.Attrs(ctx, dst); gone == nil {
				got, err = there, nil
			}
		}
		err = s.missing(ctx, err)
	} else if err == nil && (got.Size != wantSize || got.CRC32C != wantCRC) {
		return jobs.Object{}, fmt.Errorf("compose %s: %w", dst, jobs.ErrExists)
	}
	if err != nil {
		return jobs.Object{}, err
	}
	if got.Size != wantSize || got.CRC32C != wantCRC {
		return jobs.Object{}, errors.Join(mismatch(dst, got, wantSize, wantCRC), s.deleteGeneration(context.WithoutCancel(ctx), got))
	}
	if len(srcs) > maxComposeSources {
		if _, err := s.DeletePrefix(ctx, intermediates(dst)); err != nil {
			return jobs.Object{}, err
		}
	}
	return got, nil
}

func intermediates(dst string) string { return dst + ".compose/" }

// composeTree composes groups of 32 until 32 or fewer are left. Intermediate objects may be overwritten:
// whoever composes them again composes the same bytes.
func (s *Store) composeTree(ctx context.Context, dst string, srcs []string, attrs jobs.ObjectAttrs) (jobs.Object, error) {
	for level := 1; len(srcs) > maxComposeSources; level++ {
		next := make([]string, (len(srcs)+maxComposeSources-1)/maxComposeSources)
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(composeWorkers)
		for i := range next {
			part := srcs[i*maxComposeSources : min((i+1)*maxComposeSources, len(srcs))]
			if len(part) == 1 {
				next[i] = part[0]
				continue
			}
			next[i] = fmt.Sprintf("%s%d-%05d", intermediates(dst), level, i)
			group.Go(panics.Task(func() error {
				_, err := s.compose(groupCtx, s.bucket.Object(next[i]), part, attrs)
				return err
			}))
		}
		if err := group.Wait(); err != nil {
			return jobs.Object{}, err
		}
		srcs = next
	}
	got, err := s.compose(ctx, s.bucket.Object(dst).If(storage.Conditions{DoesNotExist: true}), srcs, attrs)
	if status(err) == http.StatusPreconditionFailed {
		return s.Attrs(ctx, dst) // ours, after a lost answer; the caller compares
	}
	return got, err
}

func (s *Store) compose(ctx context.Context, dst *storage.ObjectHandle, srcs []string, attrs jobs.ObjectAttrs) (jobs.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	handles := make([]*storage.ObjectHandle, len(srcs))
	for i, name := range srcs {
		handles[i] = s.bucket.Object(name)
	}
	composer := dst.ComposerFrom(handles...)
	apply(attrs, &composer.ObjectAttrs)
	a, err := composer.Run(ctx)
	if err != nil {
		return jobs.Object{}, s.explain(ctx, "compose", dst.ObjectName(), err)
	}
	return objectOf(a), nil
}
