package fsquery

import "exportd/internal/localcloud/firestoreserver/fsvalue"

// Row is a document as queries see it.
type Row struct {
	Name   fsvalue.Path
	Fields map[string]*fsvalue.Value
}

// Field returns the value at path, with `__name__` not being one.
func (r Row) Field(path fsvalue.FieldPath) (*fsvalue.Value, bool) { return path.Get(r.Fields) }

// Match reports whether r is in the query's scope, has every order field and
// satisfies at least one disjunct. Cursors are not looked at.
func (q *Query) Match(r Row) bool { return false }

// InScope reports whether a document of that name belongs to the collections asked for.
func (q *Query) InScope(name fsvalue.Path) bool { return false }

// Match reports whether r satisfies every condition of c.
func (c *Conjunction) Match(r Row) bool { return false }

// Match reports whether v, the value of f's field, satisfies f. It must not be
// called for filters on __name__; see MatchName.
func (f *Filter) Match(v *fsvalue.Value) bool { return false }

// MatchName does the same for filters on __name__.
func (f *Filter) MatchName(name fsvalue.Path) bool { return false }

// Compare orders two rows that have every order field.
func (q *Query) Compare(a, b Row) int { return 0 }

// InRange reports whether r lies between the cursors.
func (q *Query) InRange(r Row) bool { return false }

// Position tells where r lies: negative before the rows the cursor's values
// name, 0 among them, positive after, directions applied.
func (q *Query) Position(c *Cursor, r Row) int { return 0 }

// Run evaluates the whole query over rows: filter, sort, cursors, offset, limit.
// Projection is left to the caller. It is O(n log n) and meant for tests and
// small fallbacks.
func (q *Query) Run(rows []Row) []Row { return nil }
