package firestoreserver

import (
	"bytes"
	"errors"
	"math"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// disjunct is one alternative of a query's filter with the scans that serve it.
type disjunct struct {
	query *fsquery.Query
	conj  *fsquery.Conjunction
	tail  []fsindex.Field
	name  fsvalue.Direction
	bounds
	// verify tells that the bounds let through rows which the document itself must be asked about.
	verify bool

	scans []*scan
}

// newDisjunct works out the bounds; it opens nothing.
func newDisjunct(q *fsquery.Query, conj *fsquery.Conjunction, tail []fsindex.Field, name fsvalue.Direction) *disjunct {
	d := &disjunct{query: q, conj: conj, tail: tail, name: name}
	d.none = conj.Never
	d.inequalities()
	d.names()
	if q.Start != nil {
		d.cursor(q.Start, true)
	}
	if q.End != nil {
		d.cursor(q.End, false)
	}
	return d
}

func fieldDirection(f fsindex.Field) fsvalue.Direction {
	if f.Kind == fsindex.Descending {
		return fsvalue.Descending
	}
	return fsvalue.Ascending
}

// inequalities bounds the first tail field; conditions beyond a range of it are left to verification.
func (d *disjunct) inequalities() {
	for i := range d.conj.Inequalities {
		f := &d.conj.Inequalities[i]
		if len(d.tail) == 0 || !f.Field.Equal(d.tail[0].Path) {
			d.verify = true
			continue
		}
		b, exact := rangeOf(f)
		if fieldDirection(d.tail[0]) == fsvalue.Descending {
			b = b.inverted()
		}
		d.atLeast(b.lo)
		d.below(b.hi)
		d.verify = d.verify || !exact
	}
}

// rangeOf returns the ascending bounds of one inequality and whether they say all of it.
func rangeOf(f *fsquery.Filter) (b bounds, exact bool) {
	switch f.Op {
	case fsquery.Less, fsquery.LessOrEqual, fsquery.Greater, fsquery.GreaterOrEqual:
		b.lo, b.hi = fsvalue.AppendClassBounds(nil, nil, fsvalue.ClassOf(f.Value))
		v, truncated := fsvalue.AppendValue(nil, f.Value, fsvalue.Ascending)
		switch {
		case truncated:
			return b, false
		case f.Op == fsquery.Less:
			b.below(v)
		case f.Op == fsquery.LessOrEqual:
			b.through(v)
		case f.Op == fsquery.Greater:
			b.after(v)
		case f.Op == fsquery.GreaterOrEqual:
			b.atLeast(v)
		}
		return b, true
	default: // !=, not-in, is-not-null, is-not-NaN: never null
		null, _ := fsvalue.AppendValue(nil, nullValue, fsvalue.Ascending)
		b.after(null)
		return b, f.Op == fsquery.IsNotNull
	}
}

// names applies conditions on the document name, which bound a scan only where nothing stands before the
// name.
func (d *disjunct) names() {
	for i := range d.conj.Names {
		f := &d.conj.Names[i]
		if len(d.tail) > 0 || f.Name.Len() == 0 {
			d.verify = true
			continue
		}
		key, ok := d.nameKey(f.Name)
		if !ok {
			d.verify = true
			continue
		}
		b := bounds{}
		op := f.Op
		if d.name == fsvalue.Descending {
			op = mirrored(op)
		}
		switch op {
		case fsquery.Equal:
			b.atLeast(key)
			b.through(key)
		case fsquery.Less:
			b.below(key)
		case fsquery.LessOrEqual:
			b.through(key)
		case fsquery.Greater:
			b.after(key)
		case fsquery.GreaterOrEqual:
			b.atLeast(key)
		default:
			d.verify = true
		}
		d.atLeast(b.lo)
		d.below(b.hi)
	}
}

func mirrored(op fsquery.Op) fsquery.Op {
	switch op {
	case fsquery.Less:
		return fsquery.Greater
	case fsquery.LessOrEqual:
		return fsquery.GreaterOrEqual
	case fsquery.Greater:
		return fsquery.Less
	case fsquery.GreaterOrEqual:
		return fsquery.LessOrEqual
	}
	return op
}

// nameKey returns a name in common form; ok is false when the name lies outside of the collection, so that
// only verification can place it.
func (d *disjunct) nameKey(p fsvalue.Path) (key []byte, ok bool) {
	if d.query.AllDescendants {
		return fsvalue.AppendPath(nil, p, d.name), true
	}
	if p.Parent() != d.query.Parent.Child(d.query.CollectionID) {
		return nil, false
	}
	return fsstore.AppendID(nil, p.ID(), d.name), true
}

// cursor turns a start or end cursor into a bound.
func (d *disjunct) cursor(c *fsquery.Cursor, start bool) {
	var prefix []byte
	at := 0 // next tail field
	for i, v := range c.Values {
		o := d.query.Order[i]
		if o.Field.IsName() {
			if at < len(d.tail) {
				d.verify = true // summed fields stand between
				break
			}
			key, ok := d.nameKey(c.Name)
			if !ok {
				d.verify = true
				break
			}
			prefix = append(prefix, key...)
			break
		}
		if eq := d.equality(o.Field); eq != nil {
			cmp := fsvalue.Compare(v, eq)
			if o.Direction == fsvalue.Descending {
				cmp = -cmp
			}
			if cmp == 0 {
				continue
			}
			d.past(prefix, cmp, start)
			return
		}
		if at >= len(d.tail) || !d.tail[at].Path.Equal(o.Field) {
			d.verify = true
			break
		}
		var truncated bool
		prefix, truncated = fsvalue.AppendValue(prefix, v, o.Direction)
		at++
		if truncated {
			d.verify = true
			return
		}
	}
	d.limit(prefix, c.Before, start)
}

// past handles a cursor that lies wholly before (cmp < 0) or after the rows that begin with prefix, because
// it differs in a field that is the same in all.
func (d *disjunct) past(prefix []byte, cmp int, start bool) {
	switch {
	case start && cmp < 0:
		d.atLeast(prefix)
	case start:
		d.afterAll(prefix)
	case cmp < 0:
		d.beforeAll(prefix)
	default:
		d.through(prefix)
	}
}

func (d *disjunct) afterAll(prefix []byte) {
	if len(prefix) == 0 {
		d.none = true
		return
	}
	d.after(prefix)
}

func (d *disjunct) beforeAll(prefix []byte) {
	if len(prefix) == 0 {
		d.none = true
		return
	}
	d.below(prefix)
}

func (d *disjunct) limit(prefix []byte, before, start bool) {
	// A cursor cut short by verification may only bound generously.
	if d.verify {
		before = start
	}
	switch {
	case start && before:
		d.atLeast(prefix)
	case start:
		d.afterAll(prefix)
	case before:
		d.beforeAll(prefix)
	default:
		d.through(prefix)
	}
}

var (
	nullValue = &fsvalue.Value{ValueType: &firestorepb.Value_NullValue{}}
	nanValue  = &fsvalue.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: math.NaN()}}
)

