package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/e2e/e2etest"
	"exportd/jobs"
)

// fileParams are those that say in which form a file is.
var fileParams = []string{jobs.ParamProfile, jobs.ParamFormat, jobs.ParamCompression, jobs.ParamColumns, jobs.ParamTimezone, jobs.ParamDelimiter, jobs.ParamHeader, jobs.ParamSince}

var (
	someZones      = []string{"Europe/Prague", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"}
	someDelimiters = slices.Sorted(maps.Keys(delimiters))
	delimiters     = map[string]byte{"": ',', "semicolon": ';', "tab": '\t', "pipe": '|'}
)

// randomForm has an export ask for a form of its file: what is of CSV as it comes, or with anything that can
// be chosen of it, compressed, for Excel, JSONL, or Parquet.
func randomForm(rng *rand.Rand, kind string, q url.Values) {
	one := func(name string, values ...string) {
		if v := values[rng.IntN(len(values))]; v != "" {
			q.Set(name, v)
		}
	}
	format := rng.IntN(6)
	if format == 0 {
		return
	}
	one(jobs.ParamColumns, "", randomColumns(rng, kind))
	switch format {
	case 1, 2:
		one(jobs.ParamDelimiter, someDelimiters...)
		one(jobs.ParamFormulaGuard, "", "off")
	case 3:
		q.Set(jobs.ParamProfile, jobs.ProfileExcel)
	case 4:
		q.Set(jobs.ParamFormat, jobs.FormatJSONL)
	case 5:
		q.Set(jobs.ParamFormat, jobs.FormatParquet)
		return
	}
	one(jobs.ParamTimezone, append(someZones, "", "")...)
	if format < 4 {
		one(jobs.ParamHeader, "", "", jobs.HeaderOff)
	}
	if format != 3 {
		one(jobs.ParamCompression, "", jobs.CompressionGzip)
	}
}

// randomColumns are some of a kind's, the id first, and the others in any order.
func randomColumns(rng *rand.Rand, kind string) string {
	all := strings.Split(e2etest.Header(jobs.Kind(kind)), ",")
	rng.Shuffle(len(all)-1, func(i, j int) { all[i+1], all[j+1] = all[j+1], all[i+1] })
	return strings.Join(all[:1+rng.IntN(len(all)-1)], ",")
}

// formName is what a report calls the form of a job's file.
func formName(p jobs.Params) string {
	name := strings.TrimPrefix(p.Extension(), ".")
	if p.Profile() == jobs.ProfileExcel {
		name = p.Profile()
	}
	if p.Since() != "" {
		name += " since"
	}
	return name
}

// notAsked says which parameter of its file a job does not have as it was asked for, "" if all are.
func notAsked(p jobs.Params, q url.Values) string {
	for _, name := range fileParams {
		if has, asked := strings.TrimPrefix(p.Text(name), jobs.ProfileRFC4180), q.Get(name); has != asked {
			return fmt.Sprintf("%s is %q, asked for was %q", name, has, asked)
		}
	}
	if asked := p.Format() == jobs.FormatCSV && q.Get(jobs.ParamFormulaGuard) != "off"; p.FormulaGuard() != asked {
		return fmt.Sprintf("%s is %t, asked for was %t", jobs.ParamFormulaGuard, p.FormulaGuard(), asked)
	}
	return ""
}

// columns are the names of those that the file of a job has of its kind's.
func columns(j *jobs.Job) []string {
	names := e2etest.Header(j.Kind)
	if chosen := j.Params.Text(jobs.ParamColumns); chosen != "" {
		names = chosen
	}
	return strings.Split(names, ",")
}

// header are the names of all columns that the file of a job has.
func header(j *jobs.Job) []string {
	names := columns(j)
	if j.Params.Since() != "" {
		names = append([]string{"change"}, names...)
	}
	return names
}

// table reads the file of a job, by readers that share no code with what has written it: all its cells, with
// those of the header if it has one.
func table(j *jobs.Job, file []byte) ([][]string, error) {
	p := j.Params
	if p.Gzip() {
		r, err := gzip.NewReader(bytes.NewReader(file))
		if err != nil {
			return nil, err
		}
		if file, err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
	switch {
	case p.Format() == jobs.FormatJSONL:
		return e2etest.ParseJSONL(header(j), file)
	case p.Format() == jobs.FormatParquet:
		return e2etest.ParseParquet(header(j), file)
	case j.SheetRows > 0:
		return sheets(j, file)
	case p.Excel():
		return sheet(file)
	case p.BOM(): // of a build before
		file = bytes.TrimPrefix(file, []byte("\ufeff"))
	}
	return e2etest.ParseCells(file, delimiters[p.Text(jobs.ParamDelimiter)])
}

// sheets reads a zip of files for Excel, as if they were one: each has the header, if they have one.
func sheets(j *jobs.Job, file []byte) (rows [][]string, err error) {
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return nil, err
	}
	for i, f := range z.File {
		in, err := f.Open()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		some, err := sheet(b)
		if err != nil || len(some) == 0 || int64(len(some)) > j.SheetRows+1 {
			return nil, fmt.Errorf("%s has %d lines: %w", f.Name, len(some), err)
		}
		if i > 0 && j.Params.Text(jobs.ParamHeader) != jobs.HeaderOff {
			if !slices.Equal(some[0], rows[0]) {
				return nil, fmt.Errorf("%s has another header: %q", f.Name, some[0])
			}
			some = some[1:]
		}
		rows = append(rows, some...)
	}
	return rows, nil
}

// sheet reads a file for Excel.
func sheet(file []byte) (rows [][]string, err error) {
	read, err := csvrowtest.Sheet(file)
	for _, cells := range read {
		row := make([]string, len(cells))
		for i, c := range cells {
			row[i] = c.Text
		}
		rows = append(rows, row)
	}
	return rows, err
}
