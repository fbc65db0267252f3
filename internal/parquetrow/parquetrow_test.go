package parquetrow_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/heaptest"
	"exportd/internal/parquetrow"
)

// types are those of the columns that hold no text, by name.
var types = map[string]string{"ltv": "number", "timestamp": "time", "firstSeenAt": "time", "lastSeenAt": "time", "birthday": "date", "tags": "list", "labels": "list"}

// judge is the row of a document as the package's comment has it, from decoded values, in the form of cells,
// with some columns.
func judge(names []string, id string, fields map[string]any) (row []any, rescued int64) {
	rest := map[string]string{}
	for _, name := range names {
		v, ok := fields[name]
		if person, isMap := fields["personalInfo"].(map[string]any); !ok && isMap && strings.Contains("fullName gender birthday email phone city", name) {
			v = person[name]
		}
		if name == "id" {
			v = id
		}
		held, whole := hold(types[name], v)
		row = append(row, held)
		if !whole {
			rest[name] = csvrowtest.Text(v)
		}
	}
	if len(rest) == 0 {
		return append(row, nil), 0
	}
	var b strings.Builder
	for _, name := range names {
		if text, ok := rest[name]; ok {
			cell, _ := json.Marshal(text)
			fmt.Fprintf(&b, ",%q:%s", name, cell)
		}
	}
	return append(row, "{"+b.String()[1:]+"}"), int64(len(rest))
}

func hold(typ string, v any) (held any, whole bool) {
	if v == nil {
		return nil, true
	}
	switch typ {
	case "":
		return valid(csvrowtest.Text(v)), true
	case "list":
		list, ok := v.([]any)
		if !ok {
			list = []any{csvrowtest.Text(v)}
		}
		out := []any{}
		for _, v := range list {
			if v != nil {
				v = valid(csvrowtest.Text(v))
			}
			out = append(out, v)
		}
		return out, true
	}
	if v == "" {
		return nil, true
	}
	switch v := v.(type) {
	case float64:
		if typ == "number" {
			return double(v), true
		}
	case int64:
		if typ == "number" {
			exact, _ := new(big.Float).SetFloat64(float64(v)).Int(nil)
			return double(float64(v)), exact.Cmp(big.NewInt(v)) == 0
		}
	case time.Time:
		if typ == "time" {
			return strconv.FormatInt(v.UnixMicro(), 10), true
		}
	case string:
		if day, err := time.Parse(time.DateOnly, v); typ == "date" && err == nil && day.Year() > 0 {
			return strconv.FormatInt(day.Unix()/86400, 10), true
		}
	}
	return nil, false
}

func valid(s string) string { return string([]rune(s)) }

// double is a number in the form of cells: every bit counts, but those of NaN.
func double(f float64) string {
	if math.IsNaN(f) {
		return "NaN"
	}
	return fmt.Sprintf("%016x", math.Float64bits(f))
}

// read gives the cells of a file: nil, texts, and lists of both.
func read(t testing.TB, b []byte) (rows [][]any) {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range f.RowGroups() {
		r := group.Rows()
		batch := make([]parquet.Row, 100)
		for err == nil {
			var n int
			n, err = r.ReadRows(batch)
			for _, row := range batch[:n] {
				rows = append(rows, cells(f, row))
			}
		}
		if err != io.EOF {
			t.Fatal(err)
		}
		err = r.Close()
	}
	if int64(len(rows)) != f.NumRows() {
		t.Fatalf("%d rows, %d by the footer", len(rows), f.NumRows())
	}
	return rows
}

func cells(f *parquet.File, row parquet.Row) (out []any) {
	fields := f.Schema().Fields()
	for i, values := range row.Range {
		switch level := values[0].DefinitionLevel(); {
		case fields[i].Leaf() || level == 0:
			out = append(out, cell(values[0]))
		case level == 1:
			out = append(out, []any{})
		default:
			list := []any{}
			for _, v := range values {
				list = append(list, cell(v))
			}
			out = append(out, list)
		}
	}
	return out
}

func cell(v parquet.Value) any {
	if v.IsNull() {
		return nil
	}
	switch v.Kind() {
	case parquet.Double:
		return double(v.Double())
	case parquet.Int64, parquet.Int32:
		return v.String()
	}
	return string(v.ByteArray())
}

// encode makes a file of documents.
func encode(t testing.TB, e *parquetrow.Encoder, docs ...[]byte) (file []byte) {
	t.Helper()
	var err error
	for _, doc := range docs {
		if file, err = e.AppendRow(file, doc); err != nil {
			t.Fatal(err)
		}
	}
	if file, err = e.AppendEnd(file); err != nil {
		t.Fatal(err)
	}
	return file
}

var builtIn = []*dataset.Dataset{dataset.VIPUsers, dataset.VIPMessages}

// random gives documents that may have anything, and their rows by the judge.
func random(r *rand.Rand, d *dataset.Dataset, n int) (docs [][]byte, rows [][]any, rescued int64) {
	return chosen(r, d.Headers(), n)
}

