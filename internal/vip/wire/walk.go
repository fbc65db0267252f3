package wire

// Walk steps through the entries of a document or of a map value. Its slices
// refer to the walked bytes. It is a value, so a walk costs no allocation.
type Walk struct {
	// Name is the resource name of a document, once the walk has met it;
	// complete when Next has returned false. Firestore sends it first.
	Name []byte
	// Key and Value are the current entry: the field's name and the bytes of
	// its google.firestore.v1.Value.
	Key, Value []byte

	msg     []byte
	at      int
	entry   uint64 // tag of an entry
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

// Next moves to the next entry. It returns false at the end and at malformed
// bytes; [Walk.Err] tells which.
func (w *Walk) Next() bool {
	key, from, end := shortEntry(w.msg, w.at, w.entry)
	if end == 0 {
		return w.next()
	}
	w.Key, w.Value, w.at = w.msg[key:key+int(w.msg[key-1])], w.msg[from:end], end
	return true
}

// shortEntry finds the parts of the entry at b[i] if it is one, and has the
// order and the lengths (below 16 KiB, keys below 128 bytes) that entries have:
// the key begins at b[key], behind its length, the value at b[from]; both the
// value and the entry end at end. end 0 says nothing.
func shortEntry(b []byte, i int, tag uint64) (key, from, end int) {
	if i+8 > len(b) || uint64(b[i]) != tag {
		return 0, 0, 0
	}
	n := int(b[i+1])
	i += 2
	if n >= 0x80 {
		n = n&0x7f | int(b[i])<<7
		if i++; n >= 0x80<<7 {
			return 0, 0, 0
		}
	}
	end = i + n
	if n < 4 || end > len(b) || b[i] != 1<<3|typeBytes || b[i+1] >= 0x80 {
		return 0, 0, 0
	}
	v := i + 2 + int(b[i+1])
	if v+2 > end || b[v] != 2<<3|typeBytes {
		return 0, 0, 0
	}
	from, n = v+2, int(b[v+1])
	if n >= 0x80 {
		if from >= end || b[from] >= 0x80 {
			return 0, 0, 0
		}
		n = n&0x7f | int(b[from])<<7
		from++
	}
	if from+n != end {
		return 0, 0, 0
	}
	return i + 2, from, end
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
		case f.tag == w.entry:
			w.at = i
			return w.split(b[f.from:f.end])
		case f.tag == 1<<3|typeBytes && w.inDoc:
			w.Name = b[f.from:f.end]
			if i < len(b) && uint64(b[i]) == w.entry {
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

// Next moves to the next element. It returns false at the end and at
// malformed bytes; [Items.Err] tells which.
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

// ID returns the last segment of a document's resource name.
func ID(name []byte) []byte {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			return name[i+1:]
		}
	}
	return name
}

// Response splits a google.firestore.v1.RunQueryResponse. doc is nil in a
// message that carries no document (progress, or the read time of an empty
// result); readTime is nil where there is none, else the bytes of its Timestamp.
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
