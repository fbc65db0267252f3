package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/RaduBerinde/btreemap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// fields are a document's. Values are never changed once they are stored, so that they can be handed out.
type fields = map[string]*fsvalue.Value

// document is one version of a document.
type document struct {
	path            fsvalue.Path
	fields          fields
	created, update int64 // microseconds
	entries         []entry
}

func (d *document) message() *firestorepb.Document {
	return &firestorepb.Document{
		Name: d.path.String(), Fields: d.fields,
		CreateTime: timestamppb.New(time.UnixMicro(d.created)), UpdateTime: timestamppb.New(time.UnixMicro(d.update)),
	}
}

// entry is a place in an index. Its range is the stretch of the index in which entries of later times come
// after those of earlier ones, "" where the index has no time.
type entry struct {
	index    *index
	key, rng string
}

// tree is an ordered map of documents.
type tree = btreemap.BTreeMap[string, *document]

func newTree() *tree { return btreemap.New[string, *document](32, strings.Compare) }

// index is one of those that production would keep.
type index struct {
	fsindex.Index
	name string
	tree *tree
}

// group is every collection of one id.
type group struct {
	indexes []*index
	seen    map[string]bool // fields whose automatic indexes are in indexes
}

// documents is a database in memory with the indexes of a firestore.indexes.json. It is one machine without a
// network: who calls it adds the latency.
type documents struct {
	mu          sync.Mutex
	config      *fsindex.Config
	docs        map[fsvalue.Path]*document
	collections map[fsvalue.Path]*tree // by id
	groups      map[string]*group
	last        int64 // update time of the last commit
	listeners   []*listening

	// wrote is told of each write, under the lock: the document before and after (nil is none).
	wrote func(before, after *document)
}

func newDocuments(indexes []byte) (*documents, error) {
	cfg, err := fsindex.Parse(indexes)
	if err != nil {
		return nil, fmt.Errorf("read the indexes: %w", err)
	}
	return &documents{
		config: cfg, docs: map[fsvalue.Path]*document{}, collections: map[fsvalue.Path]*tree{}, groups: map[string]*group{},
		wrote: func(_, _ *document) {},
	}, nil
}

// get gives a document as it is, nil if there is none.
func (d *documents) get(p fsvalue.Path) *document {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.docs[p]
}

// size is how many documents a top-level collection has.
func (d *documents) size(collection string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, col := range d.collections {
		if p.Rel() == collection {
			n += col.Len()
		}
	}
	return n
}

// commit applies writes, all or none.
func (d *documents) commit(list []*firestorepb.Write) (*firestorepb.CommitResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := max(time.Now().UnixMicro(), d.last+1)
	next := make([]*document, 0, len(list))
	staged := map[fsvalue.Path]*document{}
	for _, w := range list {
		p, err := fsvalue.ParseDocument(nameOf(w))
		if err != nil {
			return nil, err
		}
		current, changed := staged[p]
		if !changed {
			current = d.docs[p]
		}
		if err := allowed(w.GetCurrentDocument(), p, current); err != nil {
			return nil, err
		}
		doc, err := merged(w, p, current, at)
		if err != nil {
			return nil, err
		}
		staged[p] = doc
		next = append(next, doc)
	}
	d.last = at
	resp := &firestorepb.CommitResponse{CommitTime: timestamppb.New(time.UnixMicro(at))}
	for i, w := range list {
		p, _ := fsvalue.ParseDocument(nameOf(w)) // parsed above
		d.put(p, next[i])
		resp.WriteResults = append(resp.WriteResults, &firestorepb.WriteResult{UpdateTime: resp.CommitTime})
	}
	return resp, nil
}

func nameOf(w *firestorepb.Write) string {
	if u := w.GetUpdate(); u != nil {
		return u.GetName()
	}
	return w.GetDelete()
}

// allowed tests a write's precondition, with production's codes.
func allowed(c *firestorepb.Precondition, p fsvalue.Path, current *document) error {
	switch c := c.GetConditionType().(type) {
	case *firestorepb.Precondition_Exists:
		if c.Exists && current == nil {
			return status.Errorf(codes.NotFound, "No document to update: %s", p)
		}
		if !c.Exists && current != nil {
			return status.Errorf(codes.AlreadyExists, "Document already exists: %s", p)
		}
	case *firestorepb.Precondition_UpdateTime:
		if current == nil || current.update != c.UpdateTime.AsTime().UnixMicro() {
			return status.Error(codes.FailedPrecondition, "the stored version does not match the required base version")
		}
	}
	return nil
}

