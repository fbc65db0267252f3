package export

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"exportd/jobs"
)

// Sweep deletes what an ended job has left in storage: every object of its epochs but the result of a
// success. Objects of later epochs are not touched: a rerun may have begun since j was read. Deleting what is
// gone already is no error. Where the job says what there can be, its bucket is not listed.
func (e *Exporter) Sweep(ctx context.Context, j *jobs.Job) (deleted int, err error) {
	prefix := j.ObjectPrefix()
	if j.Swept() {
		if j.State == jobs.Succeeded || j.Result.Object == "" {
			return 0, nil
		}
		return 1, e.objects.Delete(ctx, j.Result.Object)
	}
	for obj, err := range e.objects.List(ctx, prefix) {
		if err != nil {
			return deleted, err
		}
		epoch, _, _ := strings.Cut(strings.TrimPrefix(obj.Name, prefix), "/")
		n, perr := strconv.ParseInt(epoch, 10, 64)
		if perr != nil || n > j.Epoch || j.State == jobs.Succeeded && slices.Contains(j.Result.Objects(), obj.Name) {
			continue
		}
		if err := e.objects.Delete(ctx, obj.Name); err != nil {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

// Lost reports whether the file of a succeeded job is not in storage, alone or with its bucket.
func (e *Exporter) Lost(ctx context.Context, j *jobs.Job) (bool, error) {
	there, err := e.objects.Holds(ctx, j.Result.Object, j.Result.Size, j.Result.CRC32C)
	if errors.Is(err, jobs.ErrNoBucket) {
		return true, nil
	}
	return !there && err == nil, err
}

// Discard deletes objects by name, as far as it can: what is left is found by Sweep.
func (e *Exporter) Discard(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := e.objects.Delete(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