// equality returns the value that the disjunct fixes field to, or nil.
func (d *disjunct) equality(field fsvalue.FieldPath) *fsvalue.Value {
	for i := range d.conj.Equal {
		if f := &d.conj.Equal[i]; f.Field.Equal(field) {
			return operand(f)
		}
	}
	return nil
}

// fixes reports whether the disjunct fixes a field of the order.
func (d *disjunct) fixes(order []fsquery.Order) bool {
	for _, o := range order {
		if d.equality(o.Field) != nil {
			return true
		}
	}
	return false
}

// operand returns the one value that an equality-class filter lets through.
func operand(f *fsquery.Filter) *fsvalue.Value {
	switch f.Op {
	case fsquery.IsNull:
		return nullValue
	case fsquery.IsNaN:
		return nanValue
	default:
		return f.Value
	}
}

// open opens the scans that the plan names for this disjunct.
func (d *disjunct) open(s *Server, v *fsstore.View, db database, scans []fsindex.Scan, bodies bool) error {
	q := d.query
	if len(scans) == 0 {
		return d.openPrimary(v, db)
	}
	coll := q.Parent.Child(q.CollectionID)
	for i := range scans {
		ix := s.store.IndexPrefix(db.id, &scans[i].Index, coll, bodies && i == 0)
		prefix := ix.Prefix
		for _, f := range scans[i].Index.Fields[:scans[i].Points] {
			v, truncated := d.point(f), false
			prefix, truncated = fsvalue.AppendValue(prefix, v, fieldDirection(stored(f, ix.Reverse)))
			d.verify = d.verify || truncated
		}
		flip := d.flip(&scans[i], ix.Reverse)
		sc, err := newScan(v, db.id, q.CollectionID, prefix, flip, d.bounds)
		if err != nil {
			return err
		}
		d.scans = append(d.scans, sc)
	}
	return nil
}