// merged is a document after a write, nil after a delete.
func merged(w *firestorepb.Write, p fsvalue.Path, current *document, at int64) (*document, error) {
	if w.GetUpdate() == nil {
		if w.GetDelete() == "" || len(w.GetUpdateTransforms()) > 0 {
			return nil, status.Error(codes.Unimplemented, "the simulated Firestore knows updates and deletes only")
		}
		return nil, nil
	}
	out := &document{path: p, created: at, update: at, fields: fields{}}
	if current != nil {
		out.created = current.created
	}
	mask := w.GetUpdateMask()
	if mask == nil {
		maps.Copy(out.fields, w.GetUpdate().GetFields())
		return out, nil
	}
	if current != nil {
		maps.Copy(out.fields, current.fields)
	}
	for _, path := range mask.GetFieldPaths() {
		fp, err := fsvalue.ParseFieldPath(path)
		if err != nil {
			return nil, err
		}
		v, ok := fp.Get(w.GetUpdate().GetFields())
		set(out.fields, fp, v, ok)
	}
	return out, nil
}

// set puts or removes a field. Maps on the way are copied, since values are shared.
func set(f fields, p fsvalue.FieldPath, v *fsvalue.Value, exists bool) {
	for _, seg := range p[:len(p)-1] {
		m := &firestorepb.MapValue{Fields: fields{}}
		if old := f[seg].GetMapValue(); old != nil {
			maps.Copy(m.Fields, old.GetFields())
		} else if !exists {
			return
		}
		f[seg] = &fsvalue.Value{ValueType: &firestorepb.Value_MapValue{MapValue: m}}
		f = m.Fields
	}
	if last := p[len(p)-1]; exists {
		f[last] = v
	} else {
		delete(f, last)
	}
}

// put stores a document, nil removes it, and moves its index entries.
func (d *documents) put(p fsvalue.Path, doc *document) {
	before := d.docs[p]
	parent := p.Parent()
	col := d.collections[parent]
	if col == nil {
		col = newTree()
		d.collections[parent] = col
	}
	if doc == nil {
		delete(d.docs, p)
		col.Delete(p.ID())
	} else {
		doc.entries = d.entries(doc)
		d.docs[p] = doc
		col.ReplaceOrInsert(p.ID(), doc)
	}
	if before != nil {
		for _, e := range before.entries {
			e.index.tree.Delete(e.key)
		}
	}
	if doc != nil {
		for _, e := range doc.entries {
			e.index.tree.ReplaceOrInsert(e.key, doc)
		}
	}
	if col.Len() == 0 {
		delete(d.collections, parent)
	}
	if before != nil || doc != nil {
		d.wrote(before, doc)
		d.tell(before, doc)
	}
}

// entries are a document's places in the indexes of its group. Those of array elements are left out:
// exportd's own documents have no indexed array.
func (d *documents) entries(doc *document) []entry {
	id := doc.path.CollectionID()
	g := d.groups[id]
	if g == nil {
		g = &group{seen: map[string]bool{}}
		for _, ix := range d.config.Composites(id) {
			g.add(ix)
		}
		d.groups[id] = g
	}
	d.automatic(id, g, nil, doc.fields)
	out := make([]entry, 0, len(g.indexes))
	var key []byte
	for _, ix := range g.indexes {
		key = key[:0]
		if ix.Scope == fsindex.Collection {
			key = fsvalue.AppendPath(key, doc.path.Parent(), fsvalue.Ascending)
		}
		e := entry{index: ix}
		whole := true
		for _, f := range ix.Fields {
			v, ok := f.Path.Get(doc.fields)
			if !ok {
				whole = false
				break
			}
			if _, isTime := v.GetValueType().(*firestorepb.Value_TimestampValue); isTime && e.rng == "" {
				e.rng = ix.name + "\x00" + string(key)
			}
			key, _ = fsvalue.AppendValue(key, v, direction(f.Kind))
		}
		if !whole {
			continue
		}
		e.key = string(fsvalue.AppendPath(key, doc.path, ix.Name))
		out = append(out, e)
	}
	return out
}

func direction(k fsindex.Kind) fsvalue.Direction {
	if k == fsindex.Descending {
		return fsvalue.Descending
	}
	return fsvalue.Ascending
}

func (g *group) add(ix fsindex.Index) {
	if slices.ContainsFunc(ix.Fields, func(f fsindex.Field) bool { return f.Kind > fsindex.Descending }) {
		return
	}
	g.indexes = append(g.indexes, &index{Index: ix, name: ix.Key(), tree: newTree()})
}

// automatic adds the single-field indexes of fields that the group has not had before.
func (d *documents) automatic(id string, g *group, at fsvalue.FieldPath, f fields) {
	for name, v := range f {
		p := append(slices.Clone(at), name)
		if m := v.GetMapValue(); m != nil {
			d.automatic(id, g, p, m.GetFields())
		}
		if key := p.String(); !g.seen[key] {
			g.seen[key] = true
			for _, ix := range d.config.Singles(id, p) {
				g.add(ix)
			}
		}
	}
}

// projected gives the message of a document with the fields that a query asks for.
func projected(d *document, q *fsquery.Query) *firestorepb.Document {
	m := d.message()
	if q.KeysOnly || q.Projection != nil {
		m.Fields = fsvalue.Project(d.fields, q.Projection)
	}
	return m
}
