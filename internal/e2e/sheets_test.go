//go:build consumers

package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"errors"
	"flag"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/text/encoding/unicode"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/e2e/e2etest"
	"exportd/internal/export"
	"exportd/internal/machinetest"
)

var (
	sheetUsers = flag.Int("sheet-users", 1_300_000, "users of TestSheets, of whom some are in another workspace")
	sheetRows  = flag.Int("sheet-rows", export.SheetLines-1, "rows that a sheet of TestSheets has room for; another number than Excel's is for its workers alone")
)

// sheetsWithin is for an export of so many rows on a busy machine.
const sheetsWithin = 20 * time.Minute

// TestSheets: more rows than a sheet of Excel holds are a zip of sheets, though one worker is killed while it
// writes parts and the next before it composes: each row once, in the order of a plain file, in sheets that
// LibreOffice and unzip open whole.
func TestSheets(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir(), "--control", "127.0.0.1:0")
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: *sheetUsers, Messages: 1}, "EXPORTD_RATE_KEY_PER_SECOND=0")
	program, settings := exportd, []string{"EXPORTD_LEASE_SECONDS=3"}
	if *sheetRows != export.SheetLines-1 {
		program = withSmallSheets(t)
		settings = append(settings, "EXPORTD_TEST_SHEET_ROWS="+strconv.Itoa(*sheetRows), "EXPORTD_PART_ROWS="+strconv.Itoa(*sheetRows/10))
	}
	worker := e2etest.Worker(t, program, hosts, settings...)
	ids := plainIDs(t, s)
	if len(ids) <= *sheetRows {
		t.Fatalf("there are %d rows, which a sheet has room for", len(ids))
	}
	if program != exportd {
		s.Faults(t, `{"rules": {"Firestore/RunQuery": {"rowsPerSecond": 300}}}`) // or they are all written before any is killed
	}

	begun := time.Now()
	id := s.Caller().Submit(t, "vip-users", s.Users("profile", "excel"))
	e2etest.Until(t, sheetsWithin, "some parts to be done", func() bool { return s.Caller().Job(t, id, "").Progress.PartsDone >= 3 })
	first := peakRSS(t, worker)
	worker.Kill()
	s.Faults(t, `{"rules": {"Storage/ComposeObject": {"delayRate": 1, "delayMs": 600000}}}`)
	worker = e2etest.Worker(t, program, hosts, settings...)
	e2etest.Until(t, sheetsWithin, "a worker to compose", func() bool { return hosts.Counters(t).Methods["Storage/ComposeObject"].Calls > 0 })
	second := peakRSS(t, worker)
	worker.Kill()
	s.Faults(t, "{}")
	worker = e2etest.Worker(t, program, hosts, settings...)
	job := s.Caller().Await(t, id, sheetsWithin)
	if job.State != "succeeded" || *job.TotalCount != int64(len(ids)) {
		t.Fatalf("the job is %+v, of %d rows", job, len(ids))
	}
	took := time.Since(begun)
	file := e2etest.Download(t, *job.CSVURL).Body
	provenByParts(t, s, job, file)
	folder := t.TempDir()
	sheets, at := unzipped(t, file, folder), 0
	for _, name := range sheets {
		n := 0
		for cell := range firstCells(t, filepath.Join(folder, name)) {
			c, err := csvrowtest.ReadSheetCell(cell)
			if at == len(ids) || err != nil || c.Text != ids[at] {
				t.Fatalf("row %d of %s is of %q, %v, and row %d of a plain file is not", n, name, cell, err, at)
			}
			n++
			at++
		}
		if n > *sheetRows {
			t.Errorf("%s has %d rows", name, n)
		}
	}
	if at != len(ids) {
		t.Errorf("the sheets have %d rows, a plain file %d", at, len(ids))
	}
	t.Logf("%d rows in %d sheets, %d bytes, %d parts, in %s with two kills; peak memory of the workers %d, %d and %d MiB", at, len(sheets), len(file), job.Progress.PartsTotal,
		took.Round(time.Second), first>>20, second>>20, peakRSS(t, worker)>>20)
	inLibreOffice(t, folder, sheets)
}

// withSmallSheets builds a program whose workers have sheets of fewer rows.
func withSmallSheets(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "exportd")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "nomsgpack,crashpoints", "-o", bin, "exportd/cmd/exportd").CombinedOutput(); err != nil {
		t.Fatalf("build exportd: %v: %s", err, out)
	}
	return bin
}

// plainIDs are the ids of all users, in the order of a plain file.
func plainIDs(t *testing.T, s *e2etest.Stack) (ids []string) {
	t.Helper()
	job, file := s.Caller().Export(t, "vip-users", s.Users("columns", "id"))
	rows, err := e2etest.ParseCSV(file)
	if err != nil || int64(len(rows)-1) != *job.TotalCount {
		t.Fatalf("%d lines of %d rows: %v", len(rows), *job.TotalCount, err)
	}
	for _, row := range rows[1:] {
		ids = append(ids, row[0])
	}
	return ids
}

// unzipped writes the files of a zip to a folder and gives their names. That their checksums are right, the
// reader proves, and unzip besides.
func unzipped(t *testing.T, file []byte, folder string) (names []string) {
	t.Helper()
	path := filepath.Join(folder, "export.zip")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), machinetest.Program(t, "unzip"), "-t", path).CombinedOutput(); err != nil {
		t.Fatalf("unzip: %v: %.1000s", err, out)
	}
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(folder, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, in); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if err := errors.Join(in.Close(), out.Close()); err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Name)
	}
	return names
}

// firstCells gives the first cell of each row of a sheet but its header.
func firstCells(t *testing.T, path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		rows := csv.NewReader(unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder().Reader(f))
		rows.Comma, rows.ReuseRecord = '\t', true
		for n := 0; ; n++ {
			row, err := rows.Read()
			switch {
			case err == io.EOF:
				return
			case err != nil:
				t.Fatalf("%s: %v", path, err)
			case n == 0 && row[0] != "id":
				t.Fatalf("%s begins with %q", path, row)
			case n > 0 && !yield(row[0]):
				return
			}
		}
	}
}

// inLibreOffice: LibreOffice finds as many rows in each sheet as csv does, none of them cut off.
func inLibreOffice(t *testing.T, folder string, sheets []string) {
	t.Helper()
	for _, name := range sheets {
		begun, want := time.Now(), 1
		for range firstCells(t, filepath.Join(folder, name)) {
			want++
		}
		out := machinetest.LibreOffice(t, "CSV:9,34,65535,1,,1033,false,true,false,false,false,-1,true",
			"csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false", filepath.Join(folder, name))
		f, err := os.Open(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		rows, lines := csv.NewReader(f), 0
		rows.ReuseRecord, rows.FieldsPerRecord = true, 0
		for _, err = rows.Read(); err == nil; _, err = rows.Read() {
			lines++
		}
		_ = f.Close()
		if err != io.EOF || lines != want {
			t.Errorf("LibreOffice has %d lines of %s, %v; want %d", lines, name, err, want)
		}
		t.Logf("LibreOffice opens %s with %d lines in %s", name, lines, time.Since(begun).Round(time.Second))
	}
}
