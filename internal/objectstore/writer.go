package objectstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/storage"

	"exportd/internal/objectstore/crc32c"
	"exportd/jobs"
)

func apply(a jobs.ObjectAttrs, o *storage.ObjectAttrs) {
	o.ContentType, o.ContentDisposition, o.CacheControl, o.Metadata = a.ContentType, a.ContentDisposition, a.CacheControl, a.Metadata
}

func objectOf(a *storage.ObjectAttrs) jobs.Object {
	return jobs.Object{Name: a.Name, Generation: a.Generation, Size: a.Size, CRC32C: a.CRC32C, Created: a.Created}
}

// smallObjectBytes is up to what size a writer waits for the end of the object. Most exports are smaller, and
// then go out in one request of their own size, without the buffer of a whole chunk that the client makes for
// each upload.
const smallObjectBytes = 1 << 20

const (
	// chunkTransferTimeout and chunkRetryDeadline are for one chunk: a try, and all its tries.
	chunkTransferTimeout = 60 * time.Second
	chunkRetryDeadline   = 120 * time.Second
)

// writer is a jobs.ObjectWriter.
type writer struct {
	store  *Store
	name   string
	attrs  jobs.ObjectAttrs
	ctx    context.Context // of the upload, which goes on between calls
	cancel context.CancelCauseFunc
	stall  *time.Timer

	small    *bytes.Buffer   // what has been written, while that is little
	large    *storage.Writer // takes the bytes once they are more
	failures int             // since the last progress; used by the upload's goroutine only
	size     int64
	crc      uint32
	err      error
	ended    bool
}

// Create begins a new object; nothing is sent before there is a megabyte or Commit. ctx covers the whole
// upload: when it ends, the upload is aborted.
func (s *Store) Create(ctx context.Context, name string, attrs jobs.ObjectAttrs) jobs.ObjectWriter {
	w := &writer{store: s, name: name, attrs: attrs, small: smallBuffers.Get().(*bytes.Buffer)}
	w.small.Reset()
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.stall = time.AfterFunc(s.cfg.StallTimeout, func() { w.cancel(errStalled) })
	w.stall.Stop()
	return w
}

// Write adds p. An error is final; it is also returned by Commit.
func (w *writer) Write(p []byte) (int, error) {
	if w.err != nil || w.ended {
		return 0, errors.Join(w.err, w.useAfterEnd())
	}
	if w.small != nil && w.small.Len()+len(p) <= smallObjectBytes {
		w.add(p)
		return w.small.Write(p)
	}
	if w.small != nil {
		w.large = w.open(w.store.cfg.ChunkBytes)
		if err := w.send(w.small.Bytes()); err != nil {
			return 0, err
		}
		w.dropBuffer()
	}
	if err := w.send(p); err != nil {
		return 0, err
	}
	w.add(p)
	return len(p), nil
}

func (w *writer) useAfterEnd() error {
	if w.ended {
		return fmt.Errorf("write %s: the writer has ended", w.name)
	}
	return nil
}

func (w *writer) add(p []byte) {
	w.size += int64(len(p))
	w.crc = crc32c.Update(w.crc, p)
}

// send hands p to the upload. The stall timer runs only while the upload is what the caller waits for.
func (w *writer) send(p []byte) error {
	w.stall.Reset(w.store.cfg.StallTimeout)
	defer w.stall.Stop()
	if _, err := w.large.Write(p); err != nil {
		w.err = w.store.missing(w.ctx, w.store.explain(w.ctx, "write", w.name, err))
		w.cancel(w.err)
	}
	return w.err
}

// open starts the client's writer. Its retries of the first request know no limit but the context, so that
// failures are counted here; chunks have a deadline of their own as well.
func (w *writer) open(chunk int) *storage.Writer {
	object := w.store.bucket.Object(w.name).If(storage.Conditions{DoesNotExist: true}).
		Retryer(storage.WithPolicy(storage.RetryAlways), storage.WithBackoff(w.store.backoff()), storage.WithErrorFunc(func(err error) bool {
			if !retryable(err) {
				return false
			}
			w.failures++
			return w.failures < maxAttempts
		}))
	out := object.NewWriter(w.ctx)
	apply(w.attrs, &out.ObjectAttrs)
	out.ChunkSize = chunk
	out.ChunkTransferTimeout, out.ChunkRetryDeadline = chunkTransferTimeout, chunkRetryDeadline
	out.ProgressFunc = func(int64) { w.failures = 0 }
	return out
}

// Commit ends the object and returns what Storage holds, compared with what was written. ctx bounds this call
// only. After an error there is no object, unless the error is ErrUnavailable: then nobody knows, and a later
// Attrs can tell. An object with other bytes than written is removed again.
func (w *writer) Commit(ctx context.Context) (jobs.Object, error) {
	if err := errors.Join(w.err, w.useAfterEnd()); err != nil {
		w.Abort()
		return jobs.Object{}, err
	}
	defer context.AfterFunc(ctx, func() { w.cancel(context.Cause(ctx)) })()
	defer w.Abort()
	w.stall.Reset(w.store.cfg.StallTimeout)
	err := w.finish()
	w.ended = true
	w.stall.Stop()
	var got jobs.Object
	if err == nil {
		got = objectOf(w.large.Attrs())
	} else {
		err = w.store.missing(ctx, w.store.explain(w.ctx, "write", w.name, err))
		if !errors.Is(err, jobs.ErrExists) && !errors.Is(err, ErrUnavailable) {
			return jobs.Object{}, err
		}
		// It may be there all the same: the last answer was lost, or its repetition met our own object.
		found, errFound := w.store.Attrs(ctx, w.name)
		if errFound != nil || found.Size != w.size || found.CRC32C != w.crc {
			return jobs.Object{}, err
		}
		got = found
	}
	if got.Size != w.size || got.CRC32C != w.crc {
		err := mismatch(w.name, got, w.size, w.crc)
		return jobs.Object{}, errors.Join(err, w.store.deleteGeneration(context.WithoutCancel(ctx), got))
	}
	return got, nil
}

func (w *writer) finish() error {
	if w.small != nil {
		// One more than the size makes the client send it in one request.
		w.large = w.open(w.small.Len() + 1)
		w.large.SendCRC32C, w.large.CRC32C = true, w.crc
		if _, err := w.large.Write(w.small.Bytes()); err != nil {
			return errors.Join(err, w.large.Close())
		}
	}
	return w.large.Close()
}

// Abort ends the writer without an object, and waits until nothing more is sent.
func (w *writer) Abort() {
	w.cancel(context.Canceled) // before Close, which would publish what has come so far
	w.stall.Stop()
	if !w.ended && w.large != nil {
		_ = w.large.Close() // reports the cancellation
	}
	w.ended = true
	w.dropBuffer()
}

func (w *writer) dropBuffer() {
	if w.small != nil {
		smallBuffers.Put(w.small)
		w.small = nil
	}
}
