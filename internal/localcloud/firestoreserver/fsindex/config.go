package fsindex

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

const maxFields = 100 // of a composite index, from the product's quota page

// fileIndex, fileField and fileOverride spell firestore.indexes.json. Keys of
// other editions (apiScope, density, multikey, unique) are ignored.
type fileIndex struct {
	CollectionGroup string      `json:"collectionGroup"`
	QueryScope      string      `json:"queryScope"`
	Fields          []fileField `json:"fields"`
}

type fileField struct {
	FieldPath    string      `json:"fieldPath,omitempty"`
	QueryScope   string      `json:"queryScope,omitempty"` // in overrides only
	Order        string      `json:"order,omitempty"`
	ArrayConfig  string      `json:"arrayConfig,omitempty"`
	VectorConfig *fileVector `json:"vectorConfig,omitempty"`
}

type fileVector struct {
	Dimension int      `json:"dimension"`
	Flat      struct{} `json:"flat"`
}

type fileOverride struct {
	CollectionGroup string      `json:"collectionGroup"`
	FieldPath       string      `json:"fieldPath"`
	Indexes         []fileField `json:"indexes"`
}

// Parse reads the Firebase CLI's firestore.indexes.json; empty data is the
// automatic indexes alone.
func Parse(data []byte) (*Config, error) {
	c := &Config{composites: make(map[string][]Index), overrides: make(map[string][]override)}
	if len(bytes.TrimSpace(data)) == 0 {
		return c, nil
	}
	var file struct {
		Indexes        []fileIndex    `json:"indexes"`
		FieldOverrides []fileOverride `json:"fieldOverrides"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("parse index configuration: %w", err)
	}
	for i, f := range file.Indexes {
		ix, err := f.index()
		if err != nil {
			return nil, fmt.Errorf("parse index configuration: indexes[%d]: %w", i, err)
		}
		c.addComposite(ix)
	}
	for i, f := range file.FieldOverrides {
		o, err := f.override()
		if err != nil {
			return nil, fmt.Errorf("parse index configuration: fieldOverrides[%d]: %w", i, err)
		}
		c.setOverride(f.CollectionGroup, o)
	}
	return c, nil
}

func (f fileIndex) index() (Index, error) {
	ix := Index{Group: f.CollectionGroup}
	if err := fsvalue.CheckCollectionID(ix.Group); err != nil {
		return ix, err
	}
	var err error
	if ix.Scope, err = parseScope(f.QueryScope); err != nil {
		return ix, err
	}
	for _, ff := range f.Fields {
		field, err := ff.field()
		if err != nil {
			return ix, err
		}
		ix.Fields = append(ix.Fields, field)
	}
	return ix, ix.takeName()
}

// takeName moves a trailing __name__ from the fields into Name and checks what
// remains.
func (ix *Index) takeName() error {
	listed := len(ix.Fields)
	name := slices.IndexFunc(ix.Fields, func(f Field) bool { return f.Path.IsName() })
	switch {
	case name < 0:
		ix.Name = impliedName(ix.Fields)
	case name != listed-1 || ix.Fields[name].Kind > Descending:
		return errors.New("__name__ must be the last field and have an order")
	default:
		if ix.Fields[name].Kind == Descending {
			ix.Name = fsvalue.Descending
		}
		ix.Fields = ix.Fields[:name]
	}
	arrays := 0
	for i, f := range ix.Fields {
		if f.Kind == Contains {
			arrays++
		}
		if slices.ContainsFunc(ix.Fields[:i], f.equal) {
			return fmt.Errorf("field %s is listed twice", f.Path)
		}
	}
	hasVector := slices.ContainsFunc(ix.Fields, func(f Field) bool { return f.Kind == Vector })
	switch {
	case listed > maxFields:
		return fmt.Errorf("%d fields, more than %d", listed, maxFields)
	case arrays > 1:
		return errors.New("more than one field with arrayConfig")
	case listed < 2 && name < 0 && !hasVector:
		return errors.New("one field needs no composite index; use fieldOverrides")
	}
	return nil
}

func (f fileField) field() (Field, error) {
	path, err := fsvalue.ParseFieldPath(f.FieldPath)
	if err != nil {
		return Field{}, err
	}
	out := Field{Path: path}
	switch {
	case f.VectorConfig != nil:
		out.Kind, out.Dimension = Vector, f.VectorConfig.Dimension
		if out.Dimension < 1 || out.Dimension > fsvalue.MaxDimensions {
			return Field{}, fmt.Errorf("dimension %d is not in 1 to %d", out.Dimension, fsvalue.MaxDimensions)
		}
	case f.ArrayConfig == "CONTAINS" && f.Order == "":
		out.Kind = Contains
	case f.Order == "ASCENDING" && f.ArrayConfig == "":
		out.Kind = Ascending
	case f.Order == "DESCENDING" && f.ArrayConfig == "":
		out.Kind = Descending
	default:
		return Field{}, fmt.Errorf("field %s must have one order (ASCENDING, DESCENDING) or arrayConfig (CONTAINS)", path)
	}
	return out, nil
}

func (f fileOverride) override() (override, error) {
	var o override
	if err := fsvalue.CheckCollectionID(f.CollectionGroup); err != nil {
		return o, err
	}
	if f.FieldPath != "*" {
		path, err := fsvalue.ParseFieldPath(f.FieldPath)
		if err != nil {
			return o, err
		}
		o.path = path
	}
	for _, ff := range f.Indexes {
		scope, err := parseScope(ff.QueryScope)
		if err != nil {
			return o, err
		}
		ff.FieldPath = "x" // belongs to the override itself
		field, err := ff.field()
		if err != nil || field.Kind == Vector {
			return o, errors.New("an entry must have one order (ASCENDING, DESCENDING) or arrayConfig (CONTAINS)")
		}
		o.indexes = append(o.indexes, single{scope, field.Kind})
	}
	return o, nil
}

func parseScope(s string) (Scope, error) {
	switch s {
	case "COLLECTION", "":
		return Collection, nil
	case "COLLECTION_GROUP":
		return CollectionGroup, nil
	}
	return 0, fmt.Errorf("queryScope %q is not COLLECTION or COLLECTION_GROUP", s)
}

// MarshalJSON writes the index as an entry of "indexes" in firestore.indexes.json,
// __name__ only where it is not implied.
func (ix Index) MarshalJSON() ([]byte, error) {
	f := fileIndex{CollectionGroup: ix.Group, QueryScope: ix.Scope.String()}
	for _, field := range ix.Fields {
		f.Fields = append(f.Fields, field.file())
	}
	if ix.Name != impliedName(ix.Fields) {
		f.Fields = append(f.Fields, fileField{FieldPath: fsvalue.NameField, Order: ix.Name.String()})
	}
	return json.Marshal(f)
}

func (f Field) file() fileField {
	out := fileField{FieldPath: f.Path.String()}
	switch f.Kind {
	case Ascending:
		out.Order = fsvalue.Ascending.String()
	case Descending:
		out.Order = fsvalue.Descending.String()
	case Contains:
		out.ArrayConfig = "CONTAINS"
	case Vector:
		out.VectorConfig = &fileVector{Dimension: f.Dimension}
	}
	return out
}
