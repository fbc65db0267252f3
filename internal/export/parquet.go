package export

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"exportd/internal/panics"
	"exportd/internal/parquetrow"
	"exportd/jobs"
)

// parquetEncoder is that of Parquet, where each part is a file of its own.
type parquetEncoder struct{ *parquetrow.Encoder }

func (parquetEncoder) AppendHeader(dst []byte) []byte { return dst }

func (e parquetEncoder) AppendEnd(dst []byte, _ bool) ([]byte, error) {
	return e.Encoder.AppendEnd(dst)
}
func (parquetEncoder) Guarded() map[string]int64 { return nil }

const (
	// tailsAtOnce bounds the parts whose ends are read at a time, tailBytes what is read of each at first:
	// the footers of most parts are smaller.
	tailsAtOnce = 8
	tailBytes   = 32 << 10
)

// joinParquet makes the footer that leads to the rows of all parts, from theirs.
func joinParquet(ctx context.Context, objects Objects, _ *jobs.Job, parts []*jobs.Part) ([]byte, error) {
	var join parquetrow.Join
	footers := make([][]byte, tailsAtOnce)
	for rest := parts; len(rest) > 0; {
		some := rest[:min(tailsAtOnce, len(rest))]
		rest = rest[len(some):]
		g, gctx := errgroup.WithContext(ctx)
		for i, p := range some {
			g.Go(panics.Task(func() (err error) {
				footers[i], err = footerOf(gctx, objects, p)
				return err
			}))
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		for i, p := range some {
			before := join.Rows()
			if err := join.Add(footers[i], p.Size); err != nil {
				return nil, notJoined(p, err)
			}
			if n := join.Rows() - before; n != p.Rows {
				return nil, mismatch(p.Rows, n)
			}
		}
	}
	footer, err := join.Footer()
	if err != nil {
		return nil, notJoined(parts[len(parts)-1], err)
	}
	return footer, nil
}

// footerOf reads the footer of a part.
func footerOf(ctx context.Context, objects Objects, p *jobs.Part) ([]byte, error) {
	tail, err := readEnd(ctx, objects, p, min(tailBytes, p.Size))
	if err != nil {
		return nil, err
	}
	n, err := parquetrow.FooterBytes(tail)
	switch {
	case err != nil || n > p.Size:
		return nil, notJoined(p, errors.Join(errors.New("it has no footer"), err))
	case n > int64(len(tail)):
		return readEnd(ctx, objects, p, n)
	}
	return tail[int64(len(tail))-n:], nil
}

// readEnd reads the last n bytes of a part.
func readEnd(ctx context.Context, objects Objects, p *jobs.Part, n int64) ([]byte, error) {
	r, err := objects.NewReader(ctx, p.Object, p.Size-n)
	if missing(err) {
		return nil, partsMissing(err)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	tail := make([]byte, n)
	if _, err := io.ReadFull(r, tail); err != nil {
		return nil, fmt.Errorf("read the end of %s: %w", p.Object, err)
	}
	return tail, nil
}

// notJoined is for a part that is no part of the file.
func notJoined(p *jobs.Part, err error) error {
	if errors.Is(err, parquetrow.ErrTooLarge) {
		return jobs.Fail(jobs.CodeTooManyBytes, jobs.Permanent, "the file would be larger than files of Parquet can be",
			"ask for a smaller window or more filters, or for another format", err)
	}
	return jobs.Fail(jobs.CodePartsMissing, jobs.Stale, "a finished part of the export is not as it was written",
		"find out what changes objects below exports/ while jobs run, stop it, then rerun the job", fmt.Errorf("%s: %w", p.Object, err))
}
