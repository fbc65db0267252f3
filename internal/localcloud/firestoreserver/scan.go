package firestoreserver

import (
	"bytes"

	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Positions in an index are handled in one common form: what follows the part of the key that a disjunct
// fixes (tail values, then the name), with the query's directions applied, so that bytes ascend in the order
// of the query. An index stored in the opposite direction is read backwards and complemented.

// bounds limit a scan in common form. A nil bound is open.
type bounds struct {
	lo, hi []byte // inclusive, exclusive
	none   bool   // nothing lies between
}

// atLeast raises the lower bound.
func (b *bounds) atLeast(lo []byte) {
	if bytes.Compare(lo, b.lo) > 0 {
		b.lo = lo
	}
}

// below lowers the upper bound.
func (b *bounds) below(hi []byte) {
	if hi != nil && (b.hi == nil || bytes.Compare(hi, b.hi) < 0) {
		b.hi = hi
	}
}

// after raises the lower bound above everything that begins with prefix.
func (b *bounds) after(prefix []byte) {
	if end := fsvalue.PrefixEnd(bytes.Clone(prefix)); end != nil {
		b.atLeast(end)
	} else if len(prefix) > 0 {
		b.none = true
	}
}

// through lowers the upper bound to the end of what begins with prefix.
func (b *bounds) through(prefix []byte) { b.below(fsvalue.PrefixEnd(bytes.Clone(prefix))) }

func (b *bounds) empty() bool { return b.none || b.hi != nil && bytes.Compare(b.lo, b.hi) >= 0 }

// inverted returns the bounds of the complemented keys.
func (b bounds) inverted() bounds {
	out := bounds{none: b.none}
	if b.hi != nil {
		out.lo = fsvalue.PrefixEnd(complemented(b.hi))
	}
	if len(b.lo) > 0 {
		out.hi = fsvalue.PrefixEnd(complemented(b.lo))
	}
	return out
}

func complemented(b []byte) []byte {
	out := bytes.Clone(b)
	fsstore.Complement(out)
	return out
}

// scan walks one index, or the documents of a collection or group.
type scan struct {
	cursor *fsstore.Cursor
	prefix []byte
	flip   bool
	buf    []byte // key in common form when flipped
	target []byte // scratch of seek
	ok     bool
}

// newScan opens a scan of the keys with prefix that lie within b.
func newScan(v *fsstore.View, db uint32, group string, prefix []byte, flip bool, b bounds) (*scan, error) {
	if flip {
		b = b.inverted()
	}
	r := fsstore.Range{DB: db, Group: group, Reverse: flip}
	r.Lower = append(bytes.Clone(prefix), b.lo...)
	if b.hi != nil {
		r.Upper = append(bytes.Clone(prefix), b.hi...)
	} else {
		r.Upper = fsvalue.PrefixEnd(bytes.Clone(prefix))
	}
	c, err := v.Scan(r)
	if err != nil {
		return nil, err
	}
	return &scan{cursor: c, prefix: prefix, flip: flip}, nil
}

// next moves on by one entry.
func (s *scan) next() bool {
	s.ok = s.cursor.Next()
	return s.ok
}

// seek moves to the first entry whose common form is at or above key.
func (s *scan) seek(key []byte) bool {
	s.target = append(s.target[:0], s.prefix...)
	s.target = append(s.target, key...)
	t := s.target
	if s.flip {
		fsstore.Complement(t[len(s.prefix):])
		t = fsvalue.PrefixEnd(t)
	}
	s.ok = s.cursor.Seek(t)
	return s.ok
}

// key returns the common form of the current entry, valid until the scan moves.
func (s *scan) key() []byte {
	k := s.cursor.Key()[len(s.prefix):]
	if !s.flip {
		return k
	}
	s.buf = append(s.buf[:0], k...)
	fsstore.Complement(s.buf)
	return s.buf
}

func (s *scan) value() []byte { return s.cursor.Value() }
