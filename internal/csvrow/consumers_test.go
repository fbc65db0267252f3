//go:build consumers

package csvrow_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"golang.org/x/text/encoding/unicode"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/e2e/e2etest"
	"exportd/internal/machinetest"
)

// sample is a file, and the cells that are in it.
type sample struct {
	name  string
	opts  csvrow.Options
	bytes []byte
	path  string
	want  [][]string // with the header, if it has one
}

// encoding is that of the file's text.
func (s *sample) encoding() string {
	if s.opts.Excel {
		return "utf-16"
	}
	return "utf-8"
}

// recode is how iconv makes UTF-8 of a file for Excel.
const recode = "iconv -f UTF-16 -t UTF-8"

// through is the program that the file is to go through before a reader that knows UTF-8 alone; "" for none.
func (s *sample) through() string {
	if s.opts.Excel {
		return recode
	}
	return ""
}

// meant is what a cell that a reader found stands for: one for Excel may be the formula of a text or number.
func (s *sample) meant(cell string) string {
	if !s.opts.Excel || cell == null {
		return cell
	}
	c, err := csvrowtest.ReadSheetCell(cell)
	if err != nil {
		return cell
	}
	return c.Text
}

const (
	// plainRows come first: more than any reader looks at to guess how a file is written.
	plainRows = 21_000
	// randomRows have all columns random, behind a row of each hazard.
	randomRows = 2500
)

