package rowdiff

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxRow bounds a row, far above what a document of 1 MiB comes to with each byte escaped.
const MaxRow = 64 << 20

// readBuffer is how much of a file is read at a time.
const readBuffer = 256 << 10

// ErrMalformed: a file is none that an export has written.
var ErrMalformed = errors.New("malformed file of rows")

// File reads the rows of a file.
type File struct {
	in     *bufio.Reader
	quotes bool // line ends between quotes end no row
	header bool // the first row is none
	id     func(row []byte) ([]byte, bool)
	long   []byte // a row that is longer than the buffer, or has line ends in it
}

// CSV reads a file of CSV as package csvrow writes it: id is the place of the column with the ids. The id of
// a row is its cell as it is written.
func CSV(r io.Reader, delimiter byte, id int, header bool) *File {
	return &File{
		in: bufio.NewReaderSize(r, readBuffer), quotes: true, header: header,
		id: func(row []byte) ([]byte, bool) { return cell(row, delimiter, id) },
	}
}

// JSONL reads a file of JSONL as package jsonrow writes it: the id is the member id of a row.
func JSONL(r io.Reader) *File { return &File{in: bufio.NewReaderSize(r, readBuffer), id: member} }

// Next gives the next row, with its end.
func (f *File) Next() (id, row []byte, err error) {
	if f.header {
		f.header = false
		if _, err := f.row(); err == io.EOF {
			return nil, nil, fmt.Errorf("%w: it has no header", ErrMalformed)
		} else if err != nil {
			return nil, nil, err
		}
	}
	if row, err = f.row(); err != nil {
		return nil, nil, err
	}
	id, ok := f.id(row)
	if !ok {
		return nil, nil, fmt.Errorf("%w: a row has no id", ErrMalformed)
	}
	return id, row, nil
}

// row gives the next line; with quotes, up to a line end that is not between two.
func (f *File) row() ([]byte, error) {
	f.long = f.long[:0]
	open := false
	for {
		b, err := f.in.ReadSlice('\n')
		open = open != (f.quotes && bytes.Count(b, quote)%2 == 1)
		switch {
		case err == nil && !open && len(f.long) == 0:
			return b, nil
		case err == io.EOF && len(b) == 0 && len(f.long) == 0:
			return nil, io.EOF
		case err == io.EOF:
			return nil, fmt.Errorf("%w: its last row does not end", ErrMalformed)
		case err != nil && err != bufio.ErrBufferFull:
			return nil, err
		case len(f.long)+len(b) > MaxRow:
			return nil, fmt.Errorf("%w: a row has more than %d bytes", ErrMalformed, MaxRow)
		}
		f.long = append(f.long, b...)
		if err == nil && !open {
			return f.long, nil
		}
	}
}

var quote = []byte{'"'}

// cell is the cell at a place of a row, with its quotes.
func cell(row []byte, delimiter byte, place int) ([]byte, bool) {
	for {
		end := cellEnd(row, delimiter)
		if place == 0 {
			return row[:end], end < len(row)
		}
		if end >= len(row) || row[end] != delimiter {
			return nil, false
		}
		row, place = row[end+1:], place-1
	}
}

// cellEnd is where the first cell ends: at the delimiter, or the end of the row, that are not between two
// quotes.
func cellEnd(row []byte, delimiter byte) int {
	open := false
	for i, c := range row {
		switch {
		case c == '"':
			open = !open // twice by those within, which are doubled
		case !open && (c == delimiter || c == '\r' || c == '\n'):
			return i
		}
	}
	return len(row)
}

var (
	idMember = []byte(`{"id":"`)
	idName   = []byte(`"id":"`)
)

// member is the id of a row of JSON, as it is written, without quotes. It is what most rows begin with.
func member(row []byte) ([]byte, bool) {
	if text, ok := bytes.CutPrefix(row, idMember); ok {
		return inner(text)
	}
	depth, name := 0, false // name: what comes next is the name of a member
	for i := 0; i < len(row); i++ {
		switch row[i] {
		case '{', '[':
			depth++
			name = true
		case '}', ']':
			depth--
		case ',':
			name = true
		case ':':
			name = false
		case '"':
			if text, ok := bytes.CutPrefix(row[i:], idName); ok && depth == 1 && name {
				return inner(text)
			}
			text, ok := inner(row[i+1:])
			if !ok {
				return nil, false
			}
			i += len(text) + 1
		}
	}
	return nil, false
}

// inner is what stands before the quote that ends a text.
func inner(text []byte) ([]byte, bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return text[:i], true
		}
	}
	return nil, false
}
