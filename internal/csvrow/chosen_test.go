package csvrow_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
)

var delimiters = []byte{',', ';', '\t', '|'}

// chosen are random options that are not those by default.
func chosen(r *rand.Rand, d *dataset.Dataset) csvrow.Options {
	o := csvrow.Options{Delimiter: delimiters[r.IntN(4)], FormulaGuard: r.IntN(2) == 0, NoHeader: r.IntN(2) == 0}
	if o.Delimiter == ',' || r.IntN(2) == 0 {
		o.Columns = r.Perm(len(d.Columns))[:1+r.IntN(len(d.Columns))]
	}
	if r.IntN(3) == 0 {
		o.Zone = zones[r.IntN(len(zones))]
	}
	return o
}

// zones have offsets of half hours, none of whole minutes, and changes.
var zones = func() (list []*time.Location) {
	for _, name := range []string{"Europe/Prague", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati", "Pacific/Niue"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			panic(err)
		}
		list = append(list, zone)
	}
	return list
}()

// TestChosen: in every form, a reader that knows its delimiter finds the cells that the judge has, with ids
// in their place and text that leads a row guarded as they are; and a row has one line.
func TestChosen(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 3))
		kind := kinds[seed%2]
		d := dataset.BuiltIn.Get(string(kind))
		opts := chosen(r, d)
		id, fields := fmt.Sprintf("%s%d", []string{"u", "-", "+"}[r.IntN(3)], seed), csvrowtest.RandomFields(r, nil)
		want, _ := csvrowtest.Chosen(kind, id, fields, opts.FormulaGuard, opts.Columns, opts.Zone)
		guarded := map[string]int64{}
		if opts.FormulaGuard {
			guarded = csvrowtest.GuardedBy(kind, id, fields, opts.Columns, opts.Zone)
		}
		e := csvrow.NewEncoder(d, opts)
		row, err := e.AppendRow(nil, csvrowtest.Document("projects/p/databases/d/documents/C/"+id, fields))
		if err != nil {
			t.Fatal(err)
		}
		// A reader makes LF of CR LF within a cell, so what it reads has something in between.
		body := bytes.ReplaceAll(bytes.TrimSuffix(row, []byte("\r\n")), []byte("\r\n"), []byte("\r\x00\n"))
		reader := csv.NewReader(bytes.NewReader(body))
		reader.Comma = rune(opts.Delimiter)
		rows, err := reader.ReadAll()
		if err != nil || len(rows) != 1 {
			t.Fatalf("seed %d: %d rows, %v of %q", seed, len(rows), err, row)
		}
		for i, cell := range rows[0] {
			rows[0][i] = strings.ReplaceAll(cell, "\r\x00\n", "\r\n")
		}
		if !slices.Equal(rows[0], want) || !maps.Equal(e.Guarded(), guarded) {
			t.Fatalf("seed %d, %+v: cells are\n%q, want\n%q; guarded are %v, want %v", seed, opts, rows[0], want, e.Guarded(), guarded)
		}
	}
}

// TestChosenNumberFirst: behind a number below 0 that a row begins with, an import may join the next cell to
// a formula.
func TestChosenNumberFirst(t *testing.T) {
	t.Parallel()
	ltv := slices.Index(dataset.VIPUsers.Headers(), "ltv")
	for _, test := range []struct {
		ltv     any
		columns []int
		want    string
		guarded int64
	}{
		{int64(-5), []int{ltv, 2}, "'-5,2+3", 1}, {-5.5, []int{ltv, 2}, "'-5.5,2+3", 1}, {math.Inf(-1), []int{ltv, 2}, "'-Infinity,2+3", 1}, {int64(5), []int{ltv, 2}, "5,2+3", 0},
		{int64(-5), []int{2, ltv}, "2+3,-5", 0}, {int64(-5), []int{ltv}, "-5", 0},
	} {
		e := csvrow.NewEncoder(dataset.VIPUsers, csvrow.Options{FormulaGuard: true, Columns: test.columns})
		got, err := e.AppendRow(nil, csvrowtest.Document("d/c/u", map[string]any{"ltv": test.ltv, "displayName": "2+3"}))
		if err != nil || string(got) != test.want+"\r\n" || e.Guarded()["ltv"] != test.guarded {
			t.Errorf("%v, columns %v: %q with the cells %v guarded, %v; want %s", test.ltv, test.columns, got, e.Guarded(), err, test.want)
		}
	}
}

// TestChosenTimes: a time is told in its zone on both sides of a change, before there were zones the instant
// is exact, and where the year would have five digits it stays in UTC.
func TestChosenTimes(t *testing.T) {
	t.Parallel()
	prague := zones[0]
	for stored, want := range map[string]string{
		"2026-06-01T12:00:00.678901Z": "2026-06-01T14:00:00.678901+02:00",
		"2026-10-25T00:30:00Z":        "2026-10-25T02:30:00.000000+02:00",
		"2026-10-25T01:30:00Z":        "2026-10-25T02:30:00.000000+01:00",
		"1800-01-01T00:00:00Z":        "1800-01-01T00:57:00.000000+00:57", // Prague's own time was 44 s more
		"9999-12-31T23:30:00Z":        "9999-12-31T23:30:00.000000Z",
	} {
		at, err := time.Parse(time.RFC3339, stored)
		if err != nil {
			t.Fatal(err)
		}
		e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{Zone: prague, Columns: []int{1}})
		got, err := e.AppendRow(nil, csvrowtest.Document("d/c/m", map[string]any{"timestamp": at}))
		if err != nil || string(got) != want+"\r\n" {
			t.Errorf("%s in Prague = %q, %v, want %s", stored, got, err, want)
		}
		if back, err := time.Parse(time.RFC3339, want); err != nil || !back.Equal(at) {
			t.Errorf("%s is another instant than %s", want, stored)
		}
	}
}

// TestChosenHeader: names in the order asked for, with the delimiter, or none; and a row of one empty cell is
// no empty line.
func TestChosenHeader(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string]csvrow.Options{
		"text;\"id\"\r\n":        {Delimiter: ';', Columns: []int{6, 0}},
		"\ufeff":                 {BOM: true, NoHeader: true},
		"\ufefftext\t\"id\"\r\n": {BOM: true, Delimiter: '\t', Columns: []int{6, 0}},
	} {
		if got := csvrow.NewEncoder(dataset.VIPMessages, opts).AppendHeader(nil); string(got) != want {
			t.Errorf("header of %+v = %q, want %q", opts, got, want)
		}
	}
	e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{Columns: []int{6}})
	if got, err := e.AppendRow(nil, csvrowtest.Document("d/c/m", nil)); err != nil || string(got) != "\"\"\r\n" {
		t.Errorf("a row of an empty cell = %q, %v", got, err)
	}
}
