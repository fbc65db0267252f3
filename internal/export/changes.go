package export

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"strconv"

	"github.com/klauspost/compress/gzip"

	"exportd/internal/csvrow"
	"exportd/internal/dataset"
	"exportd/internal/objectstore/crc32c"
	"exportd/internal/rowdiff"
	"exportd/internal/tracing"
	"exportd/jobs"
)

const (
	// keptBytes bounds the rows that a comparison keeps in memory: 30,000 ordinary ones that have changed
	// places, so that most comparisons write none down.
	keptBytes = 16 << 20
	// runsAtOnce bounds the runs that are open at a time, with 64 KiB each: 64 of 16 MiB are 3,000,000
	// changes before any is read twice.
	runsAtOnce = 64
	// ChangeColumn is the first column of files of changes, and the first member in their rows.
	ChangeColumn = "change"
	// runSuffix is behind the name of the file in those of runs.
	runSuffix = ".run-"
)

var changeNames = [...]string{rowdiff.Added: "added", rowdiff.Changed: "changed", rowdiff.Removed: "removed"}

// Changes writes the file of a job that has a base: the rows that are not as they are in the base, compared
// with those of whole, which the job has written with all of its rows. Rows are compared as they are in the
// files. Both files are proven by their sizes and checksums; jobs.Tx.Succeed proves the numbers of rows.
func (e *Exporter) Changes(ctx context.Context, j *jobs.Job, whole jobs.Result, dst string) (_ jobs.Result, err error) {
	ctx, span := tracing.Start(ctx, tracing.Step{Name: "compare"})
	defer func() { endSpan(span, err) }()
	if j.Base == nil || j.Params.Since() == "" {
		return jobs.Result{}, jobs.Fail(jobs.CodeInvalidJob, jobs.Permanent, "there is no file to compare with", "ask for the export again", nil)
	}
	d, _, err := e.dataset(j)
	if err != nil {
		return jobs.Result{}, err
	}
	f, err := formOf(j)
	if err != nil {
		return jobs.Result{}, err
	}
	if f.rows == nil {
		return jobs.Result{}, unknownForm("file of changes in the form of", j.Params.Format()+", "+j.Params.Profile(), nil)
	}
	now := whole.AsWhole(j.SnapshotTime)
	earlier, err := e.openWhole(ctx, f, d, *j.Base)
	if err != nil {
		return jobs.Result{}, ofBase(err)
	}
	defer earlier.Close()
	later, err := e.openWhole(ctx, f, d, now)
	if err != nil {
		return jobs.Result{}, ofWhole(err)
	}
	defer later.Close()
	out, err := e.newChangesFile(ctx, f, d, j, dst)
	if err != nil {
		return jobs.Result{}, err
	}
	defer out.Abort()
	counts, err := rowdiff.Compare(ctx, earlier, later, rowdiff.Config{
		MaxBytes: e.cfg.KeptBytes, MaxRuns: runsAtOnce, Runs: &runs{ctx: ctx, objects: e.objects, prefix: dst + runSuffix}, Emit: out.emit,
	})
	if err := compared(err, earlier, later); err != nil {
		return jobs.Result{}, err
	}
	obj, err := out.commit(ctx)
	if err != nil {
		return jobs.Result{}, err
	}
	res := whole
	res.Object, res.Generation, res.Size, res.CRC32C, res.Digest = obj.Name, obj.Generation, obj.Size, obj.CRC32C, out.digest()
	res.Whole, res.Changes = &now, (*jobs.Changes)(&counts)
	return res, nil
}

// compared says what the end of a comparison means for the job, err being its error.
func compared(err error, earlier, later *wholeFile) error {
	switch {
	case earlier.broken != nil:
		return ofBase(earlier.broken)
	case later.broken != nil:
		return ofWhole(later.broken)
	case err != nil && !errors.Is(err, rowdiff.ErrTwice) && earlier.unread == nil && later.unread == nil:
		return err // of what was being written, or of a run: neither file is to blame
	}
	if err := earlier.prove(); err != nil {
		return ofBase(err)
	}
	if err := later.prove(); err != nil {
		return ofWhole(err)
	}
	if err != nil {
		return jobs.Fail(jobs.CodeInternal, jobs.Permanent, "the rows of the two files cannot be told apart by their ids",
			"report this, with the worker's log for this job id; export all rows meanwhile, without since", err)
	}
	return nil
}

// errNotAsWritten: a file has other bytes than it was written with.
var errNotAsWritten = errors.New("the file is not as it was written")

// ofBase says what an error of reading the earlier file means for the job.
func ofBase(err error) error {
	if !errors.Is(err, errNotAsWritten) && !missing(err) {
		return err
	}
	return jobs.Fail(jobs.CodeFileLost, jobs.Permanent, "the file of the earlier export is no longer there: ask for all rows, without since",
		"it has expired, or was deleted; if neither, find out who deletes from the bucket (lifecycle rules, people)", err)
}

// ofWhole is the same for the job's own file.
func ofWhole(err error) error {
	if !errors.Is(err, errNotAsWritten) && !missing(err) {
		return err
	}
	return partsMissing(err)
}

// wholeFile reads the rows of a file, and its size and checksum beside.
type wholeFile struct {
	rows   *rowdiff.File
	blurs  bool // as form.blurs
	is     jobs.Whole
	body   io.ReadCloser
	sum    hash.Hash32
	size   int64
	broken error // by which storage has ended the read
	unread error // by which no more rows were read: broken, or what the bytes are not
}

