package firestoreserver

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// rows yields the documents of a query in order, offset and limit applied. It must be closed before its view.
type rows struct {
	s    *Server
	view *fsstore.View
	db   database
	q    *fsquery.Query

	open    []*disjunct // those that stand on an entry
	all     []*disjunct
	order   []fsquery.Order // of the rows: the query's, with the aggregated fields before the name
	keys    [][]byte        // sort keys of open, when they had to be built
	rebuilt bool            // the disjuncts' own keys are not comparable
	last    []byte          // sort key of the last row, to drop repetitions
	started bool

	sorted []fsquery.Row // result of the fallback, instead of scans
	bodies map[fsvalue.Path][]byte
	at     int

	skipped int
	left    int // rows until the limit, -1 without one
	needDoc bool

	ctx   context.Context // of the request; ends scans that send nothing
	steps int

	current row
}

// checkEvery is how many entries a scan may read before it looks whether anyone still waits for it.
const checkEvery = 4096

// alive returns the reason to stop, now and then.
func (r *rows) alive() error {
	if r.steps++; r.steps%checkEvery != 0 {
		return nil
	}
	return r.ctx.Err()
}

// row is one document of a result.
type row struct {
	name []byte // as in a key, ascending; see Server.nameOf
	path fsvalue.Path
	body []byte // valid until the next row
}

// newRows plans q and opens its scans. aggregated are the fields that sums and averages need. With keysOnly
// bodies are fetched only where the query has to look at them.
func (s *Server) newRows(ctx context.Context, v *fsstore.View, db database, q *fsquery.Query, aggregated []fsvalue.FieldPath, keysOnly bool) (*rows, error) {
	r := &rows{ctx: ctx, s: s, view: v, db: db, q: q, left: q.Limit, needDoc: !keysOnly}
	plan, err := s.plan(q, aggregated)
	if err != nil {
		return nil, err
	}
	if plan == nil || q.CollectionID == "" {
		return r, r.sortAll()
	}
	if !v.IndexesUsable() && usesIndex(plan) {
		return nil, errTooOld
	}
	r.order = orderOf(q, aggregated)
	for i := range q.Disjuncts {
		d := newDisjunct(q, &q.Disjuncts[i], plan.Branches[i].Tail, plan.Name)
		if d.empty() {
			continue
		}
		r.all = append(r.all, d)
		if err := d.open(s, v, db, plan.Branches[i].Scans, !keysOnly || d.verify); err != nil {
			return nil, errors.Join(err, r.close())
		}
		// Entries lack what their disjunct fixes; between disjuncts that counts.
		r.rebuilt = r.rebuilt || len(q.Disjuncts) > 1 && d.fixes(r.order)
	}
	return r, nil
}

// orderOf returns how the rows of q are sorted: see fsindex.Config.Plan.
func orderOf(q *fsquery.Query, aggregated []fsvalue.FieldPath) []fsquery.Order {
	if len(aggregated) == 0 {
		return q.Order
	}
	last := len(q.Order) - 1 // the name
	out := slices.Clone(q.Order[:last])
	for _, f := range aggregated {
		if !slices.ContainsFunc(out, func(o fsquery.Order) bool { return o.Field.Equal(f) }) {
			out = append(out, fsquery.Order{Field: f})
		}
	}
	return append(out, q.Order[last])
}

func usesIndex(p *fsindex.Plan) bool {
	for _, b := range p.Branches {
		if len(b.Scans) > 0 {
			return true
		}
	}
	return false
}

// plan decides on the indexes; nil means that none serve and the mode allows to do without.
func (s *Server) plan(q *fsquery.Query, aggregated []fsvalue.FieldPath) (*fsindex.Plan, error) {
	if s.opt.AggregateWithoutIndex {
		aggregated = nil
	}
	plan, err := s.indexes.Plan(q, aggregated)
	if err == nil {
		return plan, nil
	}
	// Each disjunct may lack an index of its own, and an error names one.
	for config := s.indexes; s.opt.IndexMode == Auto; {
		missing, ok := errors.AsType[*fsindex.MissingError](err)
		if !ok {
			return nil, err
		}
		s.learn(missing)
		config = config.With(missing.Index)
		_, err = config.Plan(q, aggregated)
	}
	return nil, s.allow(err)
}

