package fsvalue

import (
	"slices"
	"strings"
	"unicode/utf8"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// NameField is the field path segment that stands for the document name.
const NameField = "__name__"

// FieldPath leads to a field through nested maps; each element is a map key, unquoted. Treat it as immutable.
type FieldPath []string

// ParseFieldPath parses the dotted, possibly back-quoted form.
func ParseFieldPath(s string) (FieldPath, error) {
	if len(s) > MaxFieldPathBytes {
		return nil, invalidf("Property path is longer than %d bytes.", MaxFieldPathBytes)
	}
	if !utf8.ValidString(s) {
		return nil, invalidPath(s)
	}
	p := make(FieldPath, 0, strings.Count(s, ".")+1)
	for rest, more := s, true; more; {
		seg, tail, ok := cutSegment(rest)
		if !ok {
			return nil, invalidPath(s)
		}
		p = append(p, seg)
		if rest, more = strings.CutPrefix(tail, "."); !more && tail != "" {
			return nil, invalidPath(s)
		}
	}
	for _, seg := range p {
		if isReserved(seg) && !p.IsName() {
			return nil, invalidf("Invalid property path %q: %q is reserved.", s, seg)
		}
	}
	return p, nil
}

func invalidPath(s string) error {
	return invalidf("Invalid property path %q. Unquoted property names must match regex ([a-zA-Z_][a-zA-Z_0-9]*), "+
		"and quoted property names must match regex (`(?:[^`\\\\]|(?:\\\\.))+`).", s)
}

// cutSegment parses the segment at the start of s.
func cutSegment(s string) (seg, tail string, ok bool) {
	if !strings.HasPrefix(s, "`") {
		n := 0
		for n < len(s) && isSimpleByte(s[n], n) {
			n++
		}
		return s[:n], s[n:], n > 0
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '`':
			return b.String(), s[i+1:], b.Len() > 0
		case '\\':
			i++
			if i == len(s) || (s[i] != '`' && s[i] != '\\') {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

func isSimpleByte(c byte, at int) bool {
	return c == '_' || (c|0x20 >= 'a' && c|0x20 <= 'z') || (at > 0 && c >= '0' && c <= '9')
}

func isSimple(s string) bool {
	for i := range len(s) {
		if !isSimpleByte(s[i], i) {
			return false
		}
	}
	return s != ""
}

// IsName reports whether p is the document name, `__name__`.
func (p FieldPath) IsName() bool { return len(p) == 1 && p[0] == NameField }

// Equal reports whether both paths have the same segments.
func (p FieldPath) Equal(o FieldPath) bool { return slices.Equal(p, o) }

// Compare orders paths segment by segment, except that `__name__` sorts last, as the implicit order of
// queries wants it.
func (p FieldPath) Compare(o FieldPath) int {
	if a, b := p.IsName(), o.IsName(); a != b {
		if a {
			return 1
		}
		return -1
	}
	return slices.Compare(p, o)
}

// HasPrefix reports whether o is p or an ancestor of p.
func (p FieldPath) HasPrefix(o FieldPath) bool {
	return len(o) <= len(p) && slices.Equal(p[:len(o)], o)
}

// String spells the path as clients do: simple segments bare, others in back quotes.
func (p FieldPath) String() string {
	var b strings.Builder
	for i, seg := range p {
		if i > 0 {
			b.WriteByte('.')
		}
		if isSimple(seg) {
			b.WriteString(seg)
			continue
		}
		b.WriteByte('`')
		for j := range len(seg) {
			if seg[j] == '`' || seg[j] == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(seg[j])
		}
		b.WriteByte('`')
	}
	return b.String()
}

// Get returns the value at p; a path through anything but maps is absent.
func (p FieldPath) Get(fields map[string]*Value) (*Value, bool) {
	for i, seg := range p {
		v, ok := fields[seg]
		if !ok || i == len(p)-1 {
			return v, ok
		}
		m, ok := v.GetValueType().(*firestorepb.Value_MapValue)
		if !ok {
			return nil, false
		}
		fields = m.MapValue.GetFields()
	}
	return nil, false
}

// ParseMask parses the paths of a DocumentMask or projection, which must be
// free of duplicates and of paths below one another. `__name__` is allowed;
// where it is not, the caller must refuse it.
func ParseMask(paths []string) ([]FieldPath, error) {
	mask := make([]FieldPath, len(paths))
	for i, s := range paths {
		p, err := ParseFieldPath(s)
		if err != nil {
			return nil, err
		}
		mask[i] = p
	}
	sorted := slices.SortedFunc(slices.Values(mask), FieldPath.Compare)
	for i := 1; i < len(sorted); i++ {
		if sorted[i].HasPrefix(sorted[i-1]) {
			return nil, invalidf("Field path %q and its ancestor or duplicate %q must not both be in a mask.",
				sorted[i].String(), sorted[i-1].String())
		}
	}
	return mask, nil
}

// Project returns the part of fields that the mask lists; parents of a listed
// nested field stay as maps with only that part, and a path that does not exist
// leaves nothing. Values are shared with fields, maps that hold a part are new.
func Project(fields map[string]*Value, mask []FieldPath) map[string]*Value {
	out := make(map[string]*Value, len(mask))
	for _, p := range mask {
		v, ok := p.Get(fields)
		if !ok {
			continue
		}
		into := out
		for _, seg := range p[:len(p)-1] {
			m := into[seg].GetMapValue()
			if m == nil {
				m = &firestorepb.MapValue{Fields: make(map[string]*Value, 1)}
				into[seg] = &Value{ValueType: &firestorepb.Value_MapValue{MapValue: m}}
			}
			into = m.Fields
		}
		into[p[len(p)-1]] = v
	}
	return out
}