// stored returns the form of an index field in the stored index.
func stored(f fsindex.Field, reverse bool) fsindex.Field {
	if reverse {
		f.Kind = fsindex.Ascending
	}
	return f
}

// flip tells whether a scan runs against the stored order.
func (d *disjunct) flip(sc *fsindex.Scan, reverse bool) bool {
	if sc.Index.Single && sc.Points == 1 {
		// Entries of one value, in name order; stored ascending.
		return d.name == fsvalue.Descending
	}
	return reverse
}

// point returns the value at which the disjunct looks in an index field.
func (d *disjunct) point(f fsindex.Field) *fsvalue.Value {
	if f.Kind == fsindex.Contains {
		return d.conj.Contains.Value
	}
	return d.equality(f.Path)
}

func (d *disjunct) openPrimary(v *fsstore.View, db database) error {
	q := d.query
	var prefix []byte
	b := d.bounds
	if q.AllDescendants {
		prefix = fsstore.GroupPrefix(nil, db.id, q.CollectionID)
		if !q.Parent.IsRoot() {
			within := bounds{lo: fsvalue.AppendPathPrefix(nil, q.Parent)}
			within.through(within.lo)
			if d.name == fsvalue.Descending {
				within = within.inverted()
			}
			b.atLeast(within.lo)
			b.below(within.hi)
		}
	} else {
		prefix = fsstore.DocumentPrefix(nil, db.id, q.Parent.Child(q.CollectionID))
	}
	sc, err := newScan(v, db.id, q.CollectionID, prefix, d.name == fsvalue.Descending, b)
	if err != nil {
		return err
	}
	d.scans = append(d.scans, sc)
	return nil
}

// primary tells that the scan is of documents, or of a group's names, and not of an index.
func (d *disjunct) primary() bool {
	return len(d.tail) == 0 && len(d.conj.Equal) == 0 && d.conj.Contains == nil
}

// next moves to the next entry that all scans of the disjunct have.
func (d *disjunct) next() bool {
	first := d.scans[0]
	if !first.next() {
		return false
	}
	if len(d.scans) == 1 {
		return true
	}
	return d.agree(bytes.Clone(first.key()))
}

// agree is the zig-zag: each scan jumps to the greatest key seen until all stand on the same one.
func (d *disjunct) agree(target []byte) bool {
	agreed := 1
	for i := 1; agreed < len(d.scans); i = (i + 1) % len(d.scans) {
		sc := d.scans[i]
		if !sc.seek(target) {
			return false
		}
		if k := sc.key(); bytes.Equal(k, target) {
			agreed++
		} else {
			target = append(target[:0], k...)
			agreed = 1
		}
	}
	return true
}

func (d *disjunct) key() []byte   { return d.scans[0].key() }
func (d *disjunct) value() []byte { return d.scans[0].value() }

// err returns the error that ended a scan, if one did.
func (d *disjunct) err() error {
	for _, sc := range d.scans {
		if err := sc.cursor.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (d *disjunct) close() error {
	err := d.err()
	for _, sc := range d.scans {
		err = errors.Join(err, sc.cursor.Close())
	}
	d.scans = nil
	return err
}
