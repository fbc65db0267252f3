package export_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/export"
	"exportd/jobs"
)

// TestPackedLargeCells: cells as large as a document may have, which deflate makes small or not at all, and
// no rows at all, unpack to the bytes of the plain file.
func TestPackedLargeCells(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 700_000)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	var large [][]byte
	for i, text := range []string{base64.StdEncoding.EncodeToString(noise), "", strings.Repeat("a\"\t\r\n", 200_000), strings.Repeat("\x00", 300_000)} {
		large = append(large, csvrowtest.Document(fmt.Sprintf("projects/p/databases/d/documents/VipUsers/u%d", i), map[string]any{"displayName": text}))
	}
	r := newRig(t, &source{}, export.Config{})
	file := func(j *jobs.Job, docs [][]byte, size int) []byte {
		t.Helper()
		if len(docs) == 0 {
			r.source.docs = nil
			res, err := r.Write(t.Context(), export.Spec{Job: j, Object: j.ResultName(), Header: true, Final: true}, new(export.Progress))
			if err != nil {
				t.Fatal(err)
			}
			return r.read(t, res.Object)
		}
		res, _, err := r.Compose(t.Context(), j, r.inParts(t, j, docs, size), j.ResultName())
		if err != nil {
			t.Fatal(err)
		}
		return r.read(t, res.Object)
	}
	for _, format := range []string{jobs.FormatCSV, jobs.FormatJSONL} {
		params := newJob().Params.With(jobs.ParamFormat, format)
		for _, docs := range [][][]byte{nil, large} {
			want := file(newJobOf(params), docs, 4)
			gz, err := gzip.NewReader(bytes.NewReader(file(newJobOf(params.With(jobs.ParamCompression, jobs.CompressionGzip)), docs, 2)))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(gz); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %d rows: %d bytes, %v; want the %d bytes of the plain file", format, len(docs), len(got), err, len(want))
			}
		}
	}
	_, want := r.sheet(t, file(forExcel(0), large, 4), true)
	var got []string
	for _, f := range unzip(t, file(forExcel(2), large, 1)) {
		_, rows := r.sheet(t, f.bytes, true)
		got = append(got, rows...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("a zip has %d rows, want those of one sheet", len(got))
	}
}

// newJobOf is a job with parameters.
func newJobOf(params jobs.Params) *jobs.Job {
	j := newJob()
	j.Params = params
	return j
}
