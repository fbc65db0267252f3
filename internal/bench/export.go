package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"cloud.google.com/go/storage"

	"exportd/internal/localcloud"
	"exportd/jobs"
)

// exportLines is line c: an export from its submission to its success, by one worker process with default
// settings, against a plain handler that reads, encodes and uploads one row after the other. Both write the
// same bytes. The other forms of the same rows are against CSV.
func (s *suite) exportLines(ctx context.Context) (_ []line, err error) {
	b, err := s.cloud(ctx)
	if err != nil {
		return nil, err
	}
	f, err := b.startFleet(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	objects, err := storage.NewClient(ctx, localcloud.StorageOptions(b.cfg.StorageHost)...)
	if err != nil {
		return nil, fmt.Errorf("open Cloud Storage: %w", err)
	}
	defer objects.Close()
	var ours, plain samples
	others, sizes := make([]samples, len(forms)), make([]int64, len(forms))
	var job *jobs.Job
	rows := s.sizes.export
	for round := range s.sizes.rounds {
		j, took, err := f.timed(ctx, rows)
		if err != nil {
			return nil, err
		}
		job, ours = j, append(ours, sample{took: took})
		for i, form := range forms {
			j, took, err := f.timedAs(ctx, form, rows)
			if err != nil {
				return nil, err
			}
			others[i], sizes[i] = append(others[i], sample{took: took}), j.Result.Size
		}
		runtime.GC()
		begun := time.Now()
		attrs, err := b.plainExport(ctx, objects, rows, fmt.Sprintf("plain/%d.csv", round))
		if err != nil {
			return nil, fmt.Errorf("plain handler: %w", err)
		}
		plain = append(plain, sample{took: time.Since(begun)})
		if attrs.Size != j.Result.Size || attrs.CRC32C != j.Result.CRC32C {
			return nil, fmt.Errorf("the plain handler wrote %d bytes with crc32c %08x, exportd %d with %08x", attrs.Size, attrs.CRC32C, j.Result.Size, j.Result.CRC32C)
		}
		s.note("export: round %d of %d, ours %s, plain %s", round+1, s.sizes.rounds, took.Round(time.Millisecond), plain[round].took.Round(time.Millisecond))
	}
	raw := func(s samples) string {
		return fmt.Sprintf("%.2f s, %s rows/s", s.median().Seconds(), number(s.rate(rows)))
	}
	what := fmt.Sprintf("export of %s messages, %s MB in %d parts / plain handler", number(rows), number(float64(job.Result.Size)/1e6), max(1, job.PartsTotal))
	lines := []line{{what: what, ours: raw(ours), against: raw(plain), value: ours.faster(plain), format: "%.2f×", target: atLeast(4)}}
	for i, form := range forms {
		what := fmt.Sprintf("the same as %s, %s MB / as CSV", form.name, number(float64(sizes[i])/1e6))
		lines = append(lines, line{what: what, ours: raw(others[i]), against: raw(ours), value: others[i].faster(ours), format: "%.2f×"})
	}
	return lines, nil
}

// plainExport is the obvious handler: official clients as they come, one row after the other.
func (b *bed) plainExport(ctx context.Context, objects *storage.Client, rows int, name string) (*storage.ObjectAttrs, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := objects.Bucket(b.cfg.Bucket).Object(name).NewWriter(ctx)
	w.ContentType = "text/csv; charset=utf-8"
	n, err := plainRows(ctx, b.client, rows, w)
	if err := want(rows)(n, err); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	return w.Attrs(), nil
}
