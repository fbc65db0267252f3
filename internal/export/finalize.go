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
	f, err := formOf(j)
	if err != nil {
		return jobs.Result{}, nil, err
	}
	return e.compose(ctx, f, j, parts, dst)
}

func (e *Exporter) compose(ctx context.Context, f form, j *jobs.Job, parts []*jobs.Part, dst string) (_ jobs.Result, names []string, err error) {
	res, err := sum(j, parts, dst)
	if err != nil {
		return res, nil, err
	}
	laid, err := e.lay(ctx, f, j, parts, dst)
	if err != nil {
		return res, nil, err
	}
	res.Digest = &jobs.Digest{Object: dst}
	for _, o := range laid {
		if o.frame {
			res.Digest.Frames = append(res.Digest.Frames, jobs.Frame{Offset: res.Size, Size: o.Size, CRC32C: o.CRC32C, SHA256: o.sha256})
		}
		names = append(names, o.Name)
		res.CRC32C = crc32c.Combine(res.CRC32C, o.CRC32C, o.Size)
		res.Size += o.Size
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

// laid is an object that a file is made of: that of a part, or a frame.
type laid struct {
	jobs.Object
	frame  bool
	sha256 string // of a frame
}

// lay gives the objects that the file is made of, in order, and writes those that are no parts. Where that
// was done before a crash or an error, the same bytes have their names already.
func (e *Exporter) lay(ctx context.Context, f form, j *jobs.Job, parts []*jobs.Part, dst string) ([]laid, error) {
	switch {
	case f.sheets:
		d, _, err := e.dataset(j)
		if err != nil {
			return nil, err
		}
		return e.layZip(ctx, f, d, j, parts, dst)
	case f.finish == nil:
		return objectsOf(parts), nil
	}
	end, err := f.finish(ctx, e.objects, j, parts)
	if err != nil {
		return nil, err
	}
	last, err := e.writeFrame(ctx, f, dst+endSuffix, end)
	return append(objectsOf(parts), last), err
}

// objectsOf are those of parts.
func objectsOf(parts []*jobs.Part) []laid {
	objects := make([]laid, len(parts))
	for i, p := range parts {
		objects[i] = laid{Object: jobs.Object{Name: p.Object, Size: p.Size, CRC32C: p.CRC32C}}
	}
	return objects
}

// writeFrame writes an object of few bytes that the file is made of beside its parts.
func (e *Exporter) writeFrame(ctx context.Context, f form, name string, b []byte) (laid, error) {
	w := e.create(ctx, name, jobs.ObjectAttrs{ContentType: f.contentType})
	defer w.Abort()
	if _, err := w.Write(b); err != nil {
		return laid{}, err
	}
	o, err := w.Commit(ctx)
	return laid{Object: o, frame: true, sha256: w.digest().SHA256}, err
}

// sum adds the parts of the object named dst up, which must be all of the plan, done and in order.
func sum(j *jobs.Job, parts []*jobs.Part, dst string) (res jobs.Result, err error) {
	if len(parts) != j.PartsTotal {
		return res, damagedPlan(j)
	}
	edge, guarded := "", map[string]int64{}
	for i, p := range parts {
		if p.Index != i || p.State != jobs.PartDone || p.From != edge || (p.Plain != nil) != (j.SheetRows > 0) {
			// Also one that does not begin where the one before ends, and one of a sheet where there are
			// none.
			return res, damagedPlan(j)
		}
		edge = p.To
		res.Rows += p.Rows
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
	res.Object = dst
	_, res.GuardedBy = jobs.CountGuarded(dst, guarded)
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
