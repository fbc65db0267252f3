package export_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"testing"

	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/jobs"
)

// TestGzip: whatever its parts, a compressed file unpacks to the bytes of the plain one, and size and
// checksum are those of what is stored.
func TestGzip(t *testing.T) {
	t.Parallel()
	docs := users(t, 2500, 300)
	r := newRig(t, &source{}, export.Config{})
	file := func(size int, params jobs.Params) []byte {
		j := newJob()
		j.Params = params
		res, _, err := r.Compose(t.Context(), j, r.inParts(t, j, docs, size), j.ResultName())
		if err != nil {
			t.Fatal(err)
		}
		bytes := r.read(t, res.Object)
		if res.Size != int64(len(bytes)) {
			t.Errorf("the file has %d bytes, told are %d", len(bytes), res.Size)
		}
		return bytes
	}
	plain := newJob().Params
	want := file(2500, plain)
	for _, size := range []int{2500, 1000, 7} {
		packed := file(size, plain.With(jobs.ParamCompression, jobs.CompressionGzip))
		gz, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(gz); err != nil || !bytes.Equal(got, want) {
			t.Errorf("parts of %d rows: %d bytes, %v; want the %d bytes of the plain file", size, len(got), err, len(want))
		}
		if size > 7 && len(packed) > len(want)/5 {
			t.Errorf("parts of %d rows: %d bytes are packed to %d", size, len(want), len(packed))
		}
	}
}

// TestGzipIsSavedAsItIs: the object's attributes keep storage and browsers from unpacking it, and its name
// says what it is.
func TestGzipIsSavedAsItIs(t *testing.T) {
	t.Parallel()
	var attrs jobs.ObjectAttrs
	e := export.New(&source{docs: users(t, 1, 5)}, &attrsOf{Objects: inmemory.NewObjects(), last: &attrs}, export.Config{})
	j := newJob()
	j.Params = j.Params.With(jobs.ParamCompression, jobs.CompressionGzip)
	if _, err := e.Write(t.Context(), export.Spec{Job: j, Object: j.ResultName(), Rows: 1, Header: true, Final: true}, new(export.Progress)); err != nil {
		t.Fatal(err)
	}
	if attrs.ContentType != "application/gzip" || attrs.ContentDisposition != `attachment; filename="vip-users_2026-03-04.csv.gz"` {
		t.Errorf("attributes = %+v", attrs)
	}
}

// attrsOf notes the attributes of objects.
type attrsOf struct {
	*inmemory.Objects
	last *jobs.ObjectAttrs
}

func (o *attrsOf) Create(ctx context.Context, name string, attrs jobs.ObjectAttrs) jobs.ObjectWriter {
	*o.last = attrs
	return o.Objects.Create(ctx, name, attrs)
}

// TestParamsNobodyCanHaveAsked: params of a damaged job make no file of another form.
func TestParamsNobodyCanHaveAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, &source{docs: users(t, 1, 5)}, export.Config{})
	for name, v := range map[string]string{jobs.ParamFormat: "tape", jobs.ParamColumns: "id,nobody", jobs.ParamTimezone: "Europe/Atlantis"} {
		j := newJob()
		j.Params = j.Params.With(name, v)
		_, err := r.Write(t.Context(), export.Spec{Job: j, Object: j.ResultName(), Rows: 1}, new(export.Progress))
		if jobs.AsFailure(err).Code != jobs.CodeInvalidJob {
			t.Errorf("%s=%s: %v", name, v, err)
		}
		if left := r.names(t, j); len(left) > 0 {
			t.Errorf("%s=%s left %v", name, v, left)
		}
	}
}