func (e *Exporter) openWhole(ctx context.Context, f form, d *dataset.Dataset, is jobs.Whole) (_ *wholeFile, err error) {
	body, err := e.objects.NewReader(ctx, is.Object, 0)
	if errors.Is(err, jobs.ErrNotFound) { // the object, or its bucket, which a read does not say
		if _, gone := e.objects.Holds(ctx, is.Object, is.Size, is.CRC32C); errors.Is(gone, jobs.ErrNoBucket) {
			err = gone
		}
	}
	if err != nil {
		return nil, err
	}
	w := &wholeFile{is: is, blurs: f.blurs, body: body, sum: crc32.New(crc32c.Table)}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	in := io.Reader(w)
	if f.gzip {
		if in, err = gzip.NewReader(w); err != nil {
			return nil, cmp.Or(w.broken, fmt.Errorf("%w: %w", errNotAsWritten, err))
		}
	}
	w.rows, err = f.rows(d, in)
	return w, err
}

// Next gives the next row.
func (w *wholeFile) Next() (id, row []byte, err error) {
	if id, row, err = w.rows.Next(); err != io.EOF {
		w.unread = err
	}
	if err == nil && w.blurs && bytes.ContainsRune(id, csvrow.NUL) {
		return nil, nil, jobs.Fail(jobs.CodeInvalidJob, jobs.Permanent,
			fmt.Sprintf("the id %.200q may have NUL in it or %c, which CSV writes the same: ask for changes with format=jsonl", id, csvrow.NUL), "", nil)
	}
	return id, row, err
}

// Read gives the bytes of the file. After an error of storage there are no more: what a read gave then might
// be those behind a gap.
func (w *wholeFile) Read(b []byte) (int, error) {
	if w.broken != nil {
		return 0, w.broken
	}
	n, err := w.body.Read(b)
	w.size += int64(n)
	_, _ = w.sum.Write(b[:n]) // never fails
	if err != io.EOF {
		w.broken = err
	}
	return n, err
}

// prove says whether what was read to its end is what was written.
func (w *wholeFile) prove() error {
	if _, err := io.Copy(io.Discard, w); err != nil { // behind the last member of a compressed file is nothing
		return err
	}
	if w.size != w.is.Size || w.sum.Sum32() != w.is.CRC32C {
		return fmt.Errorf("%w: %d bytes of checksum %08x, want %d of %08x", errNotAsWritten, w.size, w.sum.Sum32(), w.is.Size, w.is.CRC32C)
	}
	return nil
}

// Close ends the read.
func (w *wholeFile) Close() { _ = w.body.Close() } // what was read is proven otherwise

// changesFile is a file of changes being written.
type changesFile struct {
	*hashedWriter
	e      *Exporter
	packer *packer
	lead   func(dst []byte, kind string, row []byte) []byte
	buf    []byte
	size   int64
}

func (e *Exporter) newChangesFile(ctx context.Context, f form, d *dataset.Dataset, j *jobs.Job, dst string) (*changesFile, error) {
	enc, err := f.encoder(d)
	if err != nil {
		return nil, err
	}
	out := &changesFile{e: e, lead: f.lead}
	out.packer = f.newPacker()
	if header := enc.AppendHeader(nil); len(header) > 0 {
		out.buf = f.lead(nil, ChangeColumn, header)
	}
	attrs := f.attrs(j, 0)
	delete(attrs.Metadata, "rows") // nobody knows before the last one
	attrs.Metadata["since"] = j.Params.Since()
	out.hashedWriter = e.create(ctx, dst, attrs)
	return out, nil
}

func (c *changesFile) emit(kind rowdiff.Kind, row []byte) error {
	c.buf = c.lead(c.buf, changeNames[kind], row)
	if len(c.buf) < flushBytes {
		return nil
	}
	return c.flush(false)
}

func (c *changesFile) flush(end bool) (err error) {
	out := c.buf
	if c.packer != nil {
		if out, err = c.packer.pack(c.buf, end); err != nil {
			return err
		}
	}
	c.size += int64(len(out))
	if most := c.e.cfg.MaxBytes; most > 0 && c.size > most {
		return c.e.tooManyBytes()
	}
	c.buf = c.buf[:0]
	_, err = c.Write(out)
	return err
}

func (c *changesFile) commit(ctx context.Context) (jobs.Object, error) {
	if err := c.flush(true); err != nil {
		return jobs.Object{}, err
	}
	return c.Commit(ctx)
}

// runs keeps runs beside the file. What a crash leaves is swept.
type runs struct {
	ctx     context.Context
	objects Objects
	prefix  string
	made    int
}

// Write writes one.
func (r *runs) Write(fn func(io.Writer) error) (string, error) {
	name := r.prefix + strconv.Itoa(r.made)
	r.made++
	w := r.objects.Create(r.ctx, name, jobs.ObjectAttrs{ContentType: "application/octet-stream"})
	defer w.Abort()
	if err := fn(w); err != nil {
		return "", err
	}
	_, err := w.Commit(r.ctx)
	return name, err
}

// Read reads one.
func (r *runs) Read(name string) (io.ReadCloser, error) {
	return r.objects.NewReader(r.ctx, name, 0)
}

// Forget deletes one.
func (r *runs) Forget(name string) { _ = r.objects.Delete(r.ctx, name) } // else the sweep does

// csvRows reads back the rows of a file of CSV.
func csvRows(o csvrow.Options, in io.Reader) (*rowdiff.File, error) {
	id := 0
	if o.Columns != nil {
		if id = slices.Index(o.Columns, 0); id < 0 {
			return nil, unknownForm("file of changes without the column", dataset.IDColumn, nil)
		}
	}
	return rowdiff.CSV(in, o.Comma(), id, !o.NoHeader), nil
}
