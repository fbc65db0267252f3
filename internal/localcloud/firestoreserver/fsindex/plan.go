package fsindex

import (
	"slices"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Scan is one index stream of a disjunct.
type Scan struct {
	Index Index
	// Points is the number of leading index fields that the disjunct fixes to one value (an equality, or the
	// array-contains operand for a Contains field); the remaining fields are exactly [Branch.Tail].
	Points int
}

// Branch tells how to serve one disjunct.
type Branch struct {
	// Scans are intersected: each yields names sorted by (Tail, name), and a row must be in all of them. None
	// means the documents in name order.
	Scans []Scan
	// Tail are the fields after the points in every scan: the order without the equality fields and __name__,
	// then the aggregated fields.
	Tail []Field
}

// Plan tells how to serve a query.
type Plan struct {
	Branches []Branch // one per disjunct of the query, in its order
	// Name is the direction in which names break ties.
	Name fsvalue.Direction
}

// Plan decides as production does which indexes serve q. aggregated are the fields summed or averaged: nil
// for ordinary queries and where those shall need no index. With them rows of equal order fields come sorted
// by the aggregated ones, which matters to limits and name cursors. The error is a
// *MissingError for the first disjunct that is not served.
func (c *Config) Plan(q *fsquery.Query, aggregated []fsvalue.FieldPath) (*Plan, error) {
	p := &Plan{Name: q.NameDirection(), Branches: make([]Branch, len(q.Disjuncts))}
	for i := range q.Disjuncts {
		need := newRequirement(q, i, aggregated)
		scans, ok := c.serve(need)
		if !ok {
			return nil, c.missing(need, q)
		}
		p.Branches[i] = Branch{Scans: scans, Tail: need.tail}
	}
	return p, nil
}

// requirement is what one disjunct asks of indexes.
type requirement struct {
	group  string
	scope  Scope
	points []Field // equality fields, sorted, Kind Ascending for either direction; then the Contains one
	tail   []Field
	name   fsvalue.Direction
}

func newRequirement(q *fsquery.Query, disjunct int, aggregated []fsvalue.FieldPath) *requirement {
	r := &requirement{group: q.CollectionID, scope: Collection, name: q.NameDirection()}
	if q.AllDescendants {
		r.scope = CollectionGroup
	}
	c := &q.Disjuncts[disjunct]
	for i := range c.Equal {
		r.points = append(r.points, Field{Path: c.Equal[i].Field, Kind: Ascending})
	}
	slices.SortFunc(r.points, func(a, b Field) int { return a.Path.Compare(b.Path) })
	if c.Contains != nil {
		r.points = append(r.points, Field{Path: c.Contains.Field, Kind: Contains})
	}
	for _, o := range q.Tail(disjunct) {
		r.tail = append(r.tail, Field{Path: o.Field, Kind: kindOf(o.Direction)})
	}
	for _, field := range aggregated {
		_, fixed := c.Point(field)
		if !fixed && !slices.ContainsFunc(r.tail, func(f Field) bool { return f.Path.Equal(field) }) {
			r.tail = append(r.tail, Field{Path: field, Kind: Ascending})
		}
	}
	return r
}

// serve finds scans that together fix all points, few rather than many.
func (c *Config) serve(r *requirement) ([]Scan, bool) {
	if len(r.points) == 0 && len(r.tail) == 0 && r.name == fsvalue.Ascending {
		return nil, true // the documents themselves are sorted by name
	}
	open := slices.Clone(r.points) // points no chosen scan fixes yet
	candidates := c.candidates(r)
	var chosen []Scan
	for {
		best, most := -1, -1
		for i, s := range candidates {
			if n := s.fixes(open); n > most {
				best, most = i, n
			}
		}
		// A scan that fixes nothing is good only where nothing is to fix.
		if best < 0 || (most == 0 && len(r.points) > 0) {
			return nil, false
		}
		chosen = append(chosen, candidates[best])
		open = slices.DeleteFunc(open, candidates[best].fixesPoint)
		if len(open) == 0 {
			return chosen, true
		}
	}
}

// candidates lists the scans usable for r: points of it, then exactly its tail, then the name in its
// direction.
func (c *Config) candidates(r *requirement) []Scan {
	var out []Scan
	consider := func(ix Index) {
		n := len(ix.Fields) - len(r.tail)
		if ix.Scope != r.scope || ix.Name != r.name || n < 0 {
			return
		}
		if !slices.EqualFunc(ix.Fields[n:], r.tail, Field.equal) {
			return
		}
		for _, f := range ix.Fields[:n] {
			if !slices.ContainsFunc(r.points, f.fixes) {
				return
			}
		}
		out = append(out, Scan{Index: ix, Points: n})
	}
	for _, ix := range c.composites[r.group] {
		consider(ix)
	}
	for _, f := range slices.Concat(r.points, r.tail) {
		for _, ix := range c.Singles(r.group, f.Path) {
			consider(ix)
		}
	}
	return out
}

// fixes reports whether an index field can hold a point: an equality in either direction, array-contains as
// itself.
func (f Field) fixes(point Field) bool {
	if f.Kind == Vector || (f.Kind == Contains) != (point.Kind == Contains) {
		return false
	}
	return f.Path.Equal(point.Path)
}

func (s Scan) fixesPoint(point Field) bool {
	return slices.ContainsFunc(s.Index.Fields[:s.Points], func(f Field) bool { return f.fixes(point) })
}

func (s Scan) fixes(points []Field) int {
	n := 0
	for _, p := range points {
		if s.fixesPoint(p) {
			n++
		}
	}
	return n
}

// missing describes the one index that would serve r.
func (c *Config) missing(r *requirement, q *fsquery.Query) *MissingError {
	ix := Index{Group: r.group, Scope: r.scope, Fields: slices.Concat(r.points, r.tail), Name: r.name}
	if len(ix.Fields) == 1 {
		if len(r.points) == 1 && ix.Fields[0].Kind != Contains {
			ix.Fields[0].Kind = kindOf(r.name) // either direction would do: take the implied one
		}
		ix.Single = ix.Name == impliedName(ix.Fields)
	}
	e := &MissingError{
		Index: ix, Exemption: ix.Single,
		database: q.Parent.Database(), manyInequalities: len(q.Inequality) > 1,
	}
	if ix.Single {
		e.rules = c.rules(ix.Group, ix.Fields[0].Path)
	}
	return e
}
