package fsvalue

// MaxIndexedBytes is the budget of one encoded value; what goes beyond is cut,
// and then two different values may have the same encoding.
const MaxIndexedBytes = 1500

// Direction of an index component or an order.
type Direction uint8

// The two directions.
const (
	Ascending Direction = iota
	Descending
)

// Reverse returns the other direction.
func (d Direction) Reverse() Direction { return d ^ 1 }

// String returns ASCENDING or DESCENDING.
func (d Direction) String() string {
	if d == Descending {
		return "DESCENDING"
	}
	return "ASCENDING"
}

// AppendValue appends the encoding of v: byte order of encodings is the order
// of [Compare], and no encoding is a prefix of another, so components may be
// concatenated. Descending complements each byte. truncated tells that v went
// over [MaxIndexedBytes] and equality of encodings no longer proves equality.
func AppendValue(dst []byte, v *Value, d Direction) (out []byte, truncated bool) { return dst, false }

// AppendString appends an escaped, terminated string: the form of ids in keys.
func AppendString(dst []byte, s string) []byte { return dst }

// AppendPath appends the segments of p below the root and the end-of-path mark.
// Byte order of encodings is the order of names inside one database.
func AppendPath(dst []byte, p Path, d Direction) []byte { return dst }

// AppendPathPrefix appends the segments without the end mark: the common prefix
// of p and everything beneath it.
func AppendPathPrefix(dst []byte, p Path) []byte { return dst }

// CutValue splits the first value component, written in direction d, off a key.
func CutValue(key []byte, d Direction) (component, rest []byte, err error) { return nil, nil, nil }

// CutString decodes the first string component of a key.
func CutString(key []byte) (s string, rest []byte, err error) { return "", nil, nil }

// CutPath decodes the path component, written in direction d, at the start of a key.
func CutPath(db Database, key []byte, d Direction) (p Path, rest []byte, err error) {
	return Path{}, nil, nil
}

// DecodeNumber decodes a number (or NaN) component. Encodings merge 1 and 1.0,
// so integer says which to return; ok is false for other classes.
func DecodeNumber(component []byte, d Direction, integer bool) (v *Value, ok bool) { return nil, false }

// PrefixEnd returns in place the least key greater than all keys beginning with
// prefix; nil when there is none.
func PrefixEnd(prefix []byte) []byte { return nil }
