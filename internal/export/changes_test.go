package export_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/jobs"
)

// whole writes all rows of a job as one object, and gives it as a base.
func (r *rig) whole(t *testing.T, j *jobs.Job, docs [][]byte) jobs.Result {
	t.Helper()
	r.source.docs = docs
	p, err := r.Write(t.Context(), export.Spec{Job: j, Object: j.WholeName(), Rows: int64(len(docs)), Header: true, Final: true}, new(export.Progress))
	if err != nil {
		t.Fatal(err)
	}
	return jobs.Result{Object: p.Object, Rows: p.Rows, Size: p.Size, CRC32C: p.CRC32C, Digest: p.Digest}
}

// comparing is a job with another one's file as its base, and its own file with all rows.
func (r *rig) comparing(t *testing.T, params jobs.Params, before, now [][]byte) (*jobs.Job, jobs.Result) {
	t.Helper()
	base := newJob()
	base.Params = params
	res := r.whole(t, base, before)
	j := newJob()
	j.Params = params.With(jobs.ParamSince, base.ID)
	j.Base = &jobs.Whole{Object: res.Object, Rows: res.Rows, Size: res.Size, CRC32C: res.CRC32C}
	return j, r.whole(t, j, now)
}

// TestChanges: whatever waits in the bucket meanwhile, the same changes are told, and nothing is left there
// but the two files, which a sweep spares and an end of their time does not.
func TestChanges(t *testing.T) {
	t.Parallel()
	docs, others := users(t, 300, 40), users(t, 300, 41) // of other names
	now := slices.Concat(docs[40:200], others[200:220], docs[220:], docs[:20])
	var first []string
	for _, kept := range []int{0, 1, 5000} {
		r := newRig(t, &source{}, export.Config{KeptBytes: kept})
		j, whole := r.comparing(t, newJob().Params, docs, now)
		files := export.New(nil, r.objects, export.Config{KeptBytes: kept}) // no document is read for it
		res, err := files.Changes(t.Context(), j, whole, j.ResultName())
		if err != nil {
			t.Fatal(err)
		}
		if want := (jobs.Changes{Changed: 20, Removed: 20, Unchanged: 260}); *res.Changes != want || res.Rows != 280 || res.Whole.Object != whole.Object || res.Size != int64(len(r.read(t, res.Object))) {
			t.Errorf("%d bytes kept: %+v, %+v", kept, res, res.Changes)
		}
		lines := strings.Split(string(r.read(t, res.Object)), "\r\n")
		if lines[0] != `change,id,"playerId"`+lines[0][len(`change,id,"playerId"`):] || len(lines) != 42 {
			t.Errorf("%d bytes kept: %d lines, the first is %s", kept, len(lines), lines[0])
		}
		slices.Sort(lines)
		if first == nil {
			first = lines
		}
		if !slices.Equal(lines, first) {
			t.Errorf("%d bytes kept: other changes are told", kept)
		}
		j.State, j.Result, j.Cleanup = jobs.Succeeded, res, true
		if left := r.names(t, j); len(left) != 2 {
			t.Errorf("%d bytes kept: %v are left", kept, left)
		}
		if n, err := r.Sweep(t.Context(), j); n != 0 || err != nil {
			t.Errorf("a sweep deleted %d: %v", n, err)
		}
		j.State = jobs.Expired
		if n, err := r.Sweep(t.Context(), j); n != 2 || err != nil {
			t.Errorf("in the end %d were deleted: %v", n, err)
		}
	}
}

// TestChangesProveTheirFiles: a file that is gone or not as it was written makes no changes.
func TestChangesProveTheirFiles(t *testing.T) {
	t.Parallel()
	docs := users(t, 50, 400)
	for _, params := range []jobs.Params{newJob().Params, newJob().Params.With(jobs.ParamFormat, jobs.FormatJSONL).With(jobs.ParamCompression, jobs.CompressionGzip)} {
		for name, c := range map[string]struct {
			damage func(r *rig, j *jobs.Job, whole *jobs.Result)
			want   jobs.Code
			class  jobs.Class
		}{
			"the earlier is gone":         {func(r *rig, j *jobs.Job, _ *jobs.Result) { r.delete(t, j.Base.Object) }, jobs.CodeFileLost, jobs.Permanent},
			"the earlier has other bytes": {func(r *rig, j *jobs.Job, _ *jobs.Result) { r.rewrite(t, j.Base.Object, 200) }, jobs.CodeFileLost, jobs.Permanent},
			"the earlier was cut off":     {func(r *rig, j *jobs.Job, _ *jobs.Result) { r.rewrite(t, j.Base.Object, -1) }, jobs.CodeFileLost, jobs.Permanent},
			"the earlier has another sum": {func(_ *rig, j *jobs.Job, _ *jobs.Result) { j.Base.CRC32C++ }, jobs.CodeFileLost, jobs.Permanent},
			"its own is gone":             {func(r *rig, _ *jobs.Job, w *jobs.Result) { r.delete(t, w.Object) }, jobs.CodePartsMissing, jobs.Stale},
			"its own has other bytes":     {func(r *rig, _ *jobs.Job, w *jobs.Result) { r.rewrite(t, w.Object, 200) }, jobs.CodePartsMissing, jobs.Stale},
			"there is nothing to compare": {func(_ *rig, j *jobs.Job, _ *jobs.Result) { j.Base = nil }, jobs.CodeInvalidJob, jobs.Permanent},
			"a format that has no changes": {func(_ *rig, j *jobs.Job, _ *jobs.Result) {
				j.Params = j.Params.With(jobs.ParamFormat, jobs.FormatParquet)
			}, jobs.CodeInvalidJob, jobs.Permanent},
		} {
			r := newRig(t, &source{}, export.Config{})
			j, whole := r.comparing(t, params, docs, docs)
			c.damage(r, j, &whole)
			_, err := r.Changes(t.Context(), j, whole, j.ResultName())
			if f := jobs.AsFailure(err); err == nil || f.Code != c.want || f.Class != c.class {
				t.Errorf("%s of %s: %v, want %s", name, params.Extension(), err, c.want)
			}
			if slices.ContainsFunc(r.names(t, j), func(n string) bool { return strings.HasSuffix(j.ResultName(), n) }) {
				t.Errorf("%s: there is a file of changes", name)
			}
		}
	}
}

