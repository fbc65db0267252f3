package fsindex

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// Limits of the product's quota page, with billing on: https://cloud.google.com/firestore/quotas#indexes
const (
	maxFields     = 100  // of a composite index
	maxComposites = 1000 // of a database
	maxOverrides  = 1000 // field configurations of a database; exemption and TTL of one field are one
)

// fileIndex, fileField and fileOverride spell firestore.indexes.json. The keys of other editions may have
// what is true of this one, as the Firebase CLI writes it.
type fileIndex struct {
	CollectionGroup string      `json:"collectionGroup"`
	QueryScope      string      `json:"queryScope"`
	APIScope        string      `json:"apiScope,omitempty"`
	Density         string      `json:"density,omitempty"`
	Multikey        bool        `json:"multikey,omitempty"`
	Unique          bool        `json:"unique,omitempty"`
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
	Dimension int       `json:"dimension"`
	Flat      *struct{} `json:"flat"`
}

type fileOverride struct {
	CollectionGroup string `json:"collectionGroup"`
	FieldPath       string `json:"fieldPath"`
	// TTL: absent leaves a policy as it is, false removes one.
	TTL     *bool       `json:"ttl,omitempty"`
	Indexes []fileField `json:"indexes"`
}

// Parse reads the Firebase CLI's firestore.indexes.json; empty data is the automatic indexes alone. What
// production, or the CLI before it, would refuse or silently leave out is an error that names the entry.
func Parse(data []byte) (*Config, error) {
	c := &Config{composites: make(map[string][]Index), overrides: make(map[string][]override)}
	if len(bytes.TrimSpace(data)) == 0 {
		return c, nil
	}
	var file struct {
		Indexes        []json.RawMessage `json:"indexes"`
		FieldOverrides []json.RawMessage `json:"fieldOverrides"`
	}
	if err := decodeStrictly(data, &file); err != nil {
		return nil, fmt.Errorf("parse index configuration: %w", err)
	}
	if n := len(file.Indexes); n > maxComposites {
		return nil, fmt.Errorf("parse index configuration: %d indexes, more than %d", n, maxComposites)
	}
	if n := len(file.FieldOverrides); n > maxOverrides {
		return nil, fmt.Errorf("parse index configuration: %d fieldOverrides, more than %d", n, maxOverrides)
	}
	for i, raw := range file.Indexes {
		if err := c.parseIndex(raw); err != nil {
			return nil, fmt.Errorf("parse index configuration: indexes[%d] %s: %w", i, short(raw), err)
		}
	}
	ttl := map[string]string{} // by collection group
	for i, raw := range file.FieldOverrides {
		if err := c.parseOverride(raw, ttl); err != nil {
			return nil, fmt.Errorf("parse index configuration: fieldOverrides[%d] %s: %w", i, short(raw), err)
		}
	}
	return c, nil
}

// decodeStrictly refuses keys that it does not know, because the CLI ignores them: a misspelt one would be
// missing in production.
func decodeStrictly(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more after the end")
	}
	return nil
}

// short is an entry as a message shows it.
func short(raw []byte) string {
	const most = 160
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil || b.Len() > most {
		return fmt.Sprintf("%.*s...", most, b.String())
	}
	return b.String()
}

func (c *Config) parseIndex(raw []byte) error {
	var f fileIndex
	if err := decodeStrictly(raw, &f); err != nil {
		return err
	}
	ix, err := f.index()
	if err != nil {
		return err
	}
	key := ix.Key()
	if slices.ContainsFunc(c.composites[ix.Group], func(o Index) bool { return o.Key() == key }) {
		return errors.New("the same index is defined before; the API answers 409, already exists")
	}
	c.addComposite(ix)
	return nil
}

