package export_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/export"
	"exportd/internal/inmemory"
	"exportd/internal/machinetest"
	"exportd/internal/objectstore/crc32c"
	"exportd/jobs"
)

// forExcel is a job whose file is for Excel, in sheets of so many rows; 0 for one.
func forExcel(sheetRows int64) *jobs.Job {
	j := newJob()
	j.Params = j.Params.With(jobs.ParamProfile, jobs.ProfileExcel).With(jobs.ParamExcelForm, jobs.ExcelUTF16)
	j.SheetRows = sheetRows
	return j
}

// TestSheets: whatever its parts, a zip of sheets has the rows of one file, each once and in order, each
// sheet no more than it has room for, with its header; it tells its size and checksum, and leaves nothing but
// itself.
func TestSheets(t *testing.T) {
	t.Parallel()
	docs := users(t, 330, 20)
	r := newRig(t, &source{}, export.Config{})
	for _, header := range []string{"", jobs.HeaderOff} {
		for _, size := range []int{100, 30, 7, 1} {
			one, j := forExcel(0), forExcel(100)
			if header != "" {
				one.Params, j.Params = one.Params.With(jobs.ParamHeader, header), j.Params.With(jobs.ParamHeader, header)
			}
			whole, _, err := r.Compose(t.Context(), one, r.inParts(t, one, docs, 330), one.ResultName())
			if err != nil {
				t.Fatal(err)
			}
			head, want := r.sheet(t, r.read(t, whole.Object), header == "")
			parts := r.inParts(t, j, docs, size)
			for range 2 { // the second time after a crash
				res, names, err := r.Compose(t.Context(), j, parts, j.ResultName())
				if err != nil {
					t.Fatalf("%d parts: %v", len(parts), err)
				}
				file := r.read(t, res.Object)
				if res.Size != int64(len(file)) || res.CRC32C != crc32c.Update(0, file) || res.Rows != 330 {
					t.Errorf("%d parts: %d bytes, told are %+v", len(parts), len(file), res)
				}
				sheets, err := export.Sheets(dataset.VIPUsers, j, parts)
				if err != nil {
					t.Fatal(err)
				}
				var rows []string
				for i, f := range unzip(t, file) {
					h, some := r.sheet(t, f.bytes, header == "")
					rows = append(rows, some...)
					if h != head || len(some) > 100 {
						t.Errorf("%d parts: sheet %d begins with %q and has %d rows", len(parts), i, h, len(some))
					}
					if s := sheets[i]; s.Name != f.Name || s.Rows != int64(len(some)) || s.Plain != (jobs.Plain{Size: int64(len(f.bytes)), CRC32: f.CRC32}) || f.Name != fmt.Sprintf("vip-users_2026-03-04-%03d.csv", i+1) {
						t.Errorf("%d parts: sheet %d is %+v, told is %+v", len(parts), i, f.FileHeader, s)
					}
				}
				if !slices.Equal(rows, want) || len(sheets) != map[int]int{100: 4, 30: 4, 7: 4, 1: 4}[size] {
					t.Errorf("%d parts: %d rows in %d sheets, want those of one file", len(parts), len(rows), len(sheets))
				}
				if err := r.Discard(t.Context(), names...); err != nil {
					t.Fatal(err)
				}
				if got := r.names(t, j); len(got) != 1 {
					t.Errorf("%d parts: %v are there, want the result", len(parts), got)
				}
				parts = r.inParts(t, j, docs, size)
			}
		}
	}
}

// sheet gives the rows of a sheet, as they are, and what stands before them.
func (r *rig) sheet(t *testing.T, file []byte, header bool) (head string, rows []string) {
	t.Helper()
	cells, err := csvrowtest.Sheet(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range cells {
		rows = append(rows, fmt.Sprint(row))
	}
	if header {
		return rows[0], rows[1:]
	}
	return "", rows
}

type zipped struct {
	zip.FileHeader
	bytes []byte
}

// unzip reads a zip by its directory, which proves the checksums, and compares that with what stands before
// the bytes of each file: readers of streams go by it.
func unzip(t *testing.T, file []byte) (files []zipped) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	end := int64(0)
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		at, err := f.DataOffset()
		if err != nil {
			t.Fatal(err)
		}
		local := file[end:at]
		little := binary.LittleEndian
		if little.Uint32(local) != 0x04034b50 || little.Uint16(local[6:])&8 != 0 || little.Uint32(local[14:]) != f.CRC32 ||
			uint64(little.Uint32(local[18:])) != f.CompressedSize64 || uint64(little.Uint32(local[22:])) != f.UncompressedSize64 {
			t.Errorf("%s: before its bytes stands %x", f.Name, local)
		}
		end = at + int64(f.CompressedSize64)
		files = append(files, zipped{f.FileHeader, b})
	}
	return files
}

