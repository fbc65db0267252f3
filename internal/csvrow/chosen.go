package csvrow

import (
	"bytes"

	"exportd/internal/dataset"
	"exportd/internal/vip/wire"
)

// appendChosen is AppendCells for a form that is not the one by default: the same cells, some of them, in an
// order of the caller's. It has fewer short ways.
func (e *Encoder) appendChosen(dst []byte, r *Row) ([]byte, error) {
	start := len(dst)
	for i, place := range e.places {
		if i > 0 {
			dst = append(dst, e.comma)
		}
		var err error
		e.leads, e.at = i == 0, place
		if dst, err = e.appendPlace(dst, r, place); err != nil {
			return dst[:start], err
		}
	}
	if len(e.places) == 1 && len(dst) == start {
		dst = append(dst, `""`...) // an empty line is no row to many readers
	}
	return append(dst, '\r', '\n'), nil
}

// appendPlace appends the cell of a column.
func (e *Encoder) appendPlace(dst []byte, r *Row, place int) ([]byte, error) {
	if place == 0 {
		return e.appendCell(dst, r.ID()), nil
	}
	at := r.cells[place]
	if at.text != 0 {
		return e.appendCell(dst, r.doc[at.text:at.to]), nil
	}
	b := r.at(at.span)
	if len(b) == 0 {
		return dst, nil
	}
	v, err := wire.Parse(b)
	switch {
	case err != nil:
		return dst, err
	case v.Kind == wire.Array && e.columns[place].Type == dataset.Array:
		return e.appendList(dst, v)
	case v.Kind == wire.Time:
		return e.printer.AppendIn(dst, v, e.opts.Zone)
	case e.leads && e.opts.FormulaGuard && len(e.places) > 1 && (v.Kind == wire.Int || v.Kind == wire.Double):
		return e.appendLeading(dst, v)
	}
	return e.appendValue(dst, v)
}

// appendLeading appends a number that a row begins with, see appendID.
func (e *Encoder) appendLeading(dst []byte, v wire.Value) (_ []byte, err error) {
	if e.scratch, err = e.printer.Append(e.scratch[:0], v); err != nil {
		return dst, err
	}
	if e.scratch[0] == '-' {
		e.guarded[e.at]++
		dst = append(dst, '\'')
	}
	return append(dst, e.scratch...), nil
}

// hasDelimiter reports whether a cell has the delimiter in it, where that is none that each scan looks for.
func (e *Encoder) hasDelimiter(s []byte) bool {
	return e.comma != ',' && bytes.IndexByte(s, e.comma) >= 0
}
