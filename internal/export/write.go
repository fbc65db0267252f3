package export

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// flushBytes is how much of a file is gathered before it goes to the upload: enough that the upload's own
// cost is spread thin, small beside its chunk.
const flushBytes = 256 << 10

// yieldRows is how often a write offers to stand back: a millisecond's work, so that whoever is let go first
// need not wait for it, and a batch of the scan.
const yieldRows = 256

// Progress is what a write has come to so far. It may be read while the write runs.
type Progress struct {
	Rows, Bytes atomic.Int64
	// How long the steps have taken, in nanoseconds; those of a write are noted once in flushBytes.
	Waited, Counting, Cutting, Scanning, Encoding, Yielding, Uploading, Composing atomic.Int64

	// since is when the step under way was begun, in nanoseconds since 1970, 0 for none: a source or a
	// storage that hangs is seen before it answers.
	since   atomic.Int64
	sending atomic.Bool // it is the upload, else the scan
}

// Spent is where the time has gone so far.
func (p *Progress) Spent() jobs.Spent {
	took := func(n *atomic.Int64) time.Duration { return time.Duration(n.Load()) }
	s := jobs.Spent{
		Wait: took(&p.Waited), Count: took(&p.Counting), Plan: took(&p.Cutting), Scan: took(&p.Scanning), Encode: took(&p.Encoding),
		Yield: took(&p.Yielding), Upload: took(&p.Uploading), Compose: took(&p.Composing),
	}
	since := p.since.Load()
	switch under := time.Duration(time.Now().UnixNano() - since); {
	case since == 0:
	case p.sending.Load():
		s.Upload += max(0, under)
	default:
		s.Scan += max(0, under)
	}
	return s
}

// begin notes what is under way from now on.
func (p *Progress) begin(sending bool) {
	p.sending.Store(sending)
	p.since.Store(time.Now().UnixNano())
}

// Spec is one object to write: a stretch of a job's rows.
type Spec struct {
	Job    *jobs.Job
	Object string // create-only
	From   string // as jobs.Part has them
	To     string
	Rows   int64 // counted; another number written is COUNT_MISMATCH
	Header bool  // begin as the file begins
	Final  bool  // the object is the whole file, not a part
	// Yield, if set, is called every yieldRows rows, so that the caller can let more urgent work go first. It
	// must return soon.
	Yield func(ctx context.Context)
}

// Write scans the stretch at the job's snapshot and writes it in the form of its file. The object exists when
// Write returns nil, with the size and checksum returned, and else not.
func (e *Exporter) Write(ctx context.Context, s Spec, p *Progress) (jobs.PartResult, error) {
	rng, err := parseRange(s.From, s.To)
	if err != nil {
		return jobs.PartResult{}, jobs.Fail(jobs.CodeInvalidJob, jobs.Permanent, "the plan of the export is damaged", "rerun it with mode fresh", err)
	}
	j := s.Job
	d, q, err := e.dataset(j)
	if err != nil {
		return jobs.PartResult{}, err
	}
	f, err := formOf(j)
	if err != nil {
		return jobs.PartResult{}, err
	}
	attrs := jobs.ObjectAttrs{ContentType: f.contentType}
	if s.Final {
		attrs = f.attrs(j, s.Rows)
	}
	w := e.create(ctx, s.Object, attrs)
	defer w.Abort()
	enc, err := f.encoder(d)
	if err != nil {
		return jobs.PartResult{}, err
	}
	packer := f.newPacker()
	buf := make([]byte, 0, flushBytes+flushBytes/4)
	if s.Header && !f.sheets { // each of these gets one when they are composed
		buf = enc.AppendHeader(buf)
	}
	var rows int64
	watch := stopwatch{progress: p}
	flush := func(end bool) error {
		out := buf
		if packer != nil {
			if out, err = packer.pack(buf, end); err != nil {
				return err
			}
		}
		if err := watch.send(func() error { _, err := w.Write(out); return err }); err != nil {
			return err
		}
		p.Rows.Store(rows)
		watch.note()
		if n := p.Bytes.Add(int64(len(out))); e.cfg.MaxBytes > 0 && n+j.BytesDone > e.cfg.MaxBytes {
			return e.tooManyBytes()
		}
		buf = buf[:0]
		return nil
	}
	row := func(doc []byte) error {
		var err error
		if buf, err = enc.AppendRow(buf, doc); err != nil {
			return jobs.Fail(jobs.CodeInternal, jobs.Permanent, "the source answered a document that cannot be parsed",
				"write the document anew that is named; the worker's log for this job id says what is wrong with it", err).About(documentIn(j, q, doc))
		}
		rows++
		if rows > s.Rows {
			return mismatch(s.Rows, rows).About(stretch(j, rng))
		}
		if s.Yield != nil && rows%yieldRows == 0 {
			watch.standBack(ctx, s.Yield)
		}
		if len(buf) < flushBytes {
			return nil
		}
		return flush(false)
	}
	err = watch.scan(ctx, func(waited *time.Duration) error {
		return e.source.Scan(ctx, q, rng, j.SnapshotTime, records.Options{Waited: waited}, row)
	})
	defer watch.uploaded(ctx)
	if err != nil {
		return jobs.PartResult{}, err
	}
	if rows != s.Rows {
		return jobs.PartResult{}, mismatch(s.Rows, rows).About(stretch(j, rng))
	}
	if buf, err = enc.AppendEnd(buf, s.Final); err != nil {
		return jobs.PartResult{}, err
	}
	if err := flush(true); err != nil {
		return jobs.PartResult{}, err
	}
	var obj jobs.Object
	if err := watch.send(func() error { obj, err = w.Commit(ctx); return err }); err != nil {
		return jobs.PartResult{}, err
	}
	res := jobs.PartResult{Object: obj.Name, Rows: rows, Size: obj.Size, CRC32C: obj.CRC32C, Rescued: enc.Rescued(), Digest: w.digest()}
	res.Guarded, res.GuardedBy = jobs.CountGuarded(obj.Name, enc.Guarded())
	if packer != nil {
		res.Plain = packer.plain
	}
	return res, nil
}

