// Package csvrow writes Firestore documents, as the bytes in which they arrive, as rows of CSV. It is the
// inner loop of every export: one pass over the bytes of a document, values appended straight to the caller's
// buffer, no allocation per row.
//
// # The file
//
// RFC 4180 in UTF-8, rows ended by CR LF, a header row first. Its cells are quoted: a reader that guesses the
// dialect from the first rows (DuckDB: 20,480) sees that there are quotes. But the first one, as behind a
// byte order mark a quote is in the middle of a cell to readers that do not know the mark (Go's
// encoding/csv). Any other cell is quoted only where it must be: it contains a comma, a quote, CR or LF, it
// begins with white space, or it is \. (the end mark of PostgreSQL's COPY). Line breaks inside a cell stay as
// they are stored.
//
// A caller may choose another delimiter, columns and their order, and leave the header out. Cells with the
// delimiter in them are then quoted, too; where the file has one column, an empty cell is "", since readers
// skip empty lines.
//
// # Cells
//
// A value prints in the form of its own type, see package wire: a field that is missing or null is an empty
// cell, and one of an unexpected type never breaks a row. Besides:
//
//   - the elements of a list are joined with semicolons; a semicolon or backslash
//     inside an element has a backslash before it, so that a cell can be split
//     again. An element that is null leaves its place empty.
//   - NUL becomes U+2400 (the picture of NUL): PostgreSQL and many CSV readers
//     refuse a file with NUL in it or stop reading there, and a dropped
//     character would hide that there was one.
//   - a byte that is not UTF-8 becomes U+FFFD, byte by byte.
//   - a time, alone or in a list, is told in the caller's zone, with its offset, where
//     there is one.
//
// # Excel
//
// A double-click in Excel guesses what cells are, and by the locale of the person. Options.Excel has it guess
// right: UTF-16 LE with a byte order mark and TAB between cells, which it takes in each locale (a comma or
// semicolon it takes in some, and a line sep= has it forget the mark of UTF-8). There
//
//   - text that might be taken for anything else is a formula, ="00123", that has it as
//     its literal: all that is not sure to be none in any language;
//   - a number has no decimal sign, as that differs: 12.5 is =125/10. Beyond 15 digits
//     a whole number is text, any other is rounded to these;
//   - a time is 2026-06-02 03:04:05, where it is told, without its offset and what is
//     less than a second.
//
// # Formula guard
//
// A spreadsheet runs a cell of a CSV file that begins with = + - or @ (or with their wide forms U+FF1D,
// U+FF0B, U+FF0D, U+FF20), and a person may import the file with other separators than its own, with no mark
// of quotation too. So with the guard on, text gets a ' before such a character where it stands
//
//   - at the beginning of the cell or behind one of , ; | TAB LF VT FF CR, also with
//     spaces and double quotes in between,
//   - if it is an equals sign, behind a space or colon too.
//
// Text that has a ' there already gets one more. So what was stored comes back when one is taken away at each
// of these places, here in the words of Python and JavaScript:
//
//	re.sub(r"((?:^|[,;|\t\n\v\f\r])[ \"]*)'(?='*[=+\-@\uff1d\uff0b\uff0d\uff20])|([ :][ \"]*)'(?='*[=\uff1d])", r"\1\2", cell)
//
// A cell that is nothing but a number with a sign, such as a phone number, stays as it is, for it computes
// nothing; but not the first of a row, behind which an import may join the next cell. Text is everything but
// numbers, booleans and timestamps: a stored number -5 stays -5, but where a row begins with it and goes on.
// What is left: an import that splits at spaces and takes ' for its mark of quotation. LibreOffice is the
// judge of it (make libreoffice).
package csvrow

import (
	"cmp"
	"time"

	"exportd/internal/dataset"
	"exportd/internal/vip/wire"
)

// NUL stands in cells for U+0000, and for itself.
const NUL = '\u2400'