// next moves to the next row.
func (r *rows) next() (bool, error) {
	if r.sorted != nil || r.bodies != nil {
		return r.nextSorted(), nil
	}
	for r.left != 0 {
		ok, err := r.nextMerged()
		if !ok || err != nil {
			return false, err
		}
		if r.skipped < r.q.Offset {
			r.skipped++
			continue
		}
		if r.left > 0 {
			r.left--
		}
		return true, nil
	}
	return false, nil
}

// nextMerged moves to the next distinct, verified row of all disjuncts.
func (r *rows) nextMerged() (bool, error) {
	for {
		d, err := r.advance()
		if d == nil || err != nil {
			return false, err
		}
		if len(r.all) > 1 {
			k := r.sortKey(0)
			if bytes.Equal(k, r.last) {
				continue
			}
			r.last = append(r.last[:0], k...)
		}
		ok, err := r.load(d)
		if err != nil {
			return false, err
		}
		if ok {
			return true, nil
		}
		// A disjunct that turned the row down must not hide it from another.
		r.last = r.last[:0]
	}
}

// advance moves on the disjunct that gave the last row and returns the one that has the next; it is then
// first in r.open.
func (r *rows) advance() (*disjunct, error) {
	if !r.started {
		r.started = true
		for _, d := range r.all {
			if d.next() {
				r.open = append(r.open, d)
				r.keys = append(r.keys, nil)
				r.refresh(len(r.open) - 1)
			}
		}
	} else if len(r.open) > 0 {
		if r.open[0].next() {
			r.refresh(0)
		} else {
			r.open = slices.Delete(r.open, 0, 1)
			r.keys = slices.Delete(r.keys, 0, 1)
		}
	}
	if len(r.open) > 0 { // the end of all is no entry
		if err := r.alive(); err != nil {
			return nil, err
		}
	}
	if len(r.open) < len(r.all) {
		for _, d := range r.all { // one that ended may have ended by an error
			if err := d.err(); err != nil {
				return nil, err
			}
		}
	}
	if len(r.open) == 0 {
		return nil, nil
	}
	// At most 30 disjuncts: a linear search is as good as a heap.
	least := 0
	for i := 1; i < len(r.open); i++ {
		if bytes.Compare(r.sortKey(i), r.sortKey(least)) < 0 {
			least = i
		}
	}
	r.open[0], r.open[least] = r.open[least], r.open[0]
	r.keys[0], r.keys[least] = r.keys[least], r.keys[0]
	return r.open[0], nil
}

func (r *rows) sortKey(i int) []byte {
	if r.rebuilt {
		return r.keys[i]
	}
	return r.open[i].key()
}

// refresh rebuilds a sort key over the whole order: the fields that a disjunct fixes are missing in its
// entries but not in those of others.
func (r *rows) refresh(i int) {
	if !r.rebuilt {
		return
	}
	d := r.open[i]
	k, rest := r.keys[i][:0], d.key()
	for _, o := range r.order {
		if v := d.equality(o.Field); v != nil {
			k, _ = fsvalue.AppendValue(k, v, o.Direction)
			continue
		}
		if o.Field.IsName() {
			break
		}
		part, after, err := fsvalue.CutValue(rest, o.Direction)
		if err != nil {
			break
		}
		k, rest = append(k, part...), after
	}
	r.keys[i] = append(k, rest...)
}

// load makes the entry that d stands on the current row, unless the document turns out not to match.
func (r *rows) load(d *disjunct) (bool, error) {
	primary := d.primary()
	key, val := d.key(), d.value()
	nameLen := len(key)
	r.current.body, r.current.path = nil, fsvalue.Path{}
	switch {
	case primary && !r.q.AllDescendants:
		r.current.body = fsstore.DocumentBody(val)
	case !primary:
		nameLen, r.current.body = fsstore.EntryName(val)
	}
	r.current.name = append(r.current.name[:0], key[len(key)-nameLen:]...)
	if d.name == fsvalue.Descending {
		fsstore.Complement(r.current.name)
	}
	if r.current.body == nil && (r.needDoc || d.verify) {
		if err := r.fetch(); err != nil {
			return false, err
		}
	}
	if d.verify {
		return r.matches(d)
	}
	return true, nil
}

