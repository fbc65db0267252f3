package fsindex

import (
	"slices"
	"strings"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Scope tells which queries an index serves.
type Scope uint8

// The scopes. Neither serves queries of the other.
const (
	Collection Scope = iota + 1
	CollectionGroup
)

// String returns the spelling of firestore.indexes.json.
func (s Scope) String() string {
	if s == CollectionGroup {
		return "COLLECTION_GROUP"
	}
	return "COLLECTION"
}

// Kind tells how a field is in an index.
type Kind uint8

// The kinds.
const (
	Ascending Kind = iota + 1
	Descending
	Contains // one entry per array element
	Vector
)

// String returns the short form used in production's messages.
func (k Kind) String() string { return [...]string{"", "ASC", "DESC", "CONTAINS", "VECTOR"}[k] }

// kindOf returns the kind that sorts in direction d.
func kindOf(d fsvalue.Direction) Kind {
	if d == fsvalue.Descending {
		return Descending
	}
	return Ascending
}

// Field is one field of an index.
type Field struct {
	Path      fsvalue.FieldPath
	Kind      Kind
	Dimension int // of a Vector
}

func (f Field) equal(o Field) bool { return f.Kind == o.Kind && f.Path.Equal(o.Path) }

// Index is a composite or single-field index. It has an entry for a document only if the document has every
// field.
type Index struct {
	Group  string // collection id
	Scope  Scope
	Fields []Field // without the trailing __name__
	// Name is the direction of the trailing __name__.
	Name fsvalue.Direction
	// Single marks an index that comes from the automatic rules or an override.
	Single bool
}

// Key returns a canonical string, equal for equal indexes, usable as map key and in logs: "msgs/COLLECTION (w
// ASC, tags CONTAINS, __name__ ASC)".
func (ix *Index) Key() string {
	var b strings.Builder
	b.WriteString(ix.Group + "/" + ix.Scope.String() + " (")
	for _, f := range ix.Fields {
		b.WriteString(f.Path.String() + " " + f.Kind.String() + ", ")
	}
	b.WriteString(fsvalue.NameField + " " + kindOf(ix.Name).String() + ")")
	return b.String()
}

// impliedName is the direction __name__ has when an index does not say.
func impliedName(fields []Field) fsvalue.Direction {
	if n := len(fields); n > 0 && fields[n-1].Kind == Descending {
		return fsvalue.Descending
	}
	return fsvalue.Ascending
}

// Config is an index configuration. The zero Config has the automatic indexes only. It is immutable; With
// returns changed copies.
type Config struct {
	composites map[string][]Index    // by group
	overrides  map[string][]override // by group, the most specific path first
}

// override replaces the automatic indexes of a field and what is beneath it.
type override struct {
	path    fsvalue.FieldPath // empty is "*", every field
	indexes []single
}

type single struct {
	scope Scope
	kind  Kind
}

// automatic are the single-field indexes of every field without an override.
var automatic = []single{{Collection, Ascending}, {Collection, Descending}, {Collection, Contains}}

// Composites returns the composite indexes of a collection group, both scopes. The caller must not change the
// slice.
func (c *Config) Composites(group string) []Index { return c.composites[group] }

// Singles returns the single-field indexes of one field of a collection group, automatic or by override.
// Whether a Contains one has entries depends on the document's value being an array.
func (c *Config) Singles(group string, field fsvalue.FieldPath) []Index {
	rules := c.rules(group, field)
	out := make([]Index, len(rules))
	for i, r := range rules {
		fields := []Field{{Path: field, Kind: r.kind}}
		out[i] = Index{Group: group, Scope: r.scope, Fields: fields, Name: impliedName(fields), Single: true}
	}
	return out
}

// rules finds the most specific override of a field.
func (c *Config) rules(group string, field fsvalue.FieldPath) []single {
	for _, o := range c.overrides[group] {
		if field.HasPrefix(o.path) {
			return o.indexes
		}
	}
	return automatic
}

// With returns a copy that also has ix. A Single index is added to those its field has already.
func (c *Config) With(ix Index) *Config {
	out := &Config{composites: make(map[string][]Index), overrides: make(map[string][]override)}
	for g, list := range c.composites {
		out.composites[g] = slices.Clone(list)
	}
	for g, list := range c.overrides {
		out.overrides[g] = slices.Clone(list)
	}
	if !ix.Single {
		out.addComposite(ix)
		return out
	}
	field := ix.Fields[0]
	rule := single{ix.Scope, field.Kind}
	rules := c.rules(ix.Group, field.Path)
	if !slices.Contains(rules, rule) {
		out.setOverride(ix.Group, override{field.Path, append(slices.Clone(rules), rule)})
	}
	return out
}

func (c *Config) addComposite(ix Index) {
	key := ix.Key()
	if !slices.ContainsFunc(c.composites[ix.Group], func(o Index) bool { return o.Key() == key }) {
		c.composites[ix.Group] = append(c.composites[ix.Group], ix)
	}
}

// setOverride replaces the override of the same path and keeps longer paths first.
func (c *Config) setOverride(group string, o override) {
	list := slices.DeleteFunc(c.overrides[group], func(p override) bool { return p.path.Equal(o.path) })
	list = append(list, o)
	slices.SortStableFunc(list, func(a, b override) int { return len(b.path) - len(a.path) })
	c.overrides[group] = list
}