// TestSheetsInPython: another's reader takes the zip, and finds what ours does.
func TestSheetsInPython(t *testing.T) {
	t.Parallel()
	python := machinetest.Program(t, "python3")
	r, j := newRig(t, &source{}, export.Config{}), forExcel(100)
	res, _, err := r.Compose(t.Context(), j, r.inParts(t, j, users(t, 330, 20), 45), j.ResultName())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "export.zip")
	if err := os.WriteFile(path, r.read(t, res.Object), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), python, "-c", `
import csv, io, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None
    for name in z.namelist():
        rows = list(csv.reader(io.TextIOWrapper(z.open(name), "utf-16", newline=""), delimiter="\t"))
        assert rows[0][0] == "id"
        print(name, z.getinfo(name).date_time[:5], *[row[0].removeprefix('="').removesuffix('"') for row in rows[1:]])
`, path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want strings.Builder
	for i := range 330 {
		if i%90 == 0 {
			fmt.Fprintf(&want, "\nvip-users_2026-03-04-%03d.csv (2026, 3, 4, 12, 34)", i/90+1)
		}
		fmt.Fprintf(&want, " u%d", i)
	}
	if got := "\n" + strings.TrimSpace(string(out)); got != want.String() {
		t.Errorf("python reads %s", got)
	}
}

// TestSheetsAreSavedAsZip: attributes and name say what the file is.
func TestSheetsAreSavedAsZip(t *testing.T) {
	t.Parallel()
	objects := &composed{Objects: inmemory.NewObjects()}
	r := &rig{source: &source{}}
	r.Exporter = export.New(r.source, objects, export.Config{})
	j := forExcel(5)
	parts := r.inParts(t, j, users(t, 9, 5), 5)
	if _, _, err := r.Compose(t.Context(), j, parts, j.ResultName()); err != nil {
		t.Fatal(err)
	}
	if a := objects.attrs; a.ContentType != "application/zip" || a.ContentDisposition != `attachment; filename="vip-users_2026-03-04.zip"` || export.ContentType(j) != a.ContentType {
		t.Errorf("attributes = %+v", a)
	}
	if !strings.HasSuffix(j.ResultName(), ".zip") || j.Params.Extension() != ".csv" {
		t.Errorf("the object is %s", j.ResultName())
	}
}

// composed notes the attributes of what is composed.
type composed struct {
	*inmemory.Objects
	attrs jobs.ObjectAttrs
}

func (o *composed) Compose(ctx context.Context, dst string, sources []string, attrs jobs.ObjectAttrs, size int64, crc uint32) (jobs.Object, error) {
	o.attrs = attrs
	return o.Objects.Compose(ctx, dst, sources, attrs, size, crc)
}

// TestNoSheets: parts of which a build without sheets has written one make no zip, nor do those of a zip make
// another file.
func TestNoSheets(t *testing.T) {
	t.Parallel()
	r := newRig(t, &source{}, export.Config{})
	for name, spoil := range map[string]func(j *jobs.Job, parts []*jobs.Part){
		"a part is not deflated":      func(_ *jobs.Job, p []*jobs.Part) { p[1].Plain = nil },
		"the job has forgotten it":    func(j *jobs.Job, _ []*jobs.Part) { j.SheetRows = 0 },
		"a part is none of a sheet":   func(_ *jobs.Job, p []*jobs.Part) { p[0].Rows, p[1].Rows = 12, 8 },
		"the job has smaller ones by": func(j *jobs.Job, _ []*jobs.Part) { j.SheetRows = 9 },
	} {
		j := forExcel(10)
		parts := r.inParts(t, j, users(t, 30, 20), 10)
		spoil(j, parts)
		_, _, err := r.Compose(t.Context(), j, parts, j.ResultName())
		if f := jobs.AsFailure(err); err == nil || f.Code != jobs.CodeInvalidJob || f.Class != jobs.Stale {
			t.Errorf("%s: Compose() = %v", name, err)
		}
	}
}