func (r *rows) fetch() error {
	p, err := r.pathOf()
	if err != nil {
		return err
	}
	key := fsstore.DocumentKey(nil, r.db.id, p)
	val, err := r.view.Lookup(key, r.db.id, r.q.CollectionID)
	if err != nil {
		return err
	}
	if val == nil {
		return errors.New("index entry without document")
	}
	r.current.body = fsstore.DocumentBody(val)
	return nil
}

// pathOf returns the current row's document path.
func (r *rows) pathOf() (fsvalue.Path, error) {
	if r.current.path.Len() > 0 {
		return r.current.path, nil
	}
	var err error
	if r.q.AllDescendants {
		r.current.path, _, err = fsvalue.CutPath(r.db.name, r.current.name, fsvalue.Ascending)
		return r.current.path, err
	}
	id, _, err := fsvalue.CutString(r.current.name)
	r.current.path = r.q.Parent.Child(r.q.CollectionID).Child(id)
	return r.current.path, err
}

func (r *rows) matches(d *disjunct) (bool, error) {
	fr, err := r.decoded()
	if err != nil {
		return false, err
	}
	return d.conj.Match(fr) && r.q.Match(fr) && r.q.InRange(fr), nil
}

// decoded returns the current row as the evaluator knows rows.
func (r *rows) decoded() (fsquery.Row, error) {
	p, err := r.pathOf()
	if err != nil {
		return fsquery.Row{}, err
	}
	if r.current.body == nil {
		if err := r.fetch(); err != nil {
			return fsquery.Row{}, err
		}
	}
	fields, err := decodeFields(r.current.body)
	return fsquery.Row{Name: p, Fields: fields}, err
}

func decodeFields(body []byte) (map[string]*fsvalue.Value, error) {
	var m firestorepb.Document
	if err := proto.Unmarshal(body, &m); err != nil {
		return nil, err
	}
	return m.Fields, nil
}

// sortAll is the way without indexes: it reads everything in scope and sorts it in memory.
func (r *rows) sortAll() error {
	r.bodies = map[fsvalue.Path][]byte{}
	var in []fsquery.Row
	err := r.s.eachDocument(r.view, r.db, r.q, func(p fsvalue.Path, body []byte) error {
		fields, err := decodeFields(body)
		if err != nil {
			return err
		}
		in = append(in, fsquery.Row{Name: p, Fields: fields})
		r.bodies[p] = bytes.Clone(body)
		return nil
	})
	if err != nil {
		return err
	}
	unlimited := *r.q
	unlimited.Offset, unlimited.Limit = 0, -1
	r.sorted = unlimited.Run(in)
	r.at = min(r.q.Offset, len(r.sorted))
	r.skipped = r.at
	if r.left >= 0 {
		r.sorted = r.sorted[:min(len(r.sorted), r.at+r.left)]
	}
	return nil
}

func (r *rows) nextSorted() bool {
	if r.at >= len(r.sorted) {
		return false
	}
	p := r.sorted[r.at].Name
	r.current.path, r.current.body = p, r.bodies[p]
	if r.q.AllDescendants || r.q.CollectionID == "" {
		r.current.name = fsvalue.AppendPath(r.current.name[:0], p, fsvalue.Ascending)
	} else {
		r.current.name = fsvalue.AppendString(r.current.name[:0], p.ID())
	}
	r.at++
	return true
}

// only returns the disjunct whose one scan holds exactly the rows but for offset and limit, nil if none does.
func (r *rows) only() *disjunct {
	if len(r.all) != 1 || len(r.all[0].scans) != 1 || r.all[0].verify || r.bodies != nil {
		return nil
	}
	return r.all[0]
}

// count returns the number of rows, at most upTo if that is positive. Where one scan holds exactly the rows
// it counts entries without looking at them.
func (r *rows) count(upTo int) (n int, err error) {
	if upTo > 0 && (r.left < 0 || upTo < r.left) {
		r.left = upTo
	}
	if d := r.only(); d != nil {
		c := d.scans[0].cursor
		for r.left != 0 && c.Next() {
			if err := r.alive(); err != nil {
				return n, err
			}
			if r.skipped < r.q.Offset {
				r.skipped++
				continue
			}
			n++
			if r.left > 0 {
				r.left--
			}
		}
		return n, c.Err()
	}
	for {
		ok, err := r.next()
		if !ok || err != nil {
			return n, err
		}
		n++
	}
}

func (r *rows) close() error {
	var err error
	for _, d := range r.all {
		err = errors.Join(err, d.close())
	}
	return err
}
