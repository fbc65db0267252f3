// Package parquetrow writes documents, as the bytes in which they arrive, as files of Parquet, and lays the
// files of parts together to one.
//
// # Columns
//
// A file has the columns of the CSV file under the same names, those that the caller has chosen, all of them
// nullable:
//
//   - text is a STRING. A value of another type is the text that its cell in CSV has, see package wire.
//   - number is a DOUBLE, which is what every stored double is. An integer beyond 2^53 that no double equals
//     is the nearest one.
//   - time is a TIMESTAMP in microseconds, UTC.
//   - date is a DATE, list a LIST of STRING.
//
// Missing and null are null; so is an empty text where the column is not one of text. What its column cannot
// hold (a text in a column of numbers, a day that there is not), or not exactly, is in the last column,
// _rescued_data, a STRING: an object of JSON with the names of columns and the texts of their cells in CSV.
// So nothing is lost by the types, and null there says that all of the row is where it belongs. A value in
// the place of a list is a list of one.
//
// # Files
//
// Each part is a file of its own, with all that a reader needs behind its rows. Parts laid end to end are one
// file once the last thing in it is a footer that leads to the row groups of all: see [Join]. A footer has
// the least and the greatest of numbers, times and dates for each group, not of texts, which may be large.
package parquetrow

import (
	"bytes"
	"encoding/json"
	"math"
	"unicode/utf8"
	"unsafe"

	"github.com/parquet-go/parquet-go"

	"exportd/internal/csvrow"
	"exportd/internal/dataset"
	"exportd/internal/vip/wire"
)

const (
	// batchRows and batchBytes bound what is gathered, column by column, before it goes to pages. The first
	// batch says which columns repeat their texts.
	batchRows, batchBytes = 256, 128 << 10
	// batchElements bounds those of lists among them: a row may have 250,000 that are null, without a byte of
	// text. A value has 24 bytes in memory.
	batchElements = 32 << 10
	// groupRows and groupBytes end a group of rows, which is in memory until then, encoded: readers fetch and
	// decode a group at a time, and each costs some 100 bytes a column in the footer.
	groupRows, groupBytes = 128 << 10, 8 << 20
	// pageBytes is the size of a page before compression; a page of one row may have more.
	pageBytes = 128 << 10
	// dictionaryBytes is how much of a column's different texts is kept to be referred to. Languages and
	// countries stay below it by far; a column that comes to more is written as it is from the next page on.
	dictionaryBytes = 32 << 10
	// repeats is how often a text of a column must be there, on average, for it to have a dictionary: one of
	// names and messages costs more than it saves.
	repeats    = 4
	writeBytes = 32 << 10
)

// Encoder turns documents of a dataset into one file. It is not safe for concurrent use.
type Encoder struct {
	*csvrow.Splitter
	name    string           // of the dataset
	of      []dataset.Column // those of the file, but for the last
	row     csvrow.Row
	columns []column
	file    *parquet.GenericWriter[any] // begun with the first rows
	out     bytes.Buffer                // of the file, not yet handed out

	rows       int    // gathered
	texts      []byte // of the rows gathered
	elements   int    // of lists of the rows gathered
	inGroup    int    // rows
	groupBytes int
	rescued    int64
	pending    []byte // of the row's last column
	printer    wire.Printer
	scratch    []byte
}

// column is one of the file, with its values of the rows gathered.
type column struct {
	name   string // as JSON
	typ    dataset.Type
	place  int // among the columns of the dataset
	at     int // its index in the file
	values []parquet.Value
}

// NewEncoder returns an encoder of one file with the rows of a dataset. Places are the columns that it has,
// in its order; nil is all.
func NewEncoder(d *dataset.Dataset, places []int) *Encoder {
	e := &Encoder{Splitter: csvrow.NewSplitter(d), name: d.Name}
	for i, place := range d.Chosen(places) {
		c := d.Columns[place]
		e.of = append(e.of, c)
		name, _ := json.Marshal(c.Header()) // a text always marshals
		e.columns = append(e.columns, column{name: string(name), typ: c.Type, place: place, at: i})
	}
	e.columns = append(e.columns, column{typ: dataset.Text, at: len(e.of)})
	return e
}

