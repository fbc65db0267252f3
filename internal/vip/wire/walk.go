package wire

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Walk steps through the entries of a document or of a map value. Its slices refer to the walked bytes. It is
// a value, so a walk costs no allocation.
type Walk struct {
	// Name is the resource name of a document, once the walk has met it; complete when Next has returned
	// false. Firestore sends it first.
	Name []byte
	// Key and Value are the current entry: the field's name and the bytes of its google.firestore.v1.Value.
	Key, Value []byte

	msg     []byte
	at      int
	entry   byte // tag of an entry
	inDoc   bool
	invalid bool
}

// Document starts a walk over the fields of a google.firestore.v1.Document.
func Document(doc []byte) Walk {
	return Walk{msg: doc, entry: 2<<3 | typeBytes, inDoc: true}
}

// MapFields starts a walk over the fields of a value of kind [Map].
func MapFields(v Value) Walk {
	return Walk{msg: v.Data, entry: 1<<3 | typeBytes}
}

// Next moves to the next entry. It returns false at the end and at malformed bytes; [Walk.Err] tells which.
func (w *Walk) Next() bool {
	// The short way: an entry that has the order and the lengths (below 16 KiB, keys below 128 bytes) that
	// entries have. It is most of the time that a row takes to read, so it is spelled out.
	b, i := w.msg, w.at
	if i+8 > len(b) || b[i] != w.entry {
		return w.next()
	}
	n := int(b[i+1])
	i += 2
	if n >= 0x80 {
		n = n&0x7f | int(b[i])<<7
		i++
	}
	if uint(n-4) >= 0x80<<7-4 || n > len(b)-i { // or a length of three bytes
		return w.next()
	}
	e := b[i : i+n]
	v := 2 + int(e[1])
	if e[0] != 1<<3|typeBytes || e[1] >= 0x80 || v+2 > len(e) || e[v] != 2<<3|typeBytes {
		return w.next()
	}
	from, size := v+2, int(e[v+1])
	if size >= 0x80 {
		if from >= len(e) || e[from] >= 0x80 {
			return w.next()
		}
		size = size&0x7f | int(e[from])<<7
		from++
	}
	if from+size != len(e) {
		return w.next()
	}
	w.Key, w.Value, w.at = e[2:v], e[from:], i+n
	return true
}

// next is Next for everything.
func (w *Walk) next() bool {
	b := w.msg
	for i := w.at; i < len(b); {
		f := next(b, i)
		if f.end < 0 {
			w.invalid = true
			return false
		}
		i = f.end
		switch {
		case f.tag == uint64(w.entry):
			w.at = i
			return w.split(b[f.from:f.end])
		case f.tag == 1<<3|typeBytes && w.inDoc:
			w.Name = b[f.from:f.end]
			if i < len(b) && b[i] == w.entry {
				w.at = i
				return w.Next()
			}
		}
	}
	w.at = len(b)
	return false
}

// split reads a map entry: key is field 1, value is field 2.
func (w *Walk) split(e []byte) bool {
	w.Key, w.Value = nil, nil
	for i := 0; i < len(e); {
		f := next(e, i)
		if f.end < 0 {
			w.invalid = true
			return false
		}
		i = f.end
		switch f.tag {
		case 1<<3 | typeBytes:
			w.Key = e[f.from:f.end]
		case 2<<3 | typeBytes:
			w.Value = e[f.from:f.end]
		}
	}
	return true
}

// Err is [ErrMalformed] where the walk ended at malformed bytes.
func (w *Walk) Err() error {
	if w.invalid {
		return ErrMalformed
	}
	return nil
}

// Items steps through the elements of an array.
type Items struct {
	// Value is the bytes of the current element's google.firestore.v1.Value.
	Value []byte

	msg     []byte
	at      int
	invalid bool
}

// Elements starts a walk over the elements of a value of kind [Array].
func Elements(v Value) Items { return Items{msg: v.Data} }

// ShortArray is a short cut of [Parse] and [Elements] for the bytes of an array as encoders write it, up to
// 127 bytes of elements. ok false says nothing.
func ShortArray(b []byte) (items Items, ok bool) {
	if len(b) < 2 || b[0] != tagArray || b[1] >= 0x80 || int(b[1]) != len(b)-2 {
		return Items{}, false
	}
	return Items{msg: b[2:]}, true
}

