package csvrow

import (
	"encoding/binary"
	"strings"

	"exportd/internal/dataset"
	"exportd/internal/vip/wire"
)

// Splitter finds the columns of a dataset in the bytes of documents. It is not safe for concurrent use: it
// remembers the order of the fields of the document before.
type Splitter struct {
	columns int
	top     *fields
}

// fields are the fields of a document, or of a map in it, that are columns or lead to some.
type fields struct {
	byKey   map[string]*field
	columns []int // those in it
	first   field // the begin of the order: its next is the field that came first
	strange int   // fields without a column that are remembered
}

// field is a field of documents.
type field struct {
	key    string
	column int     // none: it has no column
	inner  *fields // of a map that has columns
	next   *field  // the one that came after it in the document before

	// head is how an entry of it begins, up to the tag of the value, and mask the bits that count: to compare
	// these takes less than to call for comparing texts, field by field. A longer key has a head that none
	// has.
	head, mask [2]uint64
}

func newField(key string) *field {
	f := &field{key: key, column: none, mask: [2]uint64{^uint64(0), ^uint64(0)}}
	if n := 2 + len(key) + 1; n <= 16 {
		var head, mask [16]byte
		head[0], head[1], head[n-1] = tagKey, byte(len(key)), tagValue
		copy(head[2:], key)
		copy(mask[:n], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
		for i := range f.head {
			f.head[i], f.mask[i] = binary.LittleEndian.Uint64(head[8*i:]), binary.LittleEndian.Uint64(mask[8*i:])
		}
	}
	return f
}

const (
	none = -1
	// maxStrange bounds the fields without a column whose order is remembered, and maxKey their names: more
	// are looked up in vain, document by document.
	maxStrange, maxKey = 64, 64
)

// NewSplitter makes one for the columns of a dataset, but for the id, which is no field.
func NewSplitter(d *dataset.Dataset) *Splitter {
	s := &Splitter{columns: len(d.Columns), top: newFields()}
	for i, c := range d.Columns {
		if i > 0 {
			s.top.add(strings.Split(c.Path, "."), i)
		}
	}
	return s
}

func newFields() *fields {
	return &fields{byKey: map[string]*field{}, first: field{column: none}}
}

func (fs *fields) add(path []string, column int) {
	fs.columns = append(fs.columns, column)
	f := fs.byKey[path[0]]
	if f == nil {
		f = newField(path[0])
		fs.byKey[f.key] = f
	}
	if len(path) == 1 {
		f.column = column
		return
	}
	if f.inner == nil {
		f.inner = newFields()
	}
	f.inner.add(path[1:], column)
}

// begins reports whether an entry that begins as b, of 16 bytes, is one of the field.
func (f *field) begins(b []byte) bool {
	return (binary.LittleEndian.Uint64(b)^f.head[0])&f.mask[0]|(binary.LittleEndian.Uint64(b[8:])^f.head[1])&f.mask[1] == 0
}

// after gives the field of the entry doc[i:end], which comes after at, and where the length of its value is.
// nil says nothing.
func (fs *fields) after(at *field, doc []byte, i, end int) (*field, int) {
	e := doc[i:end]
	if len(e) < 4 || e[0] != tagKey || e[1] >= 0x80 {
		return nil, 0
	}
	v := 2 + int(e[1])
	if v+2 > len(e) || e[v] != tagValue {
		return nil, 0
	}
	key := e[2:v]
	if f := at.next; f != nil && string(key) == f.key { // one with a longer key, or at the document's end
		return f, i + v + 1
	}
	return fs.find(at, key), i + v + 1
}

// find looks a field up and remembers that it comes after at.
func (fs *fields) find(at *field, key []byte) *field {
	f := fs.byKey[string(key)]
	switch {
	case f != nil:
	case fs.strange == maxStrange || len(key) > maxKey:
		return &fs.first // one without a column
	default:
		f = newField(string(key))
		fs.byKey[f.key] = f
		fs.strange++
	}
	at.next = f
	return f
}

// Row is where the cells of a row are in the bytes of its document. One Row serves many documents, one after
// the other; it refers to the last.
type Row struct {
	doc   []byte
	id    span
	cells []cell
}

// span is a place in a document; the zero span is none.
type span struct{ from, to uint32 }

// cell is where a value is and, if it is a text as encoders write it, where that begins; else text is 0.
type cell struct {
	span
	text uint32
}

// Forget lets go of the document.
func (r *Row) Forget() { r.doc, r.id, r.cells = nil, span{}, r.cells[:0] }

func (r *Row) at(s span) []byte { return r.doc[s.from:s.to] }

// ID is the id of the document.
func (r *Row) ID() []byte { return r.at(r.id) }

// Cell is the bytes of the google.firestore.v1.Value of a column, none for a missing one. The first column,
// the id, has none.
func (r *Row) Cell(column int) []byte { return r.at(r.cells[column].span) }

// place is where part is, a slice of the document with the capacity that the document has: both end at the
// same byte of memory.
func (r *Row) place(part []byte) span {
	from := uint32(cap(r.doc) - cap(part))
	return span{from, from + uint32(len(part))}
}

func (r *Row) reset(columns int) {
	if cap(r.cells) < columns {
		r.cells = make([]cell, columns)
	}
	r.cells = r.cells[:columns]
	clear(r.cells)
	r.id = span{}
}

// Split finds the cells of doc, the bytes of a google.firestore.v1.Document. The only error is
// wire.ErrMalformed.
func (s *Splitter) Split(r *Row, doc []byte) error {
	r.doc = doc[:len(doc):len(doc)] // nothing reads behind it
	r.reset(s.columns)
	if r.locate(s.top, 0, len(doc), tagField) {
		return nil
	}
	r.reset(s.columns)
	return r.walk(s.top)
}

// Tags of google.firestore.v1.Document, and of the entries of its fields and of maps.
const (
	tagName    = 1<<3 | 2
	tagField   = 2<<3 | 2
	tagCreated = 3<<3 | 2
	tagUpdated = 4<<3 | 2

	tagKey   = 1<<3 | 2
	tagValue = 2<<3 | 2

	tagMap = 6<<3 | 2 // of google.firestore.v1.Value
)

// locate is the short way of Split: for what is written as encoders write it, lengths below 16 KiB in the
// shortest form, keys below 128 bytes and before their values. It takes the document, or the map at [i, end)
// with other fields and the tag of its entries. false says nothing: walk then knows. It is most of the time
// that Split takes, so it is spelled out.
func (r *Row) locate(of *fields, i, end int, entry byte) bool {
	doc := r.doc[:end]
	at := &of.first
	for i < len(doc) {
		if i+2 > len(doc) {
			return false
		}
		tag, n := doc[i], int(doc[i+1])
		i += 2
		if n >= 0x80 {
			if i >= len(doc) || doc[i] >= 0x80 {
				return false
			}
			n = n&0x7f | int(doc[i])<<7
			i++
		}
		end := i + n
		if end > len(doc) {
			return false
		}
		switch tag {
		case entry:
			// Documents of a collection have their fields in the same order nearly always, so the one that
			// came there before is tried first.
			if f := at.next; f != nil && i+16 <= len(r.doc) && f.begins(r.doc[i:i+16]) {
				at, i = f, i+len(f.key)+3
			} else if at, i = of.after(at, doc, i, end); at == nil {
				return false
			}
			// Behind the value's tag: its length, its bytes.
			if i >= end {
				return false
			}
			size := int(doc[i])
			i++
			if size >= 0x80 {
				if i >= end || doc[i] >= 0x80 {
					return false
				}
				size = size&0x7f | int(doc[i])<<7
				i++
			}
			if i+size != end {
				return false
			}
			if at.column >= 0 {
				r.cells[at.column] = cell{span{uint32(i), uint32(end)}, wire.TextAt(doc, i, end)}
			}
			if at.inner != nil && !r.locateMap(at.inner, i, end) {
				return false
			}
		case tagName:
			r.id = span{uint32(end - len(wire.ID(doc[i:end]))), uint32(end)}
		case tagCreated, tagUpdated:
		default:
			return false
		}
		i = end
	}
	return true
}

// locateMap is locate for the value of a map that has columns. It sends a second one to walk, since only the
// last one counts.
func (r *Row) locateMap(of *fields, from, end int) bool {
	b := r.doc[from:end]
	if len(b) < 2 || b[0] != tagMap || b[1] >= 0x80 && (len(b) == 2 || b[2] >= 0x80) {
		return false
	}
	n, at := int(b[1]), 2
	if n >= 0x80 {
		n, at = n&0x7f|int(b[2])<<7, 3
	}
	for _, c := range of.columns {
		if r.cells[c] != (cell{}) {
			return false
		}
	}
	return at+n == len(b) && r.locate(of, from+at, end, tagName)
}

// walk finds the name and the columns of any document.
func (r *Row) walk(of *fields) error {
	doc := wire.Document(r.doc)
	maps := map[*fields][]byte{}
	for doc.Next() {
		r.note(of.byKey[string(doc.Key)], doc.Value, maps)
	}
	if err := doc.Err(); err != nil {
		return err
	}
	r.id = r.place(wire.ID(doc.Name))
	return r.walkMaps(maps)
}

// note has a field in its column, and the map that it may be among those to walk: the last one counts.
func (r *Row) note(f *field, value []byte, maps map[*fields][]byte) {
	if f == nil {
		return
	}
	if f.column >= 0 {
		at := r.place(value)
		r.cells[f.column] = cell{at, wire.TextAt(r.doc, int(at.from), int(at.to))}
	}
	if f.inner != nil {
		maps[f.inner] = value
	}
}

func (r *Row) walkMaps(maps map[*fields][]byte) error {
	for of, b := range maps {
		v, err := wire.Parse(b)
		if err != nil {
			return err
		}
		if v.Kind != wire.Map {
			continue // it has no fields: empty cells
		}
		deeper := map[*fields][]byte{}
		entries := wire.MapFields(v)
		for entries.Next() {
			r.note(of.byKey[string(entries.Key)], entries.Value, deeper)
		}
		if err := entries.Err(); err != nil {
			return err
		}
		if err := r.walkMaps(deeper); err != nil {
			return err
		}
	}
	return nil
}
