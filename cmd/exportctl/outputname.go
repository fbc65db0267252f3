package main

import (
	"archive/zip"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"exportd/api/client"
	"exportd/jobs"
)

// fileKind is what a file is, as the end of its name says.
type fileKind struct {
	format string // as the parameter; "zip", "Excel"; "" where the name says nothing
	gzip   bool
}

func kindOf(path string) fileKind {
	name := strings.ToLower(filepath.Base(path))
	rest, gzip := strings.CutSuffix(name, ".gz")
	return fileKind{map[string]string{
		".csv": jobs.FormatCSV, ".jsonl": jobs.FormatJSONL, ".ndjson": jobs.FormatJSONL, ".json": jobs.FormatJSONL, ".parquet": jobs.FormatParquet,
		".zip": "zip", ".xlsx": "Excel", ".xls": "Excel",
	}[filepath.Ext(rest)], gzip}
}

// checkName refuses to write a file by a name that says it is another, which whatever opens it would believe.
// One for Excel may be a zip of sheets: what it is, saveName sees.
func checkName(path, format string, gzip, excel bool) error {
	is, want := kindOf(path), fileKind{cmp.Or(format, jobs.FormatCSV), gzip}
	if path == "" || path == "-" || is == (fileKind{}) || is == want || is.format == "" && is.gzip == want.gzip || excel && !gzip && is == (fileKind{format: "zip"}) {
		return nil
	}
	end := "." + want.format
	if gzip {
		end += ".gz"
	}
	hint := "Name it " + quote(withoutKind(path)+end)
	switch {
	case is.format == "Excel":
		return &usageError{text: "--output " + path + ": there are no workbooks of Excel", hint: "A file with --csv-profile excel is opened by a double-click: -o " + quote(withoutKind(path)+".csv")}
	case is.gzip && !gzip && (is.format == "" || is.format == want.format) && want.format != jobs.FormatParquet:
		hint += ", or compress it with --compression gzip."
	case is.format != want.format && (is.format == jobs.FormatCSV || is.format == jobs.FormatJSONL || is.format == jobs.FormatParquet):
		hint += fmt.Sprintf(", or ask for that with --format %s.", is.format)
	default:
		hint += "."
	}
	return &usageError{text: fmt.Sprintf("--output %s: the file is %s", path, strings.TrimPrefix(end, ".")), hint: hint}
}

// withoutKind is a path without what its end says of the file.
func withoutKind(path string) string {
	for kindOf(path) != (fileKind{}) {
		path = strings.TrimSuffix(path, filepath.Ext(path))
	}
	return path
}

// saveName is where the file of a job goes that was to go to path: a zip of sheets is not given the name of a
// file of CSV, nor is that given the name of a zip. It replaces no file that was not named, but the zip of
// sheets of a night before.
func saveName(ctx context.Context, c *client.Client, job *client.Job, path string) (string, error) {
	p := job.Params
	excel := p.Profile == client.ProfileExcel
	gzip := p.Compression != nil && *p.Compression == client.CompressionGzip
	format := ""
	if p.Format != nil {
		format = string(*p.Format)
	}
	if err := checkName(path, format, gzip, excel); err != nil || !excel || gzip || kindOf(path).format == "" {
		return path, err
	}
	m, err := c.GetManifestWithResponse(ctx, job.JobID)
	if err != nil {
		return path, about(job.JobID, err)
	}
	end := ".csv"
	if kindOf(m.JSON200.URL).format == "zip" {
		end = ".zip"
	}
	if kindOf(path) == kindOf(end) {
		return path, nil
	}
	name := withoutKind(path) + end
	if _, err := os.Lstat(name); err == nil && !isSheets(name, string(job.Kind)) {
		return path, &hinted{fmt.Errorf("the file is %s, and %s is there already", strings.TrimPrefix(end, "."), name), "Bring it by another name:  exportctl jobs download " + job.JobID + " -o NAME" + end}
	}
	return name, nil
}

// sheetName is how a sheet in a zip is named: after its kind, a day or two, and its number.
var sheetName = regexp.MustCompile(`^(.+?)(_\d{4}-\d{2}-\d{2}){1,2}-\d{3,}\.csv$`)

// isSheets reports whether a file is a zip with nothing but sheets of a kind of export.
func isSheets(path, kind string) bool {
	z, err := zip.OpenReader(path)
	if err != nil {
		return false
	}
	defer z.Close()
	return len(z.File) > 0 && !slices.ContainsFunc(z.File, func(f *zip.File) bool {
		m := sheetName.FindStringSubmatch(f.Name)
		return m == nil || m[1] != kind
	})
}