// Next moves to the next element. It returns false at the end and at malformed bytes; [Items.Err] tells
// which.
func (it *Items) Next() bool {
	if b, i := it.msg, it.at; i+2 <= len(b) && b[i] == 1<<3|typeBytes && b[i+1] < 0x80 && i+2+int(b[i+1]) <= len(b) {
		it.at = i + 2 + int(b[i+1])
		it.Value = b[i+2 : it.at]
		return true
	}
	for it.at < len(it.msg) {
		f := next(it.msg, it.at)
		if f.end < 0 {
			it.invalid = true
			return false
		}
		it.at = f.end
		if f.tag == 1<<3|typeBytes {
			it.Value = it.msg[f.from:f.end]
			return true
		}
	}
	return false
}

// Err is [ErrMalformed] where the walk ended at malformed bytes.
func (it *Items) Err() error {
	if it.invalid {
		return ErrMalformed
	}
	return nil
}

// ID returns the last segment of a document's resource name. It looks for the slash before it by eight bytes:
// every row has one, and a loop over its bytes took longer than to copy it.
func ID(name []byte) []byte {
	const lows, slashes = 0x7f7f7f7f7f7f7f7f, 0x2f2f2f2f2f2f2f2f
	i := len(name)
	for ; i >= 8; i -= 8 {
		w := binary.LittleEndian.Uint64(name[i-8:]) ^ slashes
		if none := (w&lows + lows) | w | lows; none != math.MaxUint64 { // a high bit is unset where a byte is a slash
			return name[i-bits.LeadingZeros64(^none)/8:]
		}
	}
	for i--; i >= 0; i-- {
		if name[i] == '/' {
			return name[i+1:]
		}
	}
	return name
}

// Finder finds one field in many documents. It remembers where the field was last, since documents of a
// collection mostly look alike, and reads no more than lengths up to there. The zero Finder with a Field is
// ready; it is not safe for concurrent use.
type Finder struct {
	Field string
	skip  int // entries before the field, last time
}

// Find returns the resource name of a document and the bytes of the field's value; nil where the document has
// none.
func (f *Finder) Find(doc []byte) (name, value []byte, err error) {
	if name, value, ok := f.guess(doc); ok {
		return name, value, nil
	}
	fields := Document(doc)
	for n := 0; fields.Next(); n++ {
		if string(fields.Key) == f.Field {
			value, f.skip = fields.Value, n
		}
	}
	return fields.Name, value, fields.Err()
}

// guess looks where the field was last time. It takes only a document that begins with its name, then has all
// its entries up to the field.
func (f *Finder) guess(doc []byte) (name, value []byte, ok bool) {
	if len(doc) < 2 || doc[0] != 1<<3|typeBytes {
		return nil, nil, false
	}
	n, from := shortLength(doc, 1)
	end := from + n
	if from == 0 || end > len(doc) {
		return nil, nil, false
	}
	name = doc[from:end]
	w := Walk{msg: doc, entry: 2<<3 | typeBytes, inDoc: true, at: end}
	for range f.skip {
		if w.at+2 > len(doc) || doc[w.at] != w.entry {
			return nil, nil, false
		}
		n, from := shortLength(doc, w.at+1)
		if w.at = from + n; from == 0 || w.at > len(doc) {
			return nil, nil, false
		}
	}
	if !w.Next() || string(w.Key) != f.Field {
		return nil, nil, false
	}
	return name, w.Value, true
}

// Response splits a google.firestore.v1.RunQueryResponse. doc is nil in a message that carries no document
// (progress, or the read time of an empty result); readTime is nil where there is none, else the bytes of its
// Timestamp.
func Response(msg []byte) (doc, readTime []byte, err error) {
	for i := 0; i < len(msg); {
		f := next(msg, i)
		if f.end < 0 {
			return nil, nil, ErrMalformed
		}
		i = f.end
		switch f.tag {
		case 1<<3 | typeBytes:
			doc = msg[f.from:f.end]
		case 3<<3 | typeBytes:
			readTime = msg[f.from:f.end]
		}
	}
	return doc, readTime, nil
}