// shaky is a bucket of whose objects with a name like that a read breaks off once, at a byte, as connections
// do; who reads on then gets the bytes behind it.
type shaky struct {
	*inmemory.Objects
	name string
	at   int
}

func (s *shaky) NewReader(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	body, err := s.Objects.NewReader(ctx, name, offset)
	if err != nil || !strings.Contains(name, s.name) {
		return body, err
	}
	left := s.at
	return &breaking{body, &left}, nil
}

type breaking struct {
	io.ReadCloser
	left *int
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left == nil {
		return b.ReadCloser.Read(p)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), *b.left)])
	if *b.left -= n; *b.left == 0 {
		b.left, err = nil, fmt.Errorf("read: %w: %w", jobs.ErrUnavailable, io.ErrUnexpectedEOF)
	}
	return n, err
}

// TestChangesWaitForStorage: where a read breaks off, and storage knows nothing of the files, the next
// attempt may find them as they were: neither is taken for lost, nor its rows for wrong ones.
func TestChangesWaitForStorage(t *testing.T) {
	t.Parallel()
	docs, others := users(t, 50, 400), users(t, 50, 401)
	for _, params := range []jobs.Params{newJob().Params, newJob().Params.With(jobs.ParamCompression, jobs.CompressionGzip)} {
		for _, at := range []int{0, 5, 100} {
			r := newRig(t, &source{}, export.Config{})
			j, whole := r.comparing(t, params, docs, others)
			for _, name := range []string{j.Base.Object, whole.Object, ".run-"} {
				e := export.New(r.source, &shaky{r.objects, name, at}, export.Config{KeptBytes: 1})
				_, err := e.Changes(t.Context(), j, whole, j.ResultName())
				if f := jobs.AsFailure(err); err == nil || f.Class != jobs.Transient || f.Code != jobs.CodeUnavailable {
					t.Errorf("%s, at byte %d of %s: %v", params.Extension(), at, name, err)
				}
			}
			if res, err := r.Changes(t.Context(), j, whole, j.ResultName()); err != nil || res.Changes.After() != 50 {
				t.Errorf("%s: the next attempt: %v, %v", params.Extension(), res.Changes, err)
			}
		}
	}
}

// vanishing is a bucket of which an object goes while it is read, so that the read cannot be taken up again.
type vanishing struct {
	*inmemory.Objects
	name string
}

func (v *vanishing) NewReader(ctx context.Context, name string, offset int64) (io.ReadCloser, error) {
	body, err := v.Objects.NewReader(ctx, name, offset)
	if err != nil || name != v.name {
		return body, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(body, 1000), iotest.ErrReader(fmt.Errorf("read %s: %w", name, jobs.ErrNotFound))), body}, nil
}

// TestChangesWithoutTheirFiles: a file that goes while it is compared is told as one that was gone before.
func TestChangesWithoutTheirFiles(t *testing.T) {
	t.Parallel()
	docs := users(t, 50, 400)
	for _, params := range []jobs.Params{newJob().Params, newJob().Params.With(jobs.ParamFormat, jobs.FormatJSONL).With(jobs.ParamCompression, jobs.CompressionGzip)} {
		r := newRig(t, &source{}, export.Config{})
		j, whole := r.comparing(t, params, docs, docs)
		for name, want := range map[string]jobs.Failure{
			j.Base.Object: {Code: jobs.CodeFileLost, Class: jobs.Permanent}, whole.Object: {Code: jobs.CodePartsMissing, Class: jobs.Stale},
		} {
			_, err := export.New(r.source, &vanishing{r.objects, name}, export.Config{}).Changes(t.Context(), j, whole, j.ResultName())
			if f := jobs.AsFailure(err); err == nil || f.Code != want.Code || f.Class != want.Class {
				t.Errorf("%s goes: %v, want %s", name, err, want.Code)
			}
		}
	}
}

