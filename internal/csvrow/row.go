package csvrow

import "exportd/internal/vip/wire"

// Row is where the cells of a row are in the bytes of its document. One Row
// serves many documents, one after the other; it refers to the last.
type Row struct {
	doc   []byte
	name  span
	cells [maxColumns]span
}

// span is a place in a document; the zero span is none.
type span struct{ from, to uint32 }

func (r *Row) at(s span) []byte { return r.doc[s.from:s.to] }

// place is where part is, a slice of the document with the capacity that the
// document has: both end at the same byte of memory.
func (r *Row) place(part []byte) span {
	from := uint32(cap(r.doc) - cap(part))
	return span{from, from + uint32(len(part))}
}

// Split finds the cells of doc, the bytes of a google.firestore.v1.Document. The
// only error is wire.ErrMalformed.
func (e *Encoder) Split(r *Row, doc []byte) error {
	r.doc = doc[:len(doc):len(doc)] // nothing reads behind it
	r.name, r.cells = span{}, [maxColumns]span{}
	if r.locate(e.fields, 0, len(doc), tagField) {
		return nil
	}
	r.name, r.cells = span{}, [maxColumns]span{}
	return r.walk(e.fields)
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

// locate is the short way of Split: for what is written as encoders write it,
// lengths below 16 KiB in the shortest form, keys below 128 bytes and before
// their values. It takes the document, or the map at [i, end) with other fields
// and tag. false says nothing: walk then knows. It is most of the time that
// Split takes, so it is spelled out.
func (r *Row) locate(of fields, i, end int, field byte) bool {
	doc := r.doc[:end]
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
		case field:
			e := doc[i:end]
			if len(e) < 4 || e[0] != tagKey || e[1] >= 0x80 {
				return false
			}
			v := 2 + int(e[1])
			if v+2 > len(e) || e[v] != tagValue {
				return false
			}
			from, size := v+2, int(e[v+1])
			if size >= 0x80 {
				if from >= len(e) || e[from] >= 0x80 {
					return false
				}
				size = size&0x7f | int(e[from])<<7
				from++
			}
			if from+size != len(e) {
				return false
			}
			switch c := of.column(e[2:v]); {
			case c >= 0:
				r.cells[c] = span{uint32(i + from), uint32(end)}
			case c == personalInfo:
				if !r.locatePerson(i+from, end) {
					return false
				}
			}
		case tagName:
			r.name = span{uint32(i), uint32(end)}
		case tagCreated, tagUpdated:
		default:
			return false
		}
		i = end
	}
	return true
}

// locatePerson is locate for the value of personalInfo. It sends a second one
// to walk, since only the last one counts.
func (r *Row) locatePerson(from, end int) bool {
	b := r.doc[from:end]
	if len(b) < 2 || b[0] != tagMap || b[1] >= 0x80 && (len(b) == 2 || b[2] >= 0x80) {
		return false
	}
	n, at := int(b[1]), 2
	if n >= 0x80 {
		n, at = n&0x7f|int(b[2])<<7, 3
	}
	for _, s := range r.cells[firstOfPerson:] {
		if s != (span{}) {
			return false
		}
	}
	return at+n == len(b) && r.locate(personFields, from+at, end, tagName)
}

// walk finds the name and the columns of any document.
func (r *Row) walk(of fields) error {
	var person []byte
	doc := wire.Document(r.doc)
	for doc.Next() {
		switch c := of.column(doc.Key); {
		case c >= 0:
			r.cells[c] = r.place(doc.Value)
		case c == personalInfo:
			person = doc.Value
		}
	}
	if err := doc.Err(); err != nil {
		return err
	}
	r.name = r.place(doc.Name)
	v, err := wire.Parse(person)
	if err != nil || v.Kind != wire.Map {
		return err // a personalInfo that is not a map has no fields: empty cells
	}
	inner := wire.MapFields(v)
	for inner.Next() {
		if c := personFields.column(inner.Key); c >= 0 {
			r.cells[c] = r.place(inner.Value)
		}
	}
	return inner.Err()
}