// Options are the choices that a caller of an export has.
type Options struct {
	FormulaGuard bool // put ' before text that a spreadsheet would run
	BOM          bool // begin the file with a byte order mark
	// Excel is for a double-click there: UTF-16, TAB and cells that stay what they are. Of the others it has
	// FormulaGuard, NoHeader, Columns and Zone.
	Excel    bool
	NoHeader bool // leave the header row out
	// Delimiter stands between cells: one of , ; | and TAB. 0 is the comma.
	Delimiter byte
	// Columns are the columns of the dataset that the file has, by their places in it, in the order of the
	// file; nil is all.
	Columns []int
	// Zone, if there is one, is where times are told; else they are in UTC.
	Zone *time.Location
}

// Comma is what stands between cells.
func (o Options) Comma() byte { return cmp.Or(o.Delimiter, ',') }

// plain reports whether the rows are those of the form by default.
func (o Options) plain() bool {
	return o.Columns == nil && o.Zone == nil && o.Comma() == ',' && !o.Excel
}

// Encoder turns documents of a dataset into rows. It is not safe for concurrent use; parts that are written
// side by side have one each.
type Encoder struct {
	*Splitter
	row     Row
	columns []dataset.Column
	opts    Options
	plain   bool // as the options have it
	comma   byte
	places  []int // of the columns that the file has
	leads   bool  // the cell under way is the first of a chosen row

	at      int     // the place of the column whose cell is under way
	guarded []int64 // cells that the formula guard has changed, by the places of columns
	printer wire.Printer
	scratch []byte // text of a cell or element that is not a plain string
	safe    []byte // text of a cell that the formula guard has changed

	line, text, formula []byte // of a row for Excel, in UTF-8
}

// NewEncoder returns an encoder for the rows of a dataset.
func NewEncoder(d *dataset.Dataset, opts Options) *Encoder {
	return &Encoder{Splitter: NewSplitter(d), columns: d.Columns, opts: opts, plain: opts.plain(), comma: opts.Comma(), places: d.Chosen(opts.Columns), guarded: make([]int64, len(d.Columns))}
}

// AppendHeader appends what the file begins with: the header row, behind the byte order mark, as far as it
// has them.
func (e *Encoder) AppendHeader(dst []byte) []byte {
	if e.opts.Excel {
		return e.appendExcelHeader(dst)
	}
	if e.opts.BOM {
		dst = append(dst, "\ufeff"...)
	}
	if e.opts.NoHeader {
		return dst
	}
	for i, place := range e.places {
		name := e.columns[place].Header()
		if i == 0 {
			dst = append(dst, name...)
			continue
		}
		dst = append(append(append(dst, e.comma, '"'), name...), '"') // no name has a quote, see package dataset
	}
	return append(dst, '\r', '\n')
}

// Guarded says how many cells the formula guard has changed so far, by the names of their columns; of the
// others nothing.
func (e *Encoder) Guarded() map[string]int64 {
	var by map[string]int64
	for place, n := range e.guarded {
		if n == 0 {
			continue
		}
		if by == nil {
			by = map[string]int64{}
		}
		by[e.columns[place].Header()] = n
	}
	return by
}

// AppendRow appends the row of doc, the bytes of a google.firestore.v1.Document. It does not keep doc. The
// only error is wire.ErrMalformed, and dst is then returned as it came.
func (e *Encoder) AppendRow(dst, doc []byte) ([]byte, error) {
	if err := e.Split(&e.row, doc); err != nil {
		return dst, err
	}
	return e.AppendCells(dst, &e.row)
}

