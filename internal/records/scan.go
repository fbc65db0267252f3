package records

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"exportd/internal/backoff"
	"exportd/internal/connection"
	"exportd/internal/panics"
	"exportd/internal/vip"
	"exportd/internal/vip/wire"
)

// Bounds of what a scan holds in memory ahead of its consumer: four batches in the queue, one being filled
// and one being consumed. A batch ends at 256 rows or once it has 256 KiB, so a scan of ordinary rows holds
// about 1.5 MiB, and one of documents of 1 MiB each, the largest there are, under 8 MiB.
const (
	queuedBatches = 4
	batchRows     = 256
	batchBytes    = 256 << 10
)

// DefaultPageSize is the number of rows asked for at once. Production ends a stream after about 60 s: at the
// 8,000 rows/s of one stream a page takes 2.5 s, so that the limit is met only when the consumer is very
// slow.
const DefaultPageSize = 20_000

// Options are the choices of a scan. The zero value is fine.
type Options struct {
	PageSize int // rows per request; default DefaultPageSize
	// Waited, if set, is kept at how long rows were waited for; whoever gets the rows may read it.
	Waited *time.Duration

	fields []string // fetch only these fields; the sort field must be among them
}

// Scan calls row with every document of q in rng, as of the time at (zero is now, which is for lists only:
// pages then see different times), in the order of the query. row gets the bytes of a
// google.firestore.v1.Document, valid until it returns; it is called from one goroutine, the caller's.
//
// Rows are fetched in pages, ahead of row and within bounds. A stream that breaks, stalls or is ended by the
// server goes on after the last row that it gave; tries are bounded, and begin anew whenever a row arrives.
// Every row is checked to follow the one before it. When Scan returns nothing runs any more.
//
// An error of row ends the scan and is returned as it is.
func (r *Reader) Scan(ctx context.Context, q vip.Query, rng vip.Range, at time.Time, opts Options, row func(doc []byte) error) error {
	if q.Sandbox {
		return r.sandbox(ctx, q, rng, func(doc []byte, _ vip.Position) error { return row(doc) })
	}
	if opts.PageSize <= 0 {
		opts.PageSize = DefaultPageSize
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &scan{
		r: r, q: q, rng: rng, at: at, opts: opts, keys: q.Keys(),
		full: make(chan *batch, queuedBatches),
		free: make(chan *batch, queuedBatches+2),
	}
	var wg sync.WaitGroup
	var fetchErr error
	wg.Go(func() {
		defer close(s.full)
		fetchErr = panics.Do(func() error { return s.fetch(ctx) })
	})
	var rowErr error
	for {
		b, more := s.take()
		if !more {
			break
		}
		for i := range b.docs {
			if rowErr == nil {
				rowErr = row(b.docs[i])
			}
			b.bufs[i].Free()
		}
		if rowErr != nil {
			cancel()
		}
		b.reset()
		s.free <- b // never blocks: there are no more batches than it has room for
	}
	wg.Wait()
	cancel()
	if rowErr != nil {
		return rowErr
	}
	return fetchErr
}

// batch is rows on their way to the consumer.
type batch struct {
	docs [][]byte     // parts of bufs
	bufs []mem.Buffer // one for each document
	size int
}

func (b *batch) reset() {
	clear(b.docs)
	clear(b.bufs)
	b.docs, b.bufs, b.size = b.docs[:0], b.bufs[:0], 0
}

// scan is the fetching side of one Scan.
type scan struct {
	r    *Reader
	q    vip.Query
	rng  vip.Range
	at   time.Time
	opts Options

	full chan *batch // to the consumer
	free chan *batch // back from it
	made int         // batches made so far

	keys    *vip.Keys
	started bool // a row has arrived: key and id are the last one's
	key, id []byte
}

// take gives the consumer the next batch. The clock is read only where there is none yet.
func (s *scan) take() (b *batch, more bool) {
	select {
	case b, more = <-s.full:
		return b, more
	default:
	}
	begun := time.Now()
	b, more = <-s.full
	if s.opts.Waited != nil {
		*s.opts.Waited += time.Since(begun)
	}
	return b, more
}

// fetch gets page after page.
func (s *scan) fetch(ctx context.Context) error {
	pauses := backoff.Doubling(s.r.backoff, maxPause)
	for try := 1; ; {
		rows, err := s.page(ctx)
		if rows > 0 {
			try = 1
			pauses.Reset()
		}
		switch {
		case err == nil && rows < s.opts.PageSize:
			return nil
		case err == nil:
			continue
		case ctx.Err() != nil || !transient(err) || try == maxAttempts:
			return classify(ctx, "scan "+s.q.Collection, err)
		}
		if err := pauses.Wait(ctx); err != nil {
			return fmt.Errorf("scan %s: %w", s.q.Collection, err)
		}
		try++
	}
}

// request is the query for the page after the last row.
func (s *scan) request() (*firestorepb.RunQueryRequest, error) {
	sq, err := s.r.structured(s.q, s.rng)
	if err != nil {
		return nil, err
	}
	if s.started {
		last := &vip.Position{Key: s.key, ID: string(s.id)}
		if sq.StartAt, err = s.r.cursor(s.q, last, false); err != nil {
			return nil, err
		}
	}
	limitTo(sq, s.opts.PageSize)
	if len(s.opts.fields) > 0 {
		project(sq, s.opts.fields...)
	}
	return s.r.runRequest(sq, s.at), nil
}

// page sends the rows of one request to the consumer and says how many there were, also where it fails in
// between.
func (s *scan) page(ctx context.Context) (rows int, err error) {
	req, err := s.request()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(s.r.stall, func() { cancel(connection.ErrSilent) })
	defer stalled.Stop()
	stream, err := s.r.runQuery(ctx, req)
	if err != nil {
		return 0, err
	}
	for {
		b := s.batch()
		stalled.Reset(s.r.stall)
		err := s.fill(stream, b)
		stalled.Stop() // a slow consumer is not a stalled stream
		rows += len(b.docs)
		s.full <- b // the consumer takes every batch, also after its error
		switch {
		case err == io.EOF:
			return rows, nil
		case err != nil:
			return rows, err
		}
	}
}

// batch returns an empty batch, a used one where there is one.
func (s *scan) batch() *batch {
	if s.made < cap(s.free) {
		select {
		case b := <-s.free:
			return b
		default:
			s.made++
			return &batch{docs: make([][]byte, 0, batchRows), bufs: make([]mem.Buffer, 0, batchRows)}
		}
	}
	return <-s.free
}

// fill receives rows into b until it is full or the stream ends.
func (s *scan) fill(stream grpc.ClientStream, b *batch) error {
	var f frame
	for len(b.docs) < batchRows && b.size < batchBytes {
		if err := stream.RecvMsg(&f); err != nil {
			return err
		}
		doc, _, err := wire.Response(f.buf.ReadOnlyData())
		if err == nil && doc != nil {
			err = s.advance(doc)
		}
		if err != nil || doc == nil { // without a document it is progress only
			f.buf.Free()
			if err != nil {
				return err
			}
			continue
		}
		b.docs = append(b.docs, doc)
		b.bufs = append(b.bufs, f.buf)
		b.size += f.buf.Len()
	}
	return nil
}

// advance notes doc as the last row, if it follows the one before.
func (s *scan) advance(doc []byte) error {
	key, id, err := s.keys.Of(doc)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOrder, err)
	}
	if s.started && !s.q.Follows(s.key, s.id, key, id) {
		return fmt.Errorf("%w: document %s", ErrOrder, id)
	}
	s.started = true
	s.key = append(s.key[:0], key...)
	s.id = append(s.id[:0], id...)
	return nil
}
