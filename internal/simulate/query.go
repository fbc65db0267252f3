package simulate

import (
	"slices"
	"strings"

	"github.com/RaduBerinde/btreemap"

	"exportd/internal/localcloud/firestoreserver/fsindex"
	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// query runs a query as production would: refused without its index, and else read from indexes, one for each
// disjunct. What these cannot decide is looked up in the documents.
func (d *documents) query(q *fsquery.Query) ([]*document, error) {
	if _, err := d.config.Plan(q, nil); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.find(q), nil
}

// find is query under the lock.
func (d *documents) find(q *fsquery.Query) []*document {
	if whole := len(q.Disjuncts) == 1 && len(q.Disjuncts[0].Equal)+len(q.Disjuncts[0].Inequalities) == 0; whole && !q.AllDescendants && len(q.Order) == 1 {
		return d.byName(q)
	}
	found := map[fsvalue.Path]*document{}
	var rows []fsquery.Row
	for i := range q.Disjuncts {
		for _, doc := range d.disjunct(q, &q.Disjuncts[i]) {
			if found[doc.path] == nil {
				found[doc.path] = doc
				rows = append(rows, fsquery.Row{Name: doc.path, Fields: doc.fields})
			}
		}
	}
	rows = q.Run(rows)
	out := make([]*document, len(rows))
	for i, r := range rows {
		out[i] = found[r.Name]
	}
	return out
}

// byName reads a collection in the order of its ids.
func (d *documents) byName(q *fsquery.Query) (out []*document) {
	col := d.collections[q.Parent.Child(q.CollectionID)]
	if col == nil {
		return nil
	}
	skipped := 0
	visit := func(_ string, doc *document) bool {
		row := fsquery.Row{Name: doc.path, Fields: doc.fields}
		if !q.Match(row) || !q.InRange(row) {
			return true
		}
		if skipped++; skipped <= q.Offset {
			return true
		}
		out = append(out, doc)
		return q.Limit < 0 || len(out) < q.Limit
	}
	if q.NameDirection() == fsvalue.Descending {
		col.DescendFunc(btreemap.Max[string](), btreemap.Min[string](), visit)
	} else {
		col.AscendFunc(btreemap.Min[string](), btreemap.Max[string](), visit)
	}
	return out
}

// disjunct gives what one disjunct may contribute: at most as much as the limit lets through.
func (d *documents) disjunct(q *fsquery.Query, c *fsquery.Conjunction) (out []*document) {
	ix, points, ordered := d.choose(q, c)
	if ix == nil {
		return nil // no document has had these fields yet
	}
	prefix := ix.prefix(q, c, points)
	for key, doc := range ix.tree.Ascend(btreemap.GE(prefix), btreemap.Max[string]()) {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		row := fsquery.Row{Name: doc.path, Fields: doc.fields}
		if matches := c.Match(row); !matches && ordered && stops(q, c) {
			break
		} else if !matches || !q.InScope(doc.path) || !q.InRange(row) {
			continue
		}
		out = append(out, doc)
		if ordered && q.Limit >= 0 && len(out) >= q.Limit+q.Offset {
			break
		}
	}
	return out
}

// choose gives the index that narrows a disjunct most, how many of its leading fields an equality fixes, and
// whether its entries lie in the query's order.
func (d *documents) choose(q *fsquery.Query, c *fsquery.Conjunction) (best *index, points int, ordered bool) {
	g := d.groups[q.CollectionID]
	if g == nil {
		return nil, 0, false
	}
	scope := fsindex.Collection
	if q.AllDescendants {
		scope = fsindex.CollectionGroup
	}
	bestScore := 0
	for _, ix := range g.indexes {
		if ix.Scope != scope {
			continue
		}
		n := 0
		for n < len(ix.Fields) && fixed(c, ix.Fields[n].Path) {
			n++
		}
		rest := ix.Fields[n:]
		inOrder := n == len(c.Equal) && follows(q, c, ix)
		// Entries lack documents without the fields that follow, unless the query asks for these too.
		if !inOrder && slices.ContainsFunc(rest, func(f fsindex.Field) bool { return !asked(q, f.Path) }) {
			continue
		}
		score := 2 * n
		if inOrder {
			score++
		}
		if score > bestScore {
			best, points, ordered, bestScore = ix, n, inOrder, score
		}
	}
	return best, points, ordered
}

func fixed(c *fsquery.Conjunction, p fsvalue.FieldPath) bool {
	_, ok := c.Point(p)
	return ok
}

// asked reports whether a row must have the field.
func asked(q *fsquery.Query, p fsvalue.FieldPath) bool {
	return slices.ContainsFunc(q.Order, func(o fsquery.Order) bool { return o.Field.Equal(p) })
}

// follows reports whether the fields of an index behind those that equalities fix are the query's order.
func follows(q *fsquery.Query, c *fsquery.Conjunction, ix *index) bool {
	order := slices.DeleteFunc(slices.Clone(q.Order[:len(q.Order)-1]), func(o fsquery.Order) bool { return fixed(c, o.Field) })
	rest := ix.Fields[len(c.Equal):]
	return ix.Name == q.NameDirection() && slices.EqualFunc(order, rest, func(o fsquery.Order, f fsindex.Field) bool {
		return o.Field.Equal(f.Path) && o.Direction == direction(f.Kind)
	})
}

// prefix is where the entries of a disjunct's equalities begin.
func (ix *index) prefix(q *fsquery.Query, c *fsquery.Conjunction, points int) string {
	var key []byte
	if ix.Scope == fsindex.Collection {
		key = fsvalue.AppendPath(key, q.Parent.Child(q.CollectionID), fsvalue.Ascending)
	}
	for _, f := range ix.Fields[:points] {
		v, _ := c.Point(f.Path)
		key, _ = fsvalue.AppendValue(key, v, direction(f.Kind))
	}
	return string(key)
}

// stops reports whether, in the query's order, nothing can match behind a row that does not.
func stops(q *fsquery.Query, c *fsquery.Conjunction) bool {
	if len(c.Inequalities) != 1 {
		return false
	}
	op := c.Inequalities[0].Op
	for _, o := range q.Order {
		if !o.Field.Equal(c.Inequalities[0].Field) {
			continue
		}
		if o.Direction == fsvalue.Descending {
			return op == fsquery.Greater || op == fsquery.GreaterOrEqual
		}
		return op == fsquery.Less || op == fsquery.LessOrEqual
	}
	return false
}