// chosen is random with some columns.
func chosen(r *rand.Rand, names []string, n int) (docs [][]byte, rows [][]any, rescued int64) {
	for i := range n {
		id := "id" + strconv.Itoa(i)
		fields := csvrowtest.RandomFields(r, nil)
		if r.IntN(2) == 0 {
			fields["ltv"], fields["timestamp"] = int64(r.Uint64())>>r.IntN(64), time.UnixMicro(r.Int64N(1<<50)).UTC()
			fields["personalInfo"] = map[string]any{"birthday": []string{"1990-02-28", "1990-02-30", "0000-01-01", "9999-12-31", "0001-01-01", "--02-03", "1990-2-3"}[r.IntN(7)]}
		}
		docs = append(docs, csvrowtest.Shuffled(r, "projects/p/databases/d/documents/C/"+id, fields))
		row, n := judge(names, id, fields)
		rows, rescued = append(rows, row), rescued+n
	}
	return docs, rows, rescued
}

func compare(t *testing.T, got, want [][]any) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range got {
		a, _ := json.Marshal(got[i])
		b, _ := json.Marshal(want[i])
		if !bytes.Equal(a, b) {
			t.Fatalf("row %d =\n%s, want\n%s", i, a, b)
		}
	}
}

// TestRows: whatever documents have, each cell is what the judge makes of it, and nothing is lost unsaid.
func TestRows(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(21, 22))
	for _, d := range builtIn {
		docs, want, rescued := random(r, d, 3000)
		e := parquetrow.NewEncoder(d, nil)
		compare(t, read(t, encode(t, e, docs...)), want)
		if e.Rescued() != rescued || rescued == 0 {
			t.Errorf("%d values are rescued, want %d", e.Rescued(), rescued)
		}
	}
}

// TestChosen: a file with some of the columns, in any order, has these cells, and rescues no others.
func TestChosen(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 29))
		d := builtIn[seed%2]
		places := r.Perm(len(d.Columns))[:1+r.IntN(len(d.Columns))]
		docs, want, rescued := chosen(r, names(d, places), 40)
		e := parquetrow.NewEncoder(d, places)
		file := encode(t, e, docs...)
		compare(t, read(t, file), want)
		if e.Rescued() != rescued {
			t.Errorf("columns %v: %d values are rescued, want %d", places, e.Rescued(), rescued)
		}
		if got := fieldsOf(t, file); !slices.Equal(got, append(names(d, places), "_rescued_data")) {
			t.Errorf("columns %v: the file has %q", places, got)
		}
	}
}

func names(d *dataset.Dataset, places []int) (out []string) {
	for _, place := range places {
		out = append(out, d.Headers()[place])
	}
	return out
}

func fieldsOf(t *testing.T, file []byte) (names []string) {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range f.Schema().Fields() {
		names = append(names, field.Name())
	}
	return names
}

// TestJoin: parts of any number of rows, laid end to end, are one file behind the footer made of theirs: the
// rows of all in their order.
func TestJoin(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(23, 24))
	for _, d := range builtIn {
		docs, want, _ := random(r, d, 1500)
		var whole []byte
		var join parquetrow.Join
		for rest := docs; len(rest) > 0; {
			n := min(1+r.IntN(400), len(rest))
			if r.IntN(3) == 0 {
				n = 1
			}
			part := encode(t, parquetrow.NewEncoder(d, nil), rest[:n]...)
			rest = rest[n:]
			size, err := parquetrow.FooterBytes(part[len(part)-parquetrow.TailBytes:])
			if err != nil {
				t.Fatal(err)
			}
			if err := join.Add(part[int64(len(part))-size:], int64(len(part))); err != nil {
				t.Fatal(err)
			}
			whole = append(whole, part...)
		}
		footer, err := join.Footer()
		if err != nil || join.Rows() != int64(len(docs)) {
			t.Fatalf("Footer() of %d rows: %v", join.Rows(), err)
		}
		whole = append(whole, footer...)
		compare(t, read(t, whole), want)
	}
}

// TestDamagedParts: what is no footer, or that of other columns, is none of a whole.
func TestDamagedParts(t *testing.T) {
	t.Parallel()
	part := func(d *dataset.Dataset) []byte {
		return encode(t, parquetrow.NewEncoder(d, nil), csvrowtest.Document("d/c/i", map[string]any{"ltv": 1.5}))
	}
	users := part(dataset.VIPUsers)
	n, err := parquetrow.FooterBytes(users)
	if err != nil {
		t.Fatal(err)
	}
	footer := users[int64(len(users))-n:]
	for name, damaged := range map[string][]byte{
		"nothing": nil, "a byte less": footer[1:], "another end": append(slices.Clone(footer[:len(footer)-1]), '2'), "no end": footer[:len(footer)-1],
		"zeros": append(make([]byte, len(footer)-parquetrow.TailBytes), footer[len(footer)-parquetrow.TailBytes:]...),
	} {
		var j parquetrow.Join
		if err := j.Add(damaged, int64(len(users))); err == nil {
			t.Errorf("a footer that is %s is taken", name)
		}
	}
	var j parquetrow.Join
	if err := j.Add(footer, int64(len(users))); err != nil {
		t.Fatal(err)
	}
	messages := part(dataset.VIPMessages)
	n, err = parquetrow.FooterBytes(messages)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Add(messages[int64(len(messages))-n:], int64(len(messages))); err == nil || j.Rows() != 1 {
		t.Errorf("a part with other columns is taken: %v", err)
	}
}