func (f fileIndex) index() (Index, error) {
	ix := Index{Group: f.CollectionGroup}
	if err := fsvalue.CheckCollectionID(ix.Group); err != nil {
		return ix, err
	}
	if f.APIScope != "" && f.APIScope != "ANY_API" || f.Density != "" && f.Density != "SPARSE_ALL" || f.Multikey || f.Unique {
		return ix, errors.New("apiScope, density, multikey and unique belong to the Enterprise edition")
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

// takeName moves a trailing __name__ from the fields into Name and checks what remains.
func (ix *Index) takeName() error {
	listed := len(ix.Fields)
	name := slices.IndexFunc(ix.Fields, func(f Field) bool { return f.Path.IsName() })
	switch {
	case name < 0:
		ix.Name = impliedName(ix.Fields)
	case name == listed-2 && ix.Fields[listed-1].Kind == Vector && ix.Fields[name].Kind == Ascending: // as production lists it
		ix.Fields = slices.Delete(ix.Fields, name, name+1)
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
		if slices.ContainsFunc(ix.Fields[:i], func(o Field) bool { return o.Path.Equal(f.Path) }) {
			return fmt.Errorf("field %s is listed twice", f.Path)
		}
	}
	vectors := 0
	for _, f := range ix.Fields {
		if f.Kind == Vector {
			vectors++
		}
	}
	switch {
	case listed > maxFields:
		return fmt.Errorf("%d fields, more than %d", listed, maxFields)
	case arrays > 1:
		return errors.New("more than one field with arrayConfig")
	case vectors > 1 || vectors == 1 && ix.Fields[len(ix.Fields)-1].Kind != Vector:
		return errors.New("a field with vectorConfig must be the only one, and the last")
	case len(ix.Fields) < 2 && vectors == 0 && ix.Name == impliedName(ix.Fields):
		return errors.New("one field needs no composite index; use fieldOverrides")
	}
	return nil
}

func (f fileField) field() (Field, error) {
	path, err := fsvalue.ParseFieldPath(f.FieldPath)
	if err != nil {
		return Field{}, err
	}
	if f.QueryScope != "" {
		return Field{}, fmt.Errorf("field %s has a queryScope, which belongs to the index", path)
	}
	out := Field{Path: path}
	switch {
	case f.VectorConfig != nil:
		if f.Order != "" || f.ArrayConfig != "" || f.VectorConfig.Flat == nil {
			return Field{}, fmt.Errorf("field %s must have vectorConfig alone, with dimension and flat", path)
		}
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

// parseOverride takes an override in; ttl holds the field that has a group's policy.
func (c *Config) parseOverride(raw []byte, ttl map[string]string) error {
	var f fileOverride
	if err := decodeStrictly(raw, &f); err != nil {
		return err
	}
	o, err := f.override()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(c.overrides[f.CollectionGroup], func(p override) bool { return p.path.Equal(o.path) }) {
		return errors.New("the field is overridden before; the last one would win")
	}
	if f.TTL != nil && *f.TTL {
		if other := ttl[f.CollectionGroup]; other != "" {
			return fmt.Errorf("a collection group has one TTL policy, and %s has it", other)
		}
		ttl[f.CollectionGroup] = f.FieldPath
	}
	c.setOverride(f.CollectionGroup, o)
	return nil
}

func (f fileOverride) override() (override, error) {
	var o override
	if err := fsvalue.CheckCollectionID(f.CollectionGroup); err != nil {
		return o, err
	}
	switch {
	case f.Indexes == nil:
		return o, errors.New("indexes is missing; [] is none")
	case f.FieldPath != "*":
		path, err := fsvalue.ParseFieldPath(f.FieldPath)
		if err != nil {
			return o, err
		}
		if path.IsName() {
			return o, errors.New("the index of __name__ cannot be changed")
		}
		o.path = path
	case f.TTL != nil:
		// The API's own words; even false sends a ttl update. firebase-tools#7294,
		// terraform-provider-google#17163.
		return o, errors.New("updating ttl other than single field level is not supported: leave ttl out of a wildcard")
	}
	for _, ff := range f.Indexes {
		scope, err := parseScope(ff.QueryScope)
		if err != nil {
			return o, err
		}
		if ff.FieldPath != "" {
			return o, errors.New("an entry of an override has no fieldPath of its own")
		}
		ff.FieldPath, ff.QueryScope = "x", "" // belong to the override itself
		field, err := ff.field()
		if err != nil || field.Kind == Vector {
			return o, errors.New("an entry must have one order (ASCENDING, DESCENDING) or arrayConfig (CONTAINS)")
		}
		rule := single{scope, field.Kind}
		if slices.Contains(o.indexes, rule) {
			return o, errors.New("an entry is listed twice")
		}
		o.indexes = append(o.indexes, rule)
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

// MarshalJSON writes the index as an entry of "indexes" in firestore.indexes.json, __name__ only where it is
// not implied.
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
		out.VectorConfig = &fileVector{Dimension: f.Dimension, Flat: &struct{}{}}
	}
	return out
}
