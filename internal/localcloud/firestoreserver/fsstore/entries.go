package fsstore

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Documented limits of the index entries of one document: https://cloud.google.com/firestore/quotas#indexes
const (
	maxEntries      = 40_000
	maxEntryBytes   = 7680 // 7.5 KiB: a composite of six fields over 1,500 bytes
	maxEntriesBytes = 8 << 20
	entryExtraBytes = 32 // what an entry counts beside its values and names
)

// entry is one index entry of one document.
type entry struct {
	key     []byte
	nameLen int
	covers  bool
	index   *physical
}

// entryBuilder derives the entries of one document.
type entryBuilder struct {
	c      *catalog
	g      groupID
	path   fsvalue.Path
	parent fsvalue.Path
	fields map[string]*fsvalue.Value
	buf    []byte // of keys; the one being built begins at start
	start  int
	out    []entry
}

const (
	// usualKeys and usualEntries fit a document of the service: keys share one piece of memory, since each by
	// itself was most of a bulk load's garbage.
	usualKeys    = 1536
	usualEntries = 20
)

// entries returns the index entries of a document; the order is arbitrary and keys are distinct.
func (c *catalog) entries(db uint32, path fsvalue.Path, fields map[string]*fsvalue.Value) ([]entry, error) {
	g := groupID{db, path.CollectionID()}
	b := &entryBuilder{c: c, g: g, path: path, parent: path.Parent(), fields: fields,
		buf: make([]byte, 0, usualKeys), out: make([]entry, 0, usualEntries)}
	gi := c.group(g)
	b.singles(&gi.root, fields)
	for i := range gi.composites {
		b.composite(&gi.composites[i])
	}
	return b.out, checkEntries(path, b.out)
}

// checkEntries holds the documented limits; twins that cover are this store's own and do not count.
func checkEntries(path fsvalue.Path, out []entry) error {
	count, size := 0, 0
	for i := range out {
		if out[i].covers {
			continue
		}
		n := len(out[i].key) + entryExtraBytes
		if n > maxEntryBytes {
			return status.Errorf(codes.InvalidArgument, "index entry of %d bytes for entity %s is too large, the maximum is %d", n, path, maxEntryBytes)
		}
		count, size = count+1, size+n
	}
	if count > maxEntries || size > maxEntriesBytes {
		return status.Errorf(codes.InvalidArgument, "too many index entries for entity %s", path)
	}
	return nil
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
	b.begin(p)
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

// dedup drops repeated keys among the entries from start on: equal elements of an array have one entry.
func (b *entryBuilder) dedup(start int) {
	if len(b.out)-start < 2 {
		return
	}
	seen := make(map[string]bool, len(b.out)-start)
	kept := b.out[:start]
	for _, e := range b.out[start:] {
		if !seen[string(e.key)] {
			seen[string(e.key)] = true
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
	b.begin(p)
	for i, v := range values {
		b.buf, _ = fsvalue.AppendValue(b.buf, v, direction(p.fields[i].Kind))
	}
	b.finish(p)
}

// begin starts a key behind the earlier ones. When the memory for them runs out the earlier ones stay where
// they are.
func (b *entryBuilder) begin(p *physical) {
	b.start = len(b.buf)
	b.buf = p.prefix(b.buf, b.parent)
}

func (b *entryBuilder) finish(p *physical) {
	n := len(b.buf)
	if p.scope == fsindex.CollectionGroup {
		b.buf = fsvalue.AppendPath(b.buf, b.path, p.name)
	} else {
		b.buf = AppendID(b.buf, b.path.ID(), p.name)
	}
	nameLen := len(b.buf) - n
	key := b.buf[b.start:len(b.buf):len(b.buf)]
	b.out = append(b.out, entry{key: key, nameLen: nameLen, index: p})
	if p.covers {
		b.start = len(b.buf)
		b.buf = append(b.buf, key...)
		b.buf[b.start] = spaceCovering
		b.out = append(b.out, entry{key: b.buf[b.start:len(b.buf):len(b.buf)], nameLen: nameLen, covers: true, index: p})
	}
}

// AppendID appends a document id as it stands at the end of the keys of a collection's index.
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

// setEntry writes an entry straight into the batch. A covering one carries the body unless that is nil or
// long.
func setEntry(b *pebble.Batch, e *entry, from int64, body []byte) error {
	mark, size := uint16(e.nameLen), entryHeader
	if e.covers && body != nil && len(body) <= maxCoveredBody {
		mark |= entryHasBody
		size += len(body)
	}
	op := b.SetDeferred(len(e.key), size)
	copy(op.Key, e.key)
	binary.BigEndian.PutUint64(op.Value, uint64(from))
	binary.BigEndian.PutUint16(op.Value[fromBytes:], mark)
	if size > entryHeader {
		copy(op.Value[entryHeader:], body)
	}
	return op.Finish()
}

// diffEntries splits entries into those that go, those that come, and those that stay under the same key.
func diffEntries(before, after []entry) (gone, come, stay []entry) {
	old := make(map[string]entry, len(before))
	for _, e := range before {
		old[string(e.key)] = e
	}
	for _, e := range after {
		if _, ok := old[string(e.key)]; ok {
			delete(old, string(e.key))
			stay = append(stay, e)
		} else {
			come = append(come, e)
		}
	}
	return slices.Collect(maps.Values(old)), come, stay
}