// Rescued says how many values its columns could not hold so far.
func (e *Encoder) Rescued() int64 { return e.rescued }

// AppendRow takes the row of doc, the bytes of a google.firestore.v1.Document, into the file, and appends
// what the file has come to meanwhile: nothing for most rows. It does not keep doc. wire.ErrMalformed says
// that doc is none.
func (e *Encoder) AppendRow(dst, doc []byte) ([]byte, error) {
	if err := e.Split(&e.row, doc); err != nil {
		return dst, err
	}
	e.pending = e.pending[:0]
	last := len(e.columns) - 1
	for i := range last {
		c := &e.columns[i]
		if c.place == 0 {
			e.text(c, e.row.ID())
		} else if err := e.cell(c, e.row.Cell(c.place)); err != nil {
			return dst, err
		}
	}
	if len(e.pending) == 0 {
		e.columns[last].null()
	} else {
		e.text(&e.columns[last], append(e.pending, '}'))
	}
	e.rows++
	if e.rows < batchRows && len(e.texts) < batchBytes && e.elements < batchElements {
		return dst, nil
	}
	if err := e.gather(); err != nil {
		return dst, err
	}
	if e.inGroup < groupRows && e.groupBytes < groupBytes {
		return dst, nil
	}
	e.inGroup, e.groupBytes = 0, 0
	if err := e.file.Flush(); err != nil {
		return dst, err
	}
	return e.hand(dst), nil
}

// AppendEnd ends the file and appends what is left of it.
func (e *Encoder) AppendEnd(dst []byte) ([]byte, error) {
	if err := e.gather(); err != nil {
		return dst, err
	}
	if err := e.file.Close(); err != nil {
		return dst, err
	}
	return e.hand(dst), nil
}

func (e *Encoder) hand(dst []byte) []byte {
	dst = append(dst, e.out.Bytes()...)
	e.out.Reset()
	return dst
}

// gather gives the rows that were gathered to the columns' pages.
func (e *Encoder) gather() error {
	if e.file == nil {
		e.begin()
	}
	for i, w := range e.file.ColumnWriters() {
		c := &e.columns[i]
		if len(c.values) == 0 {
			continue
		}
		if _, err := w.WriteRowValues(c.values); err != nil {
			return err
		}
		e.groupBytes += 8 * len(c.values)
		clear(c.values)
		c.values = c.values[:0]
		if cap(c.values) > 2*batchElements {
			c.values = nil
		}
	}
	e.inGroup += e.rows
	e.groupBytes += len(e.texts)
	e.rows, e.texts, e.elements = 0, e.texts[:0], 0
	if cap(e.texts) > 2*batchBytes {
		e.texts = nil // of a row of up to 1 MiB
	}
	return nil
}

// begin begins the file, with dictionaries for the columns whose texts repeat in the rows gathered.
func (e *Encoder) begin() {
	plain := make([]bool, len(e.columns))
	texts := map[string]bool{}
	for i, c := range e.columns {
		if c.typ != dataset.Text && c.typ != dataset.Array {
			continue
		}
		clear(texts)
		n := 0
		for _, v := range c.values {
			if !v.IsNull() {
				texts[string(v.ByteArray())] = true
				n++
			}
		}
		plain[i] = n < repeats*len(texts)
	}
	e.file = parquet.NewGenericWriter[any](&e.out, options(e.name, e.of, plain)...)
}

// cell takes the value of a column.
func (e *Encoder) cell(c *column, b []byte) error {
	if s, ok := wire.Text(b); ok && c.typ == dataset.Text {
		e.text(c, s)
		return nil
	}
	v, err := wire.Parse(b)
	if err != nil {
		return err
	}
	if c.typ == dataset.Array {
		return e.list(c, v)
	}
	if v.Kind == wire.None || v.Kind == wire.Null {
		c.null()
		return nil
	}
	if c.typ == dataset.Text {
		s, err := e.print(v)
		e.text(c, s)
		return err
	}
	held, whole := e.typed(c.typ, v)
	c.values = append(c.values, level(held, c.at))
	if whole {
		return nil
	}
	return e.rescue(c, v)
}