func parseRange(from, to string) (rng vip.Range, err error) {
	for _, b := range []struct {
		s   string
		out **vip.Position
	}{{from, &rng.From}, {to, &rng.To}} {
		if b.s == "" {
			continue
		}
		p, err := vip.ParsePosition(b.s)
		if err != nil {
			return rng, err
		}
		*b.out = &p
	}
	return rng, nil
}

// documentIn names a document for operators, as a cause does.
func documentIn(j *jobs.Job, q vip.Query, doc []byte) string {
	at, err := q.PositionOf(doc)
	if err != nil {
		return "a document of " + q.Collection + " of " + j.OrgID
	}
	return "document " + at.ID + " of " + q.Collection + " of " + j.OrgID
}

// stretch names rows of a job for operators, as a cause does.
func stretch(j *jobs.Job, rng vip.Range) string {
	what := string(j.Kind) + " of " + j.OrgID
	if rng.From != nil {
		what += " from " + rng.From.Words()
	}
	if rng.To != nil {
		what += " up to " + rng.To.Words()
	}
	return what
}

func mismatch(counted, written int64) *jobs.Failure {
	return jobs.Fail(jobs.CodeCountMismatch, jobs.Permanent,
		fmt.Sprintf("%d rows were counted at the snapshot, %d or more were read", counted, written),
		"report this: rows of one snapshot must not differ; rerun with mode fresh", nil)
}

func (e *Exporter) tooManyBytes() error {
	return jobs.Fail(jobs.CodeTooManyBytes, jobs.Permanent,
		fmt.Sprintf("the file would have more than the %d bytes that are allowed", e.cfg.MaxBytes),
		"ask for a smaller window or more filters, or raise EXPORTD_MAX_BYTES", nil)
}

// attrs describe the file: what a browser needs to save it, and where it came from.
func (f form) attrs(j *jobs.Job, rows int64) jobs.ObjectAttrs {
	return jobs.ObjectAttrs{
		ContentType:        f.contentType,
		ContentDisposition: `attachment; filename="` + j.FileName() + `"`,
		CacheControl:       "private, no-store",
		Metadata: map[string]string{
			"job":      j.ID,
			"rows":     strconv.FormatInt(rows, 10),
			"snapshot": j.SnapshotTime.UTC().Format(time.RFC3339Nano),
			"schema":   strconv.Itoa(jobs.ColumnsVersion(j.Columns)),
		},
	}
}
