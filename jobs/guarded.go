package jobs

// GuardedBy says in which columns of an object the formula guard has changed how many cells. It names the
// object: a build that does not know it may write another and leave this as it was.
type GuardedBy struct {
	Object string `firestore:"object"`
	// Columns are those that have such cells, by name.
	Columns map[string]int64 `firestore:"columns"`
}

// maxGuardedColumns bounds the columns of a dataset, far above those that one has.
const maxGuardedColumns = 1000

// CountGuarded gives the number of cells in all columns of an object, and the record of them, which keeps
// columns: nil if there are none.
func CountGuarded(object string, columns map[string]int64) (total int64, by *GuardedBy) {
	for _, n := range columns {
		total += n
	}
	if total == 0 {
		return 0, nil
	}
	return total, &GuardedBy{object, columns}
}

// Of gives the columns of an object that has so many guarded cells in all; known is false where these are not
// what is known.
func (g *GuardedBy) Of(object string, total int64) (columns map[string]int64, known bool) {
	if total == 0 {
		return nil, true
	}
	if g == nil || g.Object != object {
		return nil, false
	}
	sum := int64(0)
	for _, n := range g.Columns {
		sum += n
	}
	return g.Columns, sum == total
}

func (g *GuardedBy) check(c *checks, name string) {
	if g == nil {
		return
	}
	c.that(len(g.Columns) <= maxGuardedColumns, "%s.columns are %d", name, len(g.Columns))
	for column, n := range g.Columns {
		c.that(len(column) <= maxText, "%s.columns has a name of %d bytes", name, len(column))
		c.count(name+".columns", n)
	}
}
