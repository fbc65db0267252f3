package firestoreserver

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// target is one query or set of documents that a listener follows.
type target struct {
	s     *Server
	db    database
	id    int32
	hash  uint64
	query *fsquery.Query // nil for documents
	docs  []fsvalue.Path
	want  map[fsvalue.Path]bool

	at   int64 // instant up to which the client is up to date
	held held
}

// held is what the client has: the update instant of each document.
type held map[fsvalue.Path]int64

func updates(docs []*fsstore.Document) held {
	h := make(held, len(docs))
	for _, d := range docs {
		h[d.Path] = d.Update
	}
	return h
}

func (s *Server) newTarget(db database, id int32, req *firestorepb.Target) (*target, error) {
	t := &target{s: s, db: db, id: id, held: held{}}
	switch tt := req.GetTargetType().(type) {
	case *firestorepb.Target_Documents:
		t.hash = hashOf(tt.Documents)
		t.want = map[fsvalue.Path]bool{}
		for _, name := range tt.Documents.GetDocuments() {
			p, err := db.document(name)
			if err != nil {
				return nil, err
			}
			if !t.want[p] {
				t.want[p] = true
				t.docs = append(t.docs, p)
			}
		}
		return t, nil
	case *firestorepb.Target_Query:
		t.hash = hashOf(tt.Query)
		return t, t.parseQuery(tt.Query)
	}
	return nil, invalid("A target must have documents or a query.")
}

func (t *target) parseQuery(req *firestorepb.Target_QueryTarget) error {
	parent, err := fsvalue.ParseParent(req.GetParent())
	if err != nil {
		return err
	}
	if parent.Database() != t.db.name {
		return invalid("The query's parent is not in database %q.", t.db.name)
	}
	t.query, err = fsquery.Parse(parent, req.GetStructuredQuery())
	switch {
	case err != nil:
		return err
	case t.query.CollectionID == "":
		return invalid("All-collection queries are not supported by real-time queries.")
	case t.query.AllDescendants && !parent.IsRoot():
		return invalid("'all_descendants' in CollectionSelector with document parent is not supported by real-time queries.")
	case t.query.FindNearest != nil:
		return invalid("Nearest-neighbour search is not supported by real-time queries.")
	}
	_, err = t.s.plan(t.query, nil)
	return err
}

func hashOf(m proto.Message) uint64 {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}

