package fsvalue

import (
	"cmp"
	"iter"
	"strings"
)

// Database names one database of one project. It is comparable.
type Database struct {
	Project string
	ID      string // "(default)" or a database id
}

// String returns "projects/P/databases/D".
func (d Database) String() string { return "projects/" + d.Project + "/databases/" + d.ID }

// Root returns the path that all top-level collections hang from.
func (d Database) Root() Path { return Path{db: d} }

// Compare orders databases by project, then by database id.
func (d Database) Compare(o Database) int {
	if c := cmp.Compare(d.Project, o.Project); c != 0 {
		return c
	}
	return cmp.Compare(d.ID, o.ID)
}

// Path names the root, a collection or a document of a database. It is comparable, so it can be a map key;
// the zero Path belongs to no database.
type Path struct {
	db  Database
	rel string // segments joined by "/", which no id may hold; "" is the root
}

// Database returns the database the path lies in.
func (p Path) Database() Database { return p.db }

// Rel returns the segments below the root joined by "/"; "" for the root.
func (p Path) Rel() string { return p.rel }

// String returns the full resource name, "projects/P/databases/D/documents/...".
func (p Path) String() string {
	if p.rel == "" {
		return p.db.String() + "/documents"
	}
	return p.db.String() + "/documents/" + p.rel
}

// Len returns the number of segments below the root.
func (p Path) Len() int {
	if p.rel == "" {
		return 0
	}
	return strings.Count(p.rel, "/") + 1
}

// IsRoot reports whether p is the root of its database.
func (p Path) IsRoot() bool { return p.rel == "" }

// IsDocument reports whether p names a document.
func (p Path) IsDocument() bool { return p.rel != "" && p.Len()%2 == 0 }

// ID returns the last segment, "" for the root.
func (p Path) ID() string { return p.rel[strings.LastIndexByte(p.rel, '/')+1:] }

// Parent returns the path without its last segment; the root is its own parent.
func (p Path) Parent() Path {
	i := strings.LastIndexByte(p.rel, '/')
	return Path{db: p.db, rel: p.rel[:max(i, 0)]}
}

// CollectionID returns the id of the collection a document lies in, or of the collection itself when p names
// one; "" for the root.
func (p Path) CollectionID() string {
	if p.IsDocument() {
		return p.Parent().ID()
	}
	return p.ID()
}

// Child appends one segment. The id must be valid (see [CheckID]).
func (p Path) Child(id string) Path {
	if p.rel == "" {
		return Path{db: p.db, rel: id}
	}
	return Path{db: p.db, rel: p.rel + "/" + id}
}

// Contains reports whether o is p itself or lies anywhere beneath it.
func (p Path) Contains(o Path) bool {
	if p.db != o.db {
		return false
	}
	rest, ok := strings.CutPrefix(o.rel, p.rel)
	return ok && (p.rel == "" || rest == "" || rest[0] == '/')
}

// Segments yields the segments below the root, outermost first.
func (p Path) Segments() iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest, more := p.rel, p.rel != ""; more; {
			var seg string
			seg, rest, more = strings.Cut(rest, "/")
			if !yield(seg) {
				return
			}
		}
	}
}

// Compare orders names: project, database, then segment by segment, each by its bytes, a prefix first.
func (p Path) Compare(o Path) int {
	if p.db != o.db {
		return p.db.Compare(o.db)
	}
	return compareRel(p.rel, o.rel)
}

// compareRel compares joined segments. The separator must sort below every other byte, which "/" does not by
// itself, and numeric ids come first, by number.
func compareRel(a, b string) int {
	i, n := 0, min(len(a), len(b))
	for i < n && a[i] == b[i] {
		i++
	}
	if i == len(a) && i == len(b) {
		return 0
	}
	start := strings.LastIndexByte(a[:i], '/') + 1
	if strings.HasPrefix(a[start:], numericPrefix) || strings.HasPrefix(b[start:], numericPrefix) {
		if c := compareNumeric(segmentAt(a, start), segmentAt(b, start)); c != 0 {
			return c
		}
	}
	switch {
	case i == n:
		return cmp.Compare(len(a), len(b))
	case a[i] == '/':
		return -1
	case b[i] == '/':
		return 1
	}
	return cmp.Compare(a[i], b[i])
}

func segmentAt(s string, start int) string {
	segment, _, _ := strings.Cut(s[start:], "/")
	return segment
}

// compareNumeric is 0 where it cannot tell: both are strings, or the same.
func compareNumeric(a, b string) int {
	x, xOK := NumericID(a)
	y, yOK := NumericID(b)
	switch {
	case xOK && yOK:
		return cmp.Compare(x, y)
	case xOK:
		return -1
	case yOK:
		return 1
	}
	return 0
}