// TestSameBytes: a part that is written again is the same object.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	docs, _, _ := random(rand.New(rand.NewPCG(25, 26)), dataset.VIPUsers, 1000)
	if a, b := encode(t, parquetrow.NewEncoder(dataset.VIPUsers, nil), docs...), encode(t, parquetrow.NewEncoder(dataset.VIPUsers, nil), docs...); !bytes.Equal(a, b) {
		t.Error("the same rows are other bytes")
	}
}

// TestNoRows: a file of no rows has its columns none the less.
func TestNoRows(t *testing.T) {
	t.Parallel()
	for _, d := range builtIn {
		b := encode(t, parquetrow.NewEncoder(d, nil))
		f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, field := range f.Schema().Fields() {
			names = append(names, field.Name())
		}
		if want := append(d.Headers(), "_rescued_data"); f.NumRows() != 0 || !slices.Equal(names, want) {
			t.Errorf("%d rows of %q, want none of %q", f.NumRows(), names, want)
		}
	}
}

// TestManyElements: what is gathered stays small where lists have many elements without a byte of text.
func TestManyElements(t *testing.T) { // alone: all that the process holds is measured
	const rows, elements = 60, 100_000
	doc := csvrowtest.Document("d/c/i", map[string]any{"labels": make([]any, elements), "timestamp": time.Unix(1, 0)})
	e := parquetrow.NewEncoder(dataset.VIPMessages, nil)
	before, most := heaptest.InUse(), 0
	var file []byte
	for i := range rows {
		var err error
		if file, err = e.AppendRow(file, doc); err != nil {
			t.Fatal(err)
		}
		if i%10 == 9 {
			most = max(most, heaptest.InUse()-before)
		}
	}
	if most > 32<<20 {
		t.Errorf("an encoder of rows with %d elements holds %d MiB", elements, most>>20)
	}
	file, err := e.AppendEnd(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil || f.NumRows() != rows {
		t.Errorf("%v: the file has not its %d rows", err, rows)
	}
}

// TestJoinTooMany: more groups of rows than a file can have are told from damage.
func TestJoinTooMany(t *testing.T) {
	t.Parallel()
	d := &dataset.Dataset{Name: "ids", Columns: dataset.VIPUsers.Columns[:1]}
	part := encode(t, parquetrow.NewEncoder(d, nil), csvrowtest.Document("d/c/i", nil))
	n, err := parquetrow.FooterBytes(part)
	if err != nil {
		t.Fatal(err)
	}
	var j parquetrow.Join
	for range math.MaxInt16 {
		if err := j.Add(part[int64(len(part))-n:], int64(len(part))); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Add(part[int64(len(part))-n:], int64(len(part))); !errors.Is(err, parquetrow.ErrTooLarge) || j.Rows() != math.MaxInt16 {
		t.Errorf("part %d is taken: %v", j.Rows()+1, err)
	}
}

// TestLargeCells: groups of rows and the footer stay small where cells are as large as they may be.
func TestLargeCells(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(27, 28))
	var docs [][]byte
	for range 40 {
		text := make([]byte, 1_000_000)
		for i := range text {
			text[i] = 'a' + byte(r.IntN(26))
		}
		docs = append(docs, csvrowtest.Document("d/c/i", map[string]any{"text": string(text), "timestamp": time.Unix(1, 0)}))
	}
	e := parquetrow.NewEncoder(dataset.VIPMessages, nil)
	var file []byte
	for i, doc := range docs {
		before := len(file)
		var err error
		if file, err = e.AppendRow(file, doc); err != nil {
			t.Fatal(err)
		}
		if n := len(file) - before; n > 10<<20 {
			t.Errorf("%d bytes come at once, with row %d", n, i)
		}
	}
	file, err := e.AppendEnd(file)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := parquetrow.FooterBytes(file); err != nil || n > 16<<10 {
		t.Errorf("the footer has %d bytes, %v", n, err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil || len(f.RowGroups()) != 5 {
		t.Errorf("%d groups of rows, want 5: %v", len(f.RowGroups()), err)
	}
	if rows := read(t, file); len(rows) != len(docs) {
		t.Errorf("%d rows, want %d", len(rows), len(docs))
	}
}
