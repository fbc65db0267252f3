package fsstore

import (
	"encoding/binary"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// maxEntries is the documented limit of index entries for one document.
const maxEntries = 40_000

// entry is one index entry of one document.
type entry struct {
	key     string
	nameLen int
	covers  bool
}

// entryBuilder derives the entries of one document.
type entryBuilder struct {
	c      *catalog
	g      groupID
	path   fsvalue.Path
	parent fsvalue.Path
	fields map[string]*fsvalue.Value
	buf    []byte
	out    []entry
}

// entries returns the index entries of a document; the order is arbitrary and
// keys are distinct.
func (c *catalog) entries(db uint32, path fsvalue.Path, fields map[string]*fsvalue.Value) ([]entry, error) {
	g := groupID{db, path.CollectionID()}
	b := &entryBuilder{c: c, g: g, path: path, parent: path.Parent(), fields: fields, buf: make([]byte, 0, 256)}
	gi := c.group(g)
	b.singles(&gi.root, fields)
	for i := range gi.composites {
		b.composite(&gi.composites[i])
	}
	if len(b.out) > maxEntries {
		return nil, status.Errorf(codes.InvalidArgument, "too many index entries for entity %s", path)
	}
	return b.out, nil
}

func (b *entryBuilder) singles(parent *node, fields map[string]*fsvalue.Value) {
	for name, v := range fields {
		n := b.c.child(b.g, parent, name)
		for i := range n.order {
			b.single(&n.order[i], v)
		}
		if m := v.GetMapValue(); m != nil && fsvalue.ClassOf(v) == fsvalue.ClassMap {
			b.singles(n, m.GetFields())
		}
		if a := v.GetArrayValue(); a != nil {
			for i := range n.contains {
				b.elements(&n.contains[i], a.GetValues())
			}
		}
	}
}

func (b *entryBuilder) single(p *physical, v *fsvalue.Value) {
	b.buf = p.prefix(b.buf[:0], b.parent)
	b.buf, _ = fsvalue.AppendValue(b.buf, v, fsvalue.Ascending)
	b.finish(p)
}

func (b *entryBuilder) elements(p *physical, values []*fsvalue.Value) {
	start := len(b.out)
	for _, v := range values {
		b.single(p, v)
	}
	b.dedup(start)
}

// dedup drops repeated keys among the entries from start on: equal elements of
// an array have one entry.
func (b *entryBuilder) dedup(start int) {
	if len(b.out)-start < 2 {
		return
	}
	seen := make(map[string]bool, len(b.out)-start)
	kept := b.out[:start]
	for _, e := range b.out[start:] {
		if !seen[e.key] {
			seen[e.key] = true
			kept = append(kept, e)
		}
	}
	b.out = kept
}

func (b *entryBuilder) composite(p *physical) {
	values := make([]*fsvalue.Value, len(p.fields))
	var elements []*fsvalue.Value
	at := -1
	for i, f := range p.fields {
		v, ok := f.Path.Get(b.fields)
		if !ok {
			return
		}
		if f.Kind == fsindex.Contains {
			a := v.GetArrayValue()
			if a == nil {
				return
			}
			at, elements = i, a.GetValues()
			continue
		}
		values[i] = v
	}
	if at < 0 {
		b.compose(p, values)
		return
	}
	start := len(b.out)
	for _, e := range elements {
		values[at] = e
		b.compose(p, values)
	}
	b.dedup(start)
}

func (b *entryBuilder) compose(p *physical, values []*fsvalue.Value) {
	b.buf = p.prefix(b.buf[:0], b.parent)
	for i, v := range values {
		b.buf, _ = fsvalue.AppendValue(b.buf, v, direction(p.fields[i].Kind))
	}
	b.finish(p)
}

func (b *entryBuilder) finish(p *physical) {
	n := len(b.buf)
	if p.scope == fsindex.CollectionGroup {
		b.buf = fsvalue.AppendPath(b.buf, b.path, p.name)
	} else {
		b.buf = AppendID(b.buf, b.path.ID(), p.name)
	}
	b.out = append(b.out, entry{key: string(b.buf), nameLen: len(b.buf) - n})
	if p.covers {
		b.buf[0] = spaceCovering
		b.out = append(b.out, entry{key: string(b.buf), nameLen: len(b.buf) - n, covers: true})
	}
}

// AppendID appends a document id as it stands at the end of the keys of a
// collection's index.
func AppendID(dst []byte, id string, d fsvalue.Direction) []byte {
	n := len(dst)
	dst = fsvalue.AppendString(dst, id)
	if d == fsvalue.Descending {
		Complement(dst[n:])
	}
	return dst
}

// Complement inverts every bit of b, which reverses the order of encodings.
func Complement(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

// entryValue encodes an entry. A covering one carries the body unless that is nil
// or long.
func entryValue(dst []byte, e *entry, from int64, body []byte) []byte {
	dst = putInstant(dst, from)
	if e.covers && body != nil && len(body) <= maxCoveredBody {
		dst = binary.BigEndian.AppendUint16(dst, uint16(e.nameLen)|entryHasBody)
		return append(dst, body...)
	}
	return binary.BigEndian.AppendUint16(dst, uint16(e.nameLen))
}

// diffEntries splits entries into those that go, those that come, and those
// that stay under the same key.
func diffEntries(before, after []entry) (gone, come, stay []entry) {
	old := make(map[string]entry, len(before))
	for _, e := range before {
		old[e.key] = e
	}
	for _, e := range after {
		if _, ok := old[e.key]; ok {
			delete(old, e.key)
			stay = append(stay, e)
		} else {
			come = append(come, e)
		}
	}
	return slices.Collect(maps.Values(old)), come, stay
}