// AppendCells is AppendRow for a document that is split already.
func (e *Encoder) AppendCells(dst []byte, r *Row) ([]byte, error) {
	if e.opts.Excel {
		return e.appendExcel(dst, r)
	}
	if !e.plain {
		return e.appendChosen(dst, r)
	}
	start := len(dst)
	e.at = 0
	dst = e.appendID(dst, r.ID())
	for i := 1; i < len(e.columns); i++ {
		dst = append(dst, ',')
		e.at = i
		at := r.cells[i]
		if at.text != 0 {
			dst = e.appendCell(dst, r.doc[at.text:at.to])
			continue
		}
		b := r.at(at.span)
		if len(b) == 0 {
			continue
		}
		var ok bool
		if items, short := wire.ShortArray(b); short && e.columns[i].Type == dataset.Array {
			if dst, ok = appendPlainList(dst, items); ok {
				continue
			}
		} else if dst, ok = e.printer.AppendShortTime(dst, b); ok {
			continue
		}
		v, err := wire.Parse(b)
		switch {
		case err != nil:
		case v.Kind == wire.Array && e.columns[i].Type == dataset.Array:
			dst, err = e.appendList(dst, v)
		default:
			dst, err = e.appendValue(dst, v)
		}
		if err != nil {
			return dst[:start], err
		}
	}
	return append(dst, '\r', '\n'), nil
}

// appendID appends the first cell of a row. With a number there the row may begin a formula: where an import
// splits at semicolons, the cell goes on behind the comma.
func (e *Encoder) appendID(dst, id []byte) []byte {
	if e.opts.FormulaGuard && len(id) > 0 && (id[0] == '+' || id[0] == '-') && isNumeral(id) {
		e.guarded[0]++
		return append(append(dst, '\''), id...)
	}
	return e.appendCell(dst, id)
}

// appendValue appends one value as a cell.
func (e *Encoder) appendValue(dst []byte, v wire.Value) ([]byte, error) {
	switch v.Kind {
	case wire.String:
		return e.appendCell(dst, v.Data), nil
	case wire.None, wire.Null, wire.Bool, wire.Int, wire.Double, wire.Time:
		// Never text: no guard, and nothing in them needs a quote.
		return e.printer.Append(dst, v)
	}
	var err error
	if e.scratch, err = e.printer.Append(e.scratch[:0], v); err != nil {
		return dst, err
	}
	return e.appendCell(dst, e.scratch), nil
}

// appendList appends an array as a cell of its elements joined with semicolons.
func (e *Encoder) appendList(dst []byte, v wire.Value) ([]byte, error) {
	start := len(dst)
	dst, err := e.appendElements(dst, v)
	if err != nil {
		return dst, err
	}
	e.scratch = append(e.scratch[:0], dst[start:]...)
	return e.appendCell(dst[:start], e.scratch), nil
}

// appendElements appends the elements of an array, joined with semicolons.
func (e *Encoder) appendElements(dst []byte, v wire.Value) ([]byte, error) {
	items := wire.Elements(v)
	for first := true; items.Next(); first = false {
		if !first {
			dst = append(dst, ';')
		}
		text, ok := wire.Text(items.Value)
		if !ok {
			element, err := wire.Parse(items.Value)
			if err != nil {
				return dst, err
			}
			if e.scratch, err = e.printer.AppendIn(e.scratch[:0], element, e.opts.Zone); err != nil {
				return dst, err
			}
			text = e.scratch
		}
		dst = appendEscaped(dst, text)
	}
	return dst, items.Err()
}

// appendPlainList is appendList for what labels and tags mostly are: texts with nothing to escape, to quote
// or to guard, also where an import takes each for a cell. ok is false, and dst as it came, for any other.
func appendPlainList(dst []byte, items wire.Items) (_ []byte, ok bool) {
	start := len(dst)
	for items.Next() {
		text, ok := wire.Text(items.Value)
		n := len(text)
		if !ok || n == 0 || cap(text) < 8 || 1+max(n, 8) > cap(dst)-len(dst) || first[text[0]] != 0 {
			return dst[:start], false
		}
		if len(dst) > start {
			dst = append(dst, ';')
		}
		at := len(dst)
		if !copyLabel(dst[at:at+max(n, 8)], text[:max(n, 8)], n) {
			return dst[:start], false
		}
		dst = dst[:at+n]
	}
	return dst, items.Err() == nil
}

// appendEscaped appends text with a backslash before each semicolon and backslash.
func appendEscaped(dst, text []byte) []byte {
	for i, c := range text {
		if c == ';' || c == '\\' {
			dst = append(append(dst, text[:i]...), '\\', c)
			return appendEscaped(dst, text[i+1:])
		}
	}
	return append(dst, text...)
}