// samples are a file of each form that a caller may ask for, of the same documents.
func samples(t *testing.T) (list []*sample) {
	t.Helper()
	d := dataset.VIPMessages
	texts := append(hazards(t), "before\n\\.\nafter")
	for _, s := range []*sample{
		{name: "as it is", opts: csvrow.Options{FormulaGuard: true}}, {name: "semicolon", opts: csvrow.Options{Delimiter: ';'}},
		{name: "tab", opts: csvrow.Options{Delimiter: '\t'}}, {name: "pipe", opts: csvrow.Options{Delimiter: '|'}},
		{name: "header=off", opts: csvrow.Options{NoHeader: true}}, {name: "with a mark", opts: csvrow.Options{BOM: true}},
		{name: "profile=excel", opts: csvrow.Options{Excel: true, Delimiter: '\t', FormulaGuard: true}},
	} {
		r := rand.New(rand.NewPCG(51, 52))
		e := csvrow.NewEncoder(d, s.opts)
		s.bytes = e.AppendHeader(nil)
		if !s.opts.NoHeader {
			s.want = append(s.want, d.Headers())
		}
		for i := range plainRows + len(texts) + randomRows {
			id, fields := fmt.Sprintf("%05d", i), map[string]any{"displayName": "Anna", "text": "hello", "labels": []any{"a", "b"}}
			switch at := i - plainRows; {
			case at >= len(texts):
				fields = csvrowtest.RandomFields(r, texts)
			case at >= 0:
				text := texts[at]
				id = id[:1+i%5] + strings.ToValidUTF8(strings.ReplaceAll(text, "/", ""), "") + id
				fields = map[string]any{"displayName": text, "kind": text, "text": text, "labels": []any{text, "x", text}}
			}
			cells, _ := csvrowtest.Chosen("vip-messages", id, fields, s.opts.FormulaGuard, nil, nil)
			if s.opts.Excel {
				cells = csvrowtest.SheetTexts("vip-messages", id, fields, s.opts.FormulaGuard, nil, nil)
			}
			s.want = append(s.want, cells)
			var err error
			if s.bytes, err = e.AppendRow(s.bytes, csvrowtest.Document("projects/p/databases/d/documents/C/"+id, fields)); err != nil {
				t.Fatal(err)
			}
		}
		s.path = filepath.Join(t.TempDir(), "export.csv")
		if err := os.WriteFile(s.path, s.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

// null is what a reader has for null: no cell has NUL in it.
const null = "\x00"

// exception is what a reader is known to do.
type exception struct {
	reason string
	sample string                   // the one that it is of; "" for all
	cell   func(want string) string // what becomes of a cell
	first  string                   // stands before the first cell of the file
	fails  string                   // is in what the reader says as it fails
}

var (
	emptyIsNull = exception{reason: "empty is null", cell: func(want string) string {
		if want == "" {
			return null
		}
		return want
	}}
	noPairs    = exception{reason: "its UTF-16 ends at U+FFFF", sample: "profile=excel", fails: "File is not utf-16 encoded"}
	noneIsFFFD = exception{reason: "what is no character in UTF-16, as U+FFFE, is U+FFFD", sample: "profile=excel", cell: func(want string) string {
		return strings.Map(func(r rune) rune {
			if r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef {
				return '\ufffd'
			}
			return r
		}, want)
	}}
	oneBreak     = exception{reason: "CR LF in a cell is LF", cell: strings.NewReplacer("\r\n", "\n").Replace}
	marked       = exception{reason: "the mark stays in the first cell", sample: "with a mark", first: "\ufeff"}
	noCR         = exception{reason: "CR, CR LF in a cell are LF, CR CR LF three", cell: strings.NewReplacer("\r\r\n", "\n\n\n", "\r\n", "\n", "\r", "\n").Replace}
	oneBreakKind = exception{reason: "CR, CR LF, LF CR in a cell are LF", cell: strings.NewReplacer("\r\n", "\n", "\n\r", "\n", "\r", "\n").Replace}
)

// consumer is a reader that others have written.
type consumer struct {
	name  string
	read  func(t *testing.T, s *sample) ([][]string, error)
	known []exception
}

// TestConsumers has readers that others have written find the rows and cells of each form of file, and prints
// a table of what they found. What they are known to do is listed with them; what is not seen any more must
// go from the list. `make consumers` runs it.
func TestConsumers(t *testing.T) {
	t.Parallel()
	files := samples(t)
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "consumer\tfile\trows\tcells equal\tof\tknown\n")
	for _, c := range consumers(t) {
		t.Run(c.name, func(t *testing.T) {
			seen := map[string]int{}
			for _, s := range files {
				fmt.Fprintf(table, "%s\t%s\t%s\n", c.name, s.name, c.judge(t, s, seen))
			}
			for _, known := range c.known {
				if seen[known.reason] == 0 {
					t.Errorf("it is listed that %q, which has not been seen", known.reason)
				}
			}
		})
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rows before, %d rows of hazards, %d random ones, %d cells in a row\n%s", plainRows, len(files[0].want)-1-plainRows-randomRows, randomRows, len(files[0].want[0]), text.String())
}

// judge compares what a consumer finds with what there is, but for what is known of it, and counts that by
// reason.
func (c *consumer) judge(t *testing.T, s *sample, seen map[string]int) string {
	t.Helper()
	rows, err := c.read(t, s)
	var known []exception
	for _, k := range c.known {
		if k.sample != "" && k.sample != s.name {
			continue
		}
		if k.fails != "" {
			if err != nil && strings.Contains(err.Error(), k.fails) {
				seen[k.reason]++
				return "-\t0\t-\tfails: " + k.reason
			}
			t.Errorf("%s: it is listed that it fails with %q, and it says %v", s.name, k.fails, err)
			return "\t\t\tdoes not fail"
		}
		known = append(known, k)
	}
	if err != nil {
		t.Errorf("%s: %v", s.name, err)
		return "\t\t\tfails"
	}
	if len(rows) != len(s.want) {
		t.Errorf("%s: %d rows, want %d", s.name, len(rows), len(s.want))
	}
	equal, cells, wrong := 0, 0, 0
	here := map[string]int{}
	for i, want := range s.want {
		cells += len(want)
		if i >= len(rows) || len(rows[i]) != len(want) {
			if wrong += len(want); wrong < 50 {
				t.Errorf("%s, row %d: %.300q, want %.300q", s.name, i, rows[min(i, len(rows)-1)], want)
			}
			continue
		}
		for k, cell := range want {
			got := s.meant(rows[i][k])
			if got == cell {
				equal++
				continue
			}
			may := cell
			for _, e := range known {
				was := may
				if e.cell != nil && (i > 0 || s.opts.NoHeader) {
					may = e.cell(may)
				}
				if i == 0 && k == 0 {
					may = e.first + may
				}
				if may != was {
					here[e.reason]++
				}
			}
			if got != may {
				if wrong++; wrong < 10 {
					t.Errorf("%s, row %d: cell %d is %.300q, want %.300q", s.name, i, k, got, may)
				}
			}
		}
	}
	note := ""
	for _, e := range known {
		if n := here[e.reason]; n > 0 {
			seen[e.reason] += n
			note += fmt.Sprintf("%s (%d) ", e.reason, n)
		}
	}
	if wrong > 0 {
		note += fmt.Sprintf("WRONG (%d)", wrong)
	}
	return fmt.Sprintf("%d\t%d\t%d\t%s", len(rows), equal, cells, note)
}

func consumers(t *testing.T) []consumer {
	t.Helper()
	bin := e2etest.PostgresBin()
	if bin == "" {
		machinetest.Lacks(t, "PostgreSQL (initdb, postgres, psql)")
	}
	db := e2etest.StartPostgres(t, bin)
	const nullText = "no cell is this"
	postgres := func(client bool) func(t *testing.T, s *sample) ([][]string, error) {
		return func(t *testing.T, s *sample) ([][]string, error) {
			rows, err := db.CopyAs(t, dataset.VIPMessages.Headers(), s.bytes, e2etest.CopyForm{Delimiter: s.opts.Delimiter, NoHeader: s.opts.NoHeader, Client: client, Program: s.through()}, nullText)
			if s.opts.NoHeader && err == nil {
				rows = rows[1:]
			}
			for _, row := range rows {
				for i := range row {
					if row[i] == nullText {
						row[i] = null
					}
				}
			}
			return rows, err
		}
	}
	return []consumer{
		{name: "Go encoding/csv", read: goReader, known: []exception{oneBreak, marked}},
		{name: "Python csv", read: script("python3", "read.py", "csv")},
		{name: "pandas", read: script("/usr/bin/python3", "read.py", "pandas")},
		{name: "SQLite .import", read: sqlite},
		{name: "PostgreSQL COPY", read: postgres(false), known: []exception{emptyIsNull}},
		{name: `psql \copy`, read: postgres(true), known: []exception{{reason: `a line \. in a cell ends the input`, fails: "unterminated CSV quoted field"}}},
		{name: "DuckDB", read: script("node", "read.mjs", "duckdb"), known: []exception{emptyIsNull, noPairs}},
		{name: "DuckDB, guessing", read: script("node", "read.mjs", "duckdb-guess"), known: []exception{emptyIsNull, noPairs,
			{reason: "it looks for quotes in the header and 20,480 rows", sample: "header=off", fails: "Expected Number of Columns"}}},
		{name: "csv-parse", read: script("node", "read.mjs", "csv-parse")},
		{name: "papaparse", read: script("node", "read.mjs", "papaparse")},
		{name: "fast-csv", read: script("node", "read.mjs", "fast-csv")},
		{name: "Miller", read: miller, known: []exception{oneBreak}},
		{name: "Perl Text::CSV", read: script("perl", "read.pl", ""), known: []exception{marked, noneIsFFFD}},
		{name: "Ruby csv", read: script("ruby", "read.rb", ""), known: []exception{emptyIsNull}},
		{name: "PHP fgetcsv", read: script("php", "read.php", ""), known: []exception{marked}},
		{name: "R read.table", read: script("Rscript", "read.R", ""), known: []exception{noCR}},
		{name: "LibreOffice", read: libreOffice, known: []exception{oneBreakKind}},
	}
}

func goReader(_ *testing.T, s *sample) ([][]string, error) {
	var file io.Reader = bytes.NewReader(s.bytes)
	if s.opts.Excel {
		file = unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder().Reader(file)
	}
	r := csv.NewReader(file)
	r.Comma = rune(s.opts.Comma())
	return r.ReadAll()
}

func libreOffice(t *testing.T, s *sample) ([][]string, error) {
	charset := 76 // UTF-8
	if s.opts.Excel {
		charset = 65535 // UTF-16
	}
	in := fmt.Sprintf("CSV:%d,34,%d,1,1/2/2/2/3/2/4/2/5/2/6/2/7/2/8/2,0,false,true,false,false,false,-1,true", s.opts.Comma(), charset)
	out := convert(t, s.bytes, in, "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,true,true,false")
	return csv.NewReader(bytes.NewReader(out)).ReadAll()
}