// state returns the target's documents at the instant of a view, in the order of its query.
func (t *target) state(v *fsstore.View) (out []*fsstore.Document, err error) {
	get := func(p fsvalue.Path) error {
		d, err := v.Get(t.db.id, p)
		if d != nil {
			out = append(out, d)
		}
		return err
	}
	if t.query == nil {
		for _, p := range t.docs {
			if err := get(p); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	res, err := t.s.newRows(t.s.ctx, v, t.db, t.query, nil, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, res.close()) }()
	for {
		ok, err := res.next()
		if !ok || err != nil {
			return out, err
		}
		p, err := res.pathOf()
		if err != nil {
			return nil, err
		}
		if err := get(p); err != nil {
			return nil, err
		}
	}
}

// windowed tells that one document's change can bring in or push out another.
func (t *target) windowed() bool { return t.query.Limit >= 0 || t.query.Offset > 0 }

// apply sends what one commit changes for a target and reports whether that was anything.
func (l *listener) apply(t *target, c *fsstore.Change) (bool, error) {
	touched := false
	for i := range c.Docs {
		d := &c.Docs[i]
		if t.query != nil && !t.query.InScope(d.Path) || t.query == nil && !t.want[d.Path] {
			continue
		}
		if t.query != nil && t.windowed() {
			return l.window(t, c.Instant)
		}
		did, err := l.document(t, d, c.Instant)
		if err != nil {
			return touched, err
		}
		touched = touched || did
	}
	t.at = c.Instant
	return touched, nil
}

func (l *listener) document(t *target, d *fsstore.DocChange, at int64) (bool, error) {
	in := d.New != nil
	if in && t.query != nil {
		fields, err := decodeFields(d.New.Body)
		if err != nil {
			return false, err
		}
		r := fsquery.Row{Name: d.Path, Fields: fields}
		in = t.query.Match(r) && t.query.InRange(r)
	}
	_, had := t.held[d.Path]
	switch {
	case in:
		t.held[d.Path] = d.New.Update
		return true, l.changed(t, d.New)
	case had:
		delete(t.held, d.Path)
		if d.New == nil {
			return true, l.deleted(t, d.Path, at)
		}
		return true, l.removed(t, d.Path, at)
	case t.query == nil:
		return true, l.deleted(t, d.Path, at)
	}
	return false, nil
}

// window asks a limited query again at the commit's instant.
func (l *listener) window(t *target, at int64) (_ bool, err error) {
	view, err := l.s.store.At(at)
	if errors.Is(err, fsstore.ErrTooOld) {
		return true, l.resync()
	}
	if err != nil {
		return false, err
	}
	r := &reading{view: view}
	defer r.close(&err)
	now, err := t.state(view)
	if err != nil {
		return false, err
	}
	return l.difference(t, t.held, now, view)
}

// difference brings a target from what the client has to the state at a view: it sends what has left, by
// name, then what is new or another, in the order of the query.
func (l *listener) difference(t *target, from held, to []*fsstore.Document, view *fsstore.View) (touched bool, _ error) {
	now := updates(to)
	t.at, t.held = view.Instant(), now
	for _, p := range slices.SortedFunc(maps.Keys(from), fsvalue.Path.Compare) {
		if _, ok := now[p]; ok {
			continue
		}
		touched = true
		d, err := view.Get(t.db.id, p)
		if err != nil {
			return touched, err
		}
		gone := l.removed
		if d == nil {
			gone = l.deleted // or Firebase's clients ask for each whether it is there
		}
		if err := gone(t, p, view.Instant()); err != nil {
			return touched, err
		}
	}
	for _, d := range to {
		if update, ok := from[d.Path]; ok && update == d.Update {
			continue
		}
		touched = true
		if err := l.changed(t, d); err != nil {
			return touched, err
		}
	}
	return touched, nil
}

func (l *listener) changed(t *target, d *fsstore.Document) error {
	m, err := message(d, nil)
	if err != nil {
		return err
	}
	if q := t.query; q != nil && q.KeysOnly {
		m.Fields = nil
	} else if q != nil && q.Projection != nil {
		m.Fields = fsvalue.Project(m.Fields, q.Projection)
	}
	return l.send(&firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_DocumentChange{
		DocumentChange: &firestorepb.DocumentChange{Document: m, TargetIds: []int32{t.id}},
	}})
}

func (l *listener) deleted(t *target, p fsvalue.Path, at int64) error {
	return l.send(&firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_DocumentDelete{
		DocumentDelete: &firestorepb.DocumentDelete{Document: p.String(), RemovedTargetIds: []int32{t.id}, ReadTime: timestamp(at)},
	}})
}

func (l *listener) removed(t *target, p fsvalue.Path, at int64) error {
	return l.send(&firestorepb.ListenResponse{ResponseType: &firestorepb.ListenResponse_DocumentRemove{
		DocumentRemove: &firestorepb.DocumentRemove{Document: p.String(), RemovedTargetIds: []int32{t.id}, ReadTime: timestamp(at)},
	}})
}

// Resume tokens are an instant and the hash of the target they were made for.
const resumeTokenBytes = 16

func resumeToken(at int64, hash uint64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, resumeTokenBytes), uint64(at))
	return binary.BigEndian.AppendUint64(b, hash)
}

func parseResumeToken(b []byte, hash uint64) (at int64, ok bool) {
	if len(b) != resumeTokenBytes {
		return 0, false
	}
	h := binary.BigEndian.Uint64(b[8:])
	return int64(binary.BigEndian.Uint64(b)), h == 0 || h == hash
}
