package export_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"exportd/internal/export"
	"exportd/internal/objectstore/crc32c"
	"exportd/jobs"
)

// inFormat is a job whose file is of a format.
func inFormat(format string) *jobs.Job {
	j := newJob()
	j.Params = j.Params.With(jobs.ParamFormat, format)
	return j
}

// TestComposeFormats: the rows of a file in any number of parts are those of a file in one, in the same
// order, and the checksum is that of the bytes.
func TestComposeFormats(t *testing.T) {
	t.Parallel()
	docs := users(t, 330, 20)
	r := newRig(t, &source{}, export.Config{})
	for _, c := range []struct {
		format, columns string
		rowsOf          func(t *testing.T, file []byte) []string
		begins          string // the first row
	}{
		{jobs.FormatJSONL, "", lines, `{"id":"`}, {jobs.FormatParquet, "", parquetRows, "u"},
		{jobs.FormatJSONL, "tags,id", lines, `{"tags":[`}, {jobs.FormatParquet, "ltv,id", parquetRows, "<null>|u0|"},
	} {
		format, rowsOf := c.format, c.rowsOf
		var want []string
		for _, size := range []int{330, 100, 1} {
			j := inFormat(format)
			if c.columns != "" {
				j.Params = j.Params.With(jobs.ParamColumns, c.columns)
			}
			parts := r.inParts(t, j, docs, size)
			for range 2 { // the second time after a crash
				res, names, err := r.Compose(t.Context(), j, parts, j.ObjectPrefix()+"1/result."+format)
				if err != nil {
					t.Fatalf("%s in %d parts: %v", format, len(parts), err)
				}
				file := r.read(t, res.Object)
				rows := rowsOf(t, file)
				if want == nil {
					want = rows
				}
				if !strings.HasPrefix(rows[0], c.begins) {
					t.Errorf("%s of the columns %q: the first row is %.80s", format, c.columns, rows[0])
				}
				if strings.Join(rows, "\n") != strings.Join(want, "\n") || len(rows) != 330 || res.Rows != 330 {
					t.Errorf("%s in %d parts: %d rows, want those of one part", format, len(parts), len(rows))
				}
				if res.Size != int64(len(file)) || res.CRC32C != crc32c.Update(0, file) {
					t.Errorf("%s in %d parts: %d bytes, of which %d are told", format, len(parts), len(file), res.Size)
				}
				if err := r.Discard(t.Context(), names[len(parts):]...); err != nil {
					t.Fatal(err)
				}
			}
			if got := r.names(t, j); len(got) != len(parts)+1 {
				t.Errorf("%s in %d parts: %d objects are there, want the parts and the result", format, len(parts), len(got))
			}
		}
	}
}

// TestPartIsNoParquet: a part that is not what was written makes no file.
func TestPartIsNoParquet(t *testing.T) {
	t.Parallel()
	r := newRig(t, &source{}, export.Config{})
	for name, c := range map[string]struct {
		spoil func(p *jobs.Part)
		code  jobs.Code
	}{
		"it is gone":                 {func(p *jobs.Part) { p.Object += "x" }, jobs.CodePartsMissing},
		"it is shorter than written": {func(p *jobs.Part) { p.Size-- }, jobs.CodePartsMissing},
		"it has a row less":          {func(p *jobs.Part) { p.Rows++ }, jobs.CodeCountMismatch},
	} {
		j := inFormat(jobs.FormatParquet)
		parts := r.inParts(t, j, users(t, 30, 20), 10)
		c.spoil(parts[1])
		j.RowsTotal = parts[0].Rows + parts[1].Rows + parts[2].Rows
		_, _, err := r.Compose(t.Context(), j, parts, j.ObjectPrefix()+"1/result.parquet")
		var f *jobs.Failure
		if !errors.As(err, &f) || f.Code != c.code {
			t.Errorf("%s: Compose() = %v, want %s", name, err, c.code)
		}
	}
}

func lines(t *testing.T, file []byte) (rows []string) {
	t.Helper()
	if !bytes.HasSuffix(file, []byte("\n")) {
		t.Errorf("the last line has no end")
	}
	for line := range strings.Lines(string(file)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%s is no JSON", line)
		}
		rows = append(rows, line)
	}
	return rows
}

func parquetRows(t *testing.T, file []byte) (rows []string) {
	t.Helper()
	r := parquet.NewGenericReader[any](bytes.NewReader(file))
	defer r.Close()
	batch := make([]parquet.Row, 50)
	for {
		n, err := r.ReadRows(batch)
		for _, row := range batch[:n] {
			var b strings.Builder
			for _, v := range row {
				b.WriteString(v.String() + "|")
			}
			rows = append(rows, b.String())
		}
		if err != nil {
			return rows
		}
	}
}
