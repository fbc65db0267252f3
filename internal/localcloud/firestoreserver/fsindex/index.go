package fsindex

import "exportd/internal/localcloud/firestoreserver/fsvalue"

// Scope tells which queries an index serves.
type Scope uint8

// The scopes. Neither serves queries of the other.
const (
	Collection Scope = iota + 1
	CollectionGroup
)

// Kind tells how a field is in an index.
type Kind uint8

// The kinds.
const (
	Ascending Kind = iota + 1
	Descending
	Contains // one entry per array element
	Vector
)

// Field is one field of an index.
type Field struct {
	Path fsvalue.FieldPath
	Kind Kind
}

// Index is a composite or single-field index. It has an entry for a document
// only if the document has every field.
type Index struct {
	Group  string // collection id
	Scope  Scope
	Fields []Field // without the trailing __name__
	// Name is the direction of the trailing __name__.
	Name fsvalue.Direction
	// Single marks an index that comes from the automatic rules or an override.
	Single bool
}

// Key returns a canonical string, equal for equal indexes, usable as map key
// and in logs: "msgs/COLLECTION (w ASC, tags CONTAINS, __name__ ASC)".
func (ix *Index) Key() string { return "" }

// Config is a parsed index configuration. The zero Config has the automatic
// indexes only. It is immutable after Parse; With returns changed copies.
type Config struct {
	composites map[string][]Index // by group
	overrides  map[string][]override
}

type override struct {
	path    fsvalue.FieldPath // nil is "*"
	indexes []single
}

type single struct {
	scope Scope
	kind  Kind
}

// Parse reads the Firebase CLI form of firestore.indexes.json.
func Parse(data []byte) (*Config, error) { return &Config{}, nil }

// With returns a copy that also has the composite index ix.
func (c *Config) With(ix Index) *Config { return c }

// Composites returns the composite indexes of a collection group, both scopes.
// The caller must not change the slice.
func (c *Config) Composites(group string) []Index { return c.composites[group] }

// Singles returns the single-field indexes of one field of a collection group,
// automatic or by override. Whether a Contains one has entries depends on the
// document's value being an array.
func (c *Config) Singles(group string, field fsvalue.FieldPath) []Index { return nil }