// typed gives a value as the column's type has it, null if it cannot; whole says that nothing is lost.
func (e *Encoder) typed(typ dataset.Type, v wire.Value) (held parquet.Value, whole bool) {
	switch {
	case v.Kind == wire.String && len(v.Data) == 0:
		return held, true
	case typ == dataset.Number && v.Kind == wire.Double:
		return parquet.DoubleValue(math.Float64frombits(v.Num)), true
	case typ == dataset.Number && v.Kind == wire.Int:
		n := int64(v.Num)
		f := float64(n)
		return parquet.DoubleValue(f), f < 1<<63 && int64(f) == n
	case typ == dataset.Time && v.Kind == wire.Time:
		return parquet.Int64Value(v.Micros()), true
	case typ == dataset.Date && v.Kind == wire.String:
		if day, ok := daysOf(v.Data); ok {
			return parquet.Int32Value(day), true
		}
	}
	return held, false
}

// rescue notes a value for the row's last column.
func (e *Encoder) rescue(c *column, v wire.Value) error {
	s, err := e.print(v)
	if err != nil {
		return err
	}
	e.rescued++
	separator := byte(',')
	if len(e.pending) == 0 {
		separator = '{'
	}
	e.pending = append(append(append(e.pending, separator), c.name...), ':')
	text, _ := json.Marshal(string(s)) // a text always marshals
	e.pending = append(e.pending, text...)
	return nil
}

func (e *Encoder) print(v wire.Value) (_ []byte, err error) {
	e.scratch, err = e.printer.Append(e.scratch[:0], v)
	return e.scratch, err
}

// text takes a text.
func (e *Encoder) text(c *column, s []byte) {
	c.values = append(c.values, level(e.keep(s), c.at))
}

// keep gives s as a value that stays until the rows are gathered. A byte that is not UTF-8 becomes U+FFFD.
func (e *Encoder) keep(s []byte) parquet.Value {
	from := len(e.texts)
	if utf8.Valid(s) {
		e.texts = append(e.texts, s...)
	} else {
		for _, r := range string(s) {
			e.texts = utf8.AppendRune(e.texts, r)
		}
	}
	kept := e.texts[from:] // also where texts has moved since: nothing is written to it again
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.SliceData(kept), len(kept)))
}

// The levels of a list: whether there is one, an element, and that is not null.
const (
	emptyList   = 1
	nullElement = 2
	element     = 3
)

// list takes an array, or the one value that is in its place.
func (e *Encoder) list(c *column, v wire.Value) error {
	switch v.Kind {
	case wire.None, wire.Null:
		c.values = append(c.values, parquet.Value{}.Level(0, 0, c.at))
		return nil
	case wire.Array:
	default:
		s, err := e.print(v)
		c.values = append(c.values, e.keep(s).Level(0, element, c.at))
		return err
	}
	items := wire.Elements(v)
	repeated := 0
	for ; items.Next(); repeated = 1 {
		e.elements++
		s, ok := wire.Text(items.Value)
		if !ok {
			v, err := wire.Parse(items.Value)
			if err != nil {
				return err
			}
			if v.Kind == wire.None || v.Kind == wire.Null {
				c.values = append(c.values, parquet.Value{}.Level(repeated, nullElement, c.at))
				continue
			}
			if s, err = e.print(v); err != nil {
				return err
			}
		}
		c.values = append(c.values, e.keep(s).Level(repeated, element, c.at))
	}
	if repeated == 0 {
		c.values = append(c.values, parquet.Value{}.Level(0, emptyList, c.at))
	}
	return items.Err()
}

func (c *column) null() { c.values = append(c.values, parquet.Value{}.Level(0, 0, c.at)) }

// level gives a value of a column that is no list its level: whether there is one.
func level(v parquet.Value, at int) parquet.Value {
	if v.IsNull() {
		return v.Level(0, 0, at)
	}
	return v.Level(0, 1, at)
}

// daysOf reads YYYY-MM-DD of the years from 1 as days since 1970.
func daysOf(s []byte) (days int32, ok bool) {
	t, err := parseDate(s)
	if err != nil || t.Year() < 1 {
		return 0, false
	}
	return int32(t.Unix() / (24 * 60 * 60)), true
}