// TestChangesOfBlurredIDs: ids that CSV writes the same are told apart in JSONL, and not taken for one.
func TestChangesOfBlurredIDs(t *testing.T) {
	t.Parallel()
	nul := [][]byte{csvrowtest.Document("d/VipUsers/a\x00b", map[string]any{"ltv": 1.0})}
	picture := [][]byte{csvrowtest.Document("d/VipUsers/a\u2400b", map[string]any{"ltv": 1.0})}
	for _, docs := range [][2][][]byte{{nul, picture}, {nil, nul}, {picture, nil}} {
		r := newRig(t, &source{}, export.Config{})
		j, whole := r.comparing(t, newJob().Params, docs[0], docs[1])
		_, err := r.Changes(t.Context(), j, whole, j.ResultName())
		if f := jobs.AsFailure(err); f.Code != jobs.CodeInvalidJob || f.Class != jobs.Permanent || !strings.Contains(f.Message, "format=jsonl") {
			t.Errorf("of CSV: %v", err)
		}
	}
	r := newRig(t, &source{}, export.Config{})
	j, whole := r.comparing(t, newJob().Params.With(jobs.ParamFormat, jobs.FormatJSONL), nul, picture)
	if res, err := r.Changes(t.Context(), j, whole, j.ResultName()); err != nil || *res.Changes != (jobs.Changes{Added: 1, Removed: 1}) {
		t.Errorf("of JSONL: %+v, %v", res.Changes, err)
	}
}

// noBucket is a bucket that is gone, as Cloud Storage says it: of a read it says that there is no object.
type noBucket struct{ *inmemory.Objects }

func (noBucket) NewReader(_ context.Context, name string, _ int64) (io.ReadCloser, error) {
	return nil, fmt.Errorf("read %s: %w", name, jobs.ErrNotFound)
}

// TestChangesWaitForTheBucket: where all files are gone with their bucket, the earlier one has not expired.
func TestChangesWaitForTheBucket(t *testing.T) {
	t.Parallel()
	r := newRig(t, &source{}, export.Config{})
	j, whole := r.comparing(t, newJob().Params, users(t, 5, 40), users(t, 5, 41))
	r.objects.NoBucket = true
	_, err := export.New(r.source, noBucket{r.objects}, export.Config{}).Changes(t.Context(), j, whole, j.ResultName())
	if f := jobs.AsFailure(err); f.Code != jobs.CodeBucketMissing || f.Class != jobs.Transient {
		t.Errorf("Changes without a bucket = %v", err)
	}
}

// TestChangesOfNothing: files without rows are compared as others are, also where they have no bytes at all.
func TestChangesOfNothing(t *testing.T) {
	t.Parallel()
	docs := users(t, 3, 400)
	csv := newJob().Params
	for _, params := range []jobs.Params{
		csv, csv.With(jobs.ParamHeader, jobs.HeaderOff), csv.With(jobs.ParamFormat, jobs.FormatJSONL), csv.With(jobs.ParamCompression, jobs.CompressionGzip),
		csv.With(jobs.ParamFormat, jobs.FormatJSONL).With(jobs.ParamCompression, jobs.CompressionGzip),
		csv.With(jobs.ParamFormat, jobs.FormatJSONL).With(jobs.ParamColumns, "displayName,city,ltv,id"),
	} {
		for _, c := range []struct {
			before, now [][]byte
			want        jobs.Changes
		}{{nil, nil, jobs.Changes{}}, {nil, docs, jobs.Changes{Added: 3}}, {docs, nil, jobs.Changes{Removed: 3}}} {
			r := newRig(t, &source{}, export.Config{})
			j, whole := r.comparing(t, params, c.before, c.now)
			res, err := r.Changes(t.Context(), j, whole, j.ResultName())
			if err != nil || *res.Changes != c.want {
				t.Errorf("%v, from %d rows to %d: %v, %v", params, len(c.before), len(c.now), res.Changes, err)
			}
		}
	}
}

// TestChangesAreBounded: a file of changes may be as large as others.
func TestChangesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, &source{}, export.Config{})
	j, whole := r.comparing(t, newJob().Params, users(t, 50, 400), users(t, 50, 401))
	small := export.New(r.source, r.objects, export.Config{MaxBytes: 10_000})
	if _, err := small.Changes(t.Context(), j, whole, j.ResultName()); jobs.AsFailure(err).Code != jobs.CodeTooManyBytes {
		t.Errorf("a file of 20,000 bytes where 10,000 are allowed: %v", err)
	}
}

func (r *rig) delete(t *testing.T, name string) {
	t.Helper()
	if err := r.objects.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// rewrite changes a byte of an object, or cuts the last off.
func (r *rig) rewrite(t *testing.T, name string, at int) {
	t.Helper()
	b := r.read(t, name)
	r.delete(t, name)
	if at < 0 {
		b = b[:len(b)-1]
	} else {
		b[at] ^= 1
	}
	w := r.objects.Create(t.Context(), name, jobs.ObjectAttrs{})
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}
