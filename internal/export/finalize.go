package export

import (
	"context"
	"errors"
	"fmt"

	"exportd/internal/objectstore/crc32c"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// Compose lays the parts end to end to the object named dst, and behind them what the format ends with, and
// proves the result: rows as counted, size and checksum as the parts' add up to. It may be run again after a
// crash. With the result it gives the objects that the file is made of.
func (e *Exporter) Compose(ctx context.Context, j *jobs.Job, parts []*jobs.Part, dst string) (_ jobs.Result, objects []string, err error) {
	ctx, span := tracing.Start(ctx, tracing.Step{Name: "compose", Attrs: []tracing.Attr{tracing.Parts(len(parts))}})
	defer func() { endSpan(span, err) }()
	f, err := formOf(j.Params)
	if err != nil {
		return jobs.Result{}, nil, err
	}
	return e.compose(ctx, f, j, parts, dst)
}

func (e *Exporter) compose(ctx context.Context, f form, j *jobs.Job, parts []*jobs.Part, dst string) (_ jobs.Result, names []string, err error) {
	res, err := sum(j, parts)
	if err != nil {
		return res, nil, err
	}
	res.Object = dst
	if res.GuardedBy != nil {
		res.GuardedBy.Object = dst
	}
	for _, p := range parts {
		names = append(names, p.Object)
	}
	if f.finish != nil {
		end, err := e.writeEnd(ctx, f, j, parts, dst+endSuffix)
		if err != nil {
			return res, nil, err
		}
		names = append(names, end.Name)
		res.CRC32C = crc32c.Combine(res.CRC32C, end.CRC32C, end.Size)
		res.Size += end.Size
	}
	if e.cfg.MaxBytes > 0 && res.Size > e.cfg.MaxBytes {
		return res, names, e.tooManyBytes()
	}
	obj, err := e.objects.Compose(ctx, dst, names, f.attrs(j, res.Rows), res.Size, res.CRC32C)
	if missing(err) {
		return res, names, partsMissing(err)
	}
	if err != nil {
		return res, names, err
	}
	res.Generation = obj.Generation
	return res, names, nil
}

// endSuffix is behind the name of the file in that of the object with its end.
const endSuffix = ".end"

// writeEnd writes what follows the parts. Where that was done before a crash or an error, the same bytes have
// the name already.
func (e *Exporter) writeEnd(ctx context.Context, f form, j *jobs.Job, parts []*jobs.Part, name string) (jobs.Object, error) {
	end, err := f.finish(ctx, e.objects, j, parts)
	if err != nil {
		return jobs.Object{}, err
	}
	w := e.objects.Create(ctx, name, jobs.ObjectAttrs{ContentType: f.contentType})
	defer w.Abort()
	if _, err := w.Write(end); err != nil {
		return jobs.Object{}, err
	}
	return w.Commit(ctx)
}

// sum adds the parts up, which must be all of the plan, done and in order.
func sum(j *jobs.Job, parts []*jobs.Part) (res jobs.Result, err error) {
	if len(parts) != j.PartsTotal {
		return res, damagedPlan(j)
	}
	edge, guarded := "", map[string]int64{}
	for i, p := range parts {
		if p.Index != i || p.State != jobs.PartDone || p.From != edge {
			return res, damagedPlan(j) // also one that does not begin where the one before ends
		}
		edge = p.To
		res.CRC32C = crc32c.Combine(res.CRC32C, p.CRC32C, p.Size)
		res.Rows += p.Rows
		res.Size += p.Size
		res.GuardedCells += p.Guarded
		res.RescuedValues += p.Rescued
		if by, known := p.GuardedBy.Of(p.Object, p.Guarded); known && guarded != nil {
			for name, n := range by {
				guarded[name] += n
			}
		} else {
			guarded = nil // of one part at least nobody knows: a build before has written it
		}
	}
	if edge != "" {
		return res, damagedPlan(j)
	}
	_, res.GuardedBy = jobs.CountGuarded("", guarded)
	if res.Rows != j.RowsTotal {
		return res, mismatch(j.RowsTotal, res.Rows)
	}
	return res, nil
}

// missing reports whether an error says that an object is not there, and its bucket is.
func missing(err error) bool {
	return errors.Is(err, jobs.ErrNotFound) && !errors.Is(err, jobs.ErrNoBucket)
}

func partsMissing(err error) error {
	return jobs.Fail(jobs.CodePartsMissing, jobs.Stale, "finished parts of the export are missing in storage",
		"find out what deletes objects below exports/ while jobs run (a lifecycle rule, a person, a bucket made anew), stop it, then rerun the job", err)
}

func damagedPlan(j *jobs.Job) error {
	return jobs.Damaged(fmt.Errorf("part records of job %s are incomplete", j.ID))
}
