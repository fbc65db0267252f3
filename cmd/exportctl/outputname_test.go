package main

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"exportd/api/client"
)

// TestCheckName: a file gets no name that says it is another, and what is said instead leads to one that is
// taken.
func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, format string
		gzip, excel  bool
		says         string // "" where the name is taken
	}{
		{path: "", format: "parquet"}, {path: "-", format: "parquet"}, {path: "out", format: "parquet"}, {path: "out.txt", format: "jsonl"}, {path: "/dev/stdout"},
		{path: "out.csv"}, {path: "OUT.CSV", format: "csv"}, {path: "out.tsv"}, {path: "a.parquet/out.csv"}, {path: "2026.06.csv"},
		{path: "out.jsonl", format: "jsonl"}, {path: "out.ndjson", format: "jsonl"}, {path: "out.json", format: "jsonl"}, {path: "out.parquet", format: "parquet"},
		{path: "out.csv.gz", gzip: true}, {path: "out.gz", gzip: true}, {path: "out.gz", format: "jsonl", gzip: true}, {path: "out", gzip: true},
		{path: "out.csv", excel: true}, {path: "out.zip", excel: true}, {path: "out.csv.gz", gzip: true, excel: true},
		{path: "out.csv", format: "parquet", says: "the file is parquet: Name it out.parquet, or ask for that with --format csv."},
		{path: "out.csv", format: "jsonl", says: "Name it out.jsonl, or ask for that with --format csv."},
		{path: "out.parquet", says: "the file is csv: Name it out.csv, or ask for that with --format parquet."},
		{path: "out.json", says: "Name it out.csv, or ask for that with --format jsonl."},
		{path: "out.gz", says: "Name it out.csv, or compress it with --compression gzip."},
		{path: "out.jsonl.gz", format: "jsonl", says: "Name it out.jsonl, or compress it with --compression gzip."},
		{path: "out.parquet.gz", format: "parquet", says: "Name it out.parquet."},
		{path: "out.csv", gzip: true, says: "the file is csv.gz: Name it out.csv.gz."},
		{path: "out.zip", says: "Name it out.csv."}, {path: "out.zip", gzip: true, excel: true, says: "Name it out.csv.gz."},
		{path: "my out.csv", gzip: true, says: "Name it 'my out.csv.gz'."},
		{path: "out.xlsx", excel: true, says: "there are no workbooks of Excel: A file with --csv-profile excel is opened by a double-click: -o out.csv"},
	} {
		err := checkName(c.path, c.format, c.gzip, c.excel)
		var usage *usageError
		if errors.As(err, &usage) != (c.says != "") || usage != nil && !strings.Contains(usage.text+": "+usage.hint, c.says) {
			t.Errorf("checkName(%q, %q, %t, %t) = %+v, want %q", c.path, c.format, c.gzip, c.excel, usage, c.says)
		}
	}
}

// TestSaveName: what has become a zip of sheets is written as a zip beside the name that was given, one sheet
// as CSV, and neither over a file that nobody named.
func TestSaveName(t *testing.T) {
	t.Parallel()
	asked := 0
	var url string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"url": url})
	}))
	defer server.Close()
	c, err := client.New(client.Config{BaseURL: server.URL, Key: "k", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	job := fixture[client.Job](t, "job.json")
	job.Kind, job.Params.Profile = "vip-users", client.ProfileExcel
	dir := t.TempDir()
	for _, step := range []struct{ given, file, want string }{
		{"out.csv", "x.zip", "out.zip"}, {"out.zip", "x.zip", "out.zip"}, {"out", "x.zip", "out"}, {"out.CSV", "x.csv", "out.CSV"}, {"out.zip", "x.csv", "out.csv"},
		{"out.csv", "x.sh", "out.csv"},
	} {
		url = step.file
		if got, err := saveName(t.Context(), c, job, filepath.Join(dir, step.given)); err != nil || got != filepath.Join(dir, step.want) {
			t.Errorf("%s of %s is written as %s, %v", step.file, step.given, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "out.zip"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	url = "x.zip"
	if _, err := saveName(t.Context(), c, job, filepath.Join(dir, "out.csv")); err == nil || !strings.Contains(fmt.Sprint(err), "out.zip is there already") {
		t.Errorf("a file that nobody named would be replaced: %v", err)
	}
	for name, names := range map[string][]string{
		"":                     {"vip-users_2026-06-01-001.csv", "vip-users_2026-06-01-002.csv"},
		"of two days":          {"vip-users_2026-06-01_2026-06-30-001.csv"},
		"with another file":    {"vip-users_2026-06-01-001.csv", "notes.txt"},
		"of another kind":      {"vip-messages_2026-06-01-001.csv"},
		"of a file in folders": {"../vip-users_2026-06-01-001.csv"},
		"empty":                {},
	} {
		writeZip(t, filepath.Join(dir, "out.zip"), names)
		got, err := saveName(t.Context(), c, job, filepath.Join(dir, "out.csv"))
		if ours := name == "" || name == "of two days"; (err == nil) != ours || ours && got != filepath.Join(dir, "out.zip") {
			t.Errorf("beside a zip %s, it is written as %s, %v", name, got, err)
		}
	}
	before := asked
	gzip, parquet := client.CompressionGzip, client.FileFormatParquet
	job.Params.Compression = &gzip
	if got, err := saveName(t.Context(), c, job, "out.csv.gz"); got != "out.csv.gz" || err != nil || asked != before {
		t.Errorf("a compressed file is written as %s, %v", got, err)
	}
	job.Params = client.Params{Format: &parquet}
	var usage *usageError
	if _, err := saveName(t.Context(), c, job, "out.csv"); !errors.As(err, &usage) || asked != before {
		t.Errorf("Parquet gets the name of CSV: %v", err)
	}
}

func writeZip(t *testing.T, path string, names []string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for _, name := range names {
		if _, err := z.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}
