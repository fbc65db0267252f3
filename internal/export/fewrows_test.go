package export_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"exportd/internal/export"
	"exportd/jobs"
)

// TestFewRows: files of no row and of one are whole in every format, compressed or not.
func TestFewRows(t *testing.T) {
	t.Parallel()
	for format, least := range map[string]int{jobs.FormatCSV: 1, jobs.FormatJSONL: 0, jobs.FormatParquet: 0} {
		for _, packed := range []bool{false, true} {
			for rows := range 2 {
				if packed && format == jobs.FormatParquet {
					continue // has a compression of its own
				}
				r := newRig(t, &source{docs: users(t, rows, 20)}, export.Config{})
				j := inFormat(format)
				if packed {
					j.Params = j.Params.With(jobs.ParamCompression, jobs.CompressionGzip)
				}
				res, err := r.Write(t.Context(), export.Spec{Job: j, Object: j.ResultName(), Rows: int64(rows), Header: true, Final: true}, new(export.Progress))
				if err != nil {
					t.Fatal(err)
				}
				file := r.read(t, res.Object)
				if packed {
					gz, err := gzip.NewReader(bytes.NewReader(file))
					if err != nil {
						t.Fatalf("%s of %d rows: %v", format, rows, err)
					}
					if file, err = io.ReadAll(gz); err != nil {
						t.Fatalf("%s of %d rows: %v", format, rows, err)
					}
				}
				got := bytes.Count(file, []byte("\n"))
				if format == jobs.FormatParquet {
					got = len(parquetRows(t, file))
				}
				if got != rows+least || res.Rows != int64(rows) {
					t.Errorf("%s of %d rows, compressed %v: has %d lines or rows", format, rows, packed, got)
				}
			}
		}
	}
}
