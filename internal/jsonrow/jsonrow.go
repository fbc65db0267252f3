// Package jsonrow writes documents, as the bytes in which they arrive, as the JSON rows of list routes. The
// texts are those of the exported cells before CSV's own rules (guard, quotes, NUL). Columns with a common
// beginning of their paths share an object, which stands where the first of them does.
package jsonrow

import (
	"encoding/json"
	"strings"
	"sync"
	"time"

	"exportd/internal/csvrow"
	"exportd/internal/dataset"
	"exportd/internal/vip/wire"
)

// Options are the choices that a caller of an export has; list routes have none.
type Options struct {
	// Columns are the columns of the dataset that rows have, by their places in it, in their order; nil is
	// all.
	Columns []int
	// Zone, if there is one, is where times are told; else they are in UTC.
	Zone *time.Location
}

// Encoder writes the rows of a dataset. It is not safe for concurrent use.
type Encoder struct {
	*csvrow.Splitter
	row     csvrow.Row
	members []member
	zone    *time.Location
	texts   int64
	printer wire.Printer
	scratch []byte
}

// maxScratch bounds what an encoder at rest holds for the text of a value, of up to 1 MiB.
const maxScratch = 64 << 10

// Pool has encoders of a dataset at rest: one takes longer to make than it takes for a row.
type Pool struct {
	dataset *dataset.Dataset
	pool    sync.Pool
}

// NewPool returns a pool for the rows of a dataset.
func NewPool(d *dataset.Dataset) *Pool { return &Pool{dataset: d} }

// Get gives an encoder, which Put takes back.
func (p *Pool) Get() *Encoder {
	if e, ok := p.pool.Get().(*Encoder); ok {
		return e
	}
	return NewEncoder(p.dataset, Options{})
}

// Put takes an encoder back that nobody uses any more.
func (p *Pool) Put(e *Encoder) {
	e.row.Forget()
	if cap(e.scratch) > maxScratch {
		e.scratch = nil
	}
	p.pool.Put(e)
}

// member is a member of an object: a column, or an object of some.
type member struct {
	name   string // as JSON, with its colon
	column int
	typ    dataset.Type
	inner  []member
}

// NewEncoder returns an encoder for the rows of a dataset.
func NewEncoder(d *dataset.Dataset, opts Options) *Encoder {
	e := &Encoder{Splitter: csvrow.NewSplitter(d), zone: opts.Zone}
	for _, place := range d.Chosen(opts.Columns) {
		c := d.Columns[place]
		e.members = add(e.members, strings.Split(c.Path, "."), member{column: place, typ: c.Type})
	}
	return e
}

func add(members []member, path []string, m member) []member {
	name, _ := json.Marshal(path[0]) // a text always marshals
	m.name = string(name) + ":"
	if len(path) == 1 {
		return append(members, m)
	}
	for i := range members {
		if members[i].name == m.name && members[i].inner != nil {
			members[i].inner = add(members[i].inner, path[1:], m)
			return members
		}
	}
	return append(members, member{name: m.name, inner: add(nil, path[1:], m)})
}

// Texts says how many values of columns of numbers were none that JSON has so far, and are texts: NaN, the
// infinities, and what is stored with another type.
func (e *Encoder) Texts() int64 { return e.texts }

// AppendRow appends the row of doc, the bytes of a google.firestore.v1.Document. It does not keep doc. The
// only error is wire.ErrMalformed, and dst is then returned as it came.
func (e *Encoder) AppendRow(dst, doc []byte) ([]byte, error) {
	if err := e.Split(&e.row, doc); err != nil {
		return dst, err
	}
	out, err := e.appendObject(dst, e.members)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (e *Encoder) appendObject(dst []byte, members []member) (_ []byte, err error) {
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, m.name...)
		switch {
		case m.inner != nil:
			dst, err = e.appendObject(dst, m.inner)
		case m.column == 0:
			dst = wire.AppendJSONString(dst, e.row.ID())
		default:
			dst, err = e.appendValue(dst, m.typ, e.row.Cell(m.column))
		}
		if err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// appendValue appends a value as its column's type shows it. What is of another type is the text that it is
// exported as.
func (e *Encoder) appendValue(dst []byte, typ dataset.Type, b []byte) ([]byte, error) {
	v, err := wire.Parse(b)
	switch {
	case err != nil:
		return dst, err
	case typ == dataset.Array:
		return e.appendList(dst, v)
	case (v.Kind == wire.None || v.Kind == wire.Null) && typ != dataset.Text:
		return append(dst, "null"...), nil
	case v.Kind == wire.Int && typ == dataset.Number, v.Kind == wire.Double && typ == dataset.Number && v.Finite():
		return e.printer.Append(dst, v)
	case v.Kind == wire.Time && typ != dataset.Number:
		dst, err = e.printer.AppendIn(append(dst, '"'), v, e.zone)
		return append(dst, '"'), err
	}
	text, err := e.print(v)
	if err != nil {
		return dst, err
	}
	if typ == dataset.Number {
		if isNumber(text) {
			return append(dst, text...), nil
		}
		e.texts++
	}
	return wire.AppendJSONString(dst, text), nil
}

// print gives the text of a value, valid until the next call.
func (e *Encoder) print(v wire.Value) (_ []byte, err error) {
	if v.Kind == wire.String {
		return v.Data, nil
	}
	e.scratch, err = e.printer.AppendIn(e.scratch[:0], v, e.zone)
	return e.scratch, err
}

// appendList appends the elements of an array, or the one value that is in its place.
func (e *Encoder) appendList(dst []byte, v wire.Value) (_ []byte, err error) {
	dst = append(dst, '[')
	switch v.Kind {
	case wire.None, wire.Null:
	case wire.Array:
		items := wire.Elements(v)
		for first := true; items.Next(); first = false {
			if !first {
				dst = append(dst, ',')
			}
			element, err := wire.Parse(items.Value)
			if err != nil {
				return dst, err
			}
			text, err := e.print(element)
			if err != nil {
				return dst, err
			}
			dst = wire.AppendJSONString(dst, text)
		}
		if err := items.Err(); err != nil {
			return dst, err
		}
	default:
		text, err := e.print(v)
		if err != nil {
			return dst, err
		}
		dst = wire.AppendJSONString(dst, text)
	}
	return append(dst, ']'), nil
}

// isNumber reports whether b is a number in JSON's grammar.
func isNumber(b []byte) bool {
	return len(b) > 0 && strings.IndexByte("-0123456789", b[0]) >= 0 && b[len(b)-1] >= '0' && json.Valid(b)
}
