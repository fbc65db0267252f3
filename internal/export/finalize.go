package export

import (
	"context"
	"errors"
	"fmt"

	"exportd/internal/objectstore/crc32c"
	"exportd/internal/tracing"
	"exportd/jobs"
)

// Compose lays the parts end to end to the object named dst and proves the result: rows as counted, size and
// checksum as the parts' add up to. It may be run again after a crash.
func (e *Exporter) Compose(ctx context.Context, j *jobs.Job, parts []*jobs.Part, dst string) (_ jobs.Result, err error) {
	ctx, span := tracing.Start(ctx, tracing.Step{Name: "compose", Attrs: []tracing.Attr{tracing.Parts(len(parts))}})
	defer func() { endSpan(span, err) }()
	res := jobs.Result{Object: dst}
	if len(parts) != j.PartsTotal {
		return res, damagedPlan(j)
	}
	names, edge := make([]string, len(parts)), ""
	for i, p := range parts {
		if p.Index != i || p.State != jobs.PartDone || p.From != edge {
			return res, damagedPlan(j) // also one that does not begin where the one before ends
		}
		edge = p.To
		names[i] = p.Object
		res.CRC32C = crc32c.Combine(res.CRC32C, p.CRC32C, p.Size)
		res.Rows += p.Rows
		res.Size += p.Size
		res.GuardedCells += p.Guarded
	}
	if edge != "" {
		return res, damagedPlan(j)
	}
	if res.Rows != j.RowsTotal {
		return res, mismatch(j.RowsTotal, res.Rows)
	}
	if e.cfg.MaxBytes > 0 && res.Size > e.cfg.MaxBytes {
		return res, e.tooManyBytes()
	}
	obj, err := e.objects.Compose(ctx, dst, names, finalAttrs(j, res.Rows), res.Size, res.CRC32C)
	if errors.Is(err, jobs.ErrNotFound) && !errors.Is(err, jobs.ErrNoBucket) {
		return res, jobs.Fail(jobs.CodePartsMissing, jobs.Stale, "finished parts of the export are missing in storage",
			"find out what deletes objects below exports/ while jobs run (a lifecycle rule, a person, a bucket made anew), stop it, then rerun the job", err)
	}
	if err != nil {
		return res, err
	}
	res.Generation = obj.Generation
	return res, nil
}

func damagedPlan(j *jobs.Job) error {
	return jobs.Damaged(fmt.Errorf("part records of job %s are incomplete", j.ID))
}
