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
		}
	}
	w.at = len(b)
	return false
}

// split reads a map entry: key is field 1, value is field 2.
func (w *Walk) split(e []byte) bool {
	// The order and lengths that every encoder writes, lengths below 128.
	if len(e) >= 4 && e[0] == 1<<3|typeBytes && e[1] < 0x80 {
		if v := 2 + int(e[1]); v+1 < len(e) && e[v] == 2<<3|typeBytes && e[v+1] < 0x80 && v+2+int(e[v+1]) == len(e) {
			w.Key, w.Value = e[2:v], e[v+2:]
			return true
		}
	}
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
