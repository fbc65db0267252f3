package dataset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Index is a composite index, as the Firebase CLI has it in firestore.indexes.json.
type Index struct {
	Collection string       `json:"collectionGroup"`
	Scope      string       `json:"queryScope"`
	Fields     []IndexField `json:"fields"`
}

// IndexField is a field of an index: it has an order or is an array.
type IndexField struct {
	Path  string `json:"fieldPath"`
	Order string `json:"order,omitempty"`
	Array string `json:"arrayConfig,omitempty"`
}

const (
	inOrder  = "ASCENDING"
	backward = "DESCENDING"
)

// Indexes are those that the queries of the dataset need, one for each combination of filters.
func (d *Dataset) Indexes() []Index {
	var all []Index
	for chosen := range 1 << len(d.Filters) {
		filters := d.inOrder(func(f Filter) bool {
			return chosen&(1<<slices.IndexFunc(d.Filters, func(g Filter) bool { return g.Param == f.Param })) != 0
		})
		x := Index{Collection: d.Collection, Scope: "COLLECTION"}
		for _, field := range d.gateFields() {
			x.Fields = append(x.Fields, IndexField{Path: field, Order: inOrder})
		}
		for _, f := range filters {
			if f.Op == ArrayContains {
				x.Fields = append(x.Fields, IndexField{Path: f.Field, Array: "CONTAINS"})
			} else {
				x.Fields = append(x.Fields, IndexField{Path: f.Field, Order: inOrder})
			}
		}
		order := backward
		if d.Sort.Ascending {
			order = inOrder
		}
		x.Fields = append(x.Fields, IndexField{Path: d.Sort.Field, Order: order}, IndexField{Path: "__name__", Order: inOrder})
		if !slices.ContainsFunc(all, func(y Index) bool { return slices.Equal(x.Fields, y.Fields) }) { // what one filter implies of another
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b Index) int { return strings.Compare(fmt.Sprint(a.Fields), fmt.Sprint(b.Fields)) })
	return all
}

func (d *Dataset) gateFields() []string {
	if d.Gate.VIP() {
		return []string{Workspace, Medium}
	}
	return []string{d.Gate.OrgField}
}

// Unsearched are the fields of columns that no query uses. Firestore indexes each field by itself unless that
// is switched off, as it is for these: it would cost storage and time of each write for nothing.
func (d *Dataset) Unsearched() []string {
	used := append(d.gateFields(), d.Sort.Field)
	for _, f := range d.Filters {
		used = append(used, f.Field)
	}
	for i := range used {
		used[i], _, _ = strings.Cut(used[i], ".")
	}
	var fields []string
	for _, c := range d.Columns {
		field, _, _ := strings.Cut(c.Path, ".")
		if c.Path != IDColumn && !slices.Contains(used, field) && !slices.Contains(fields, field) {
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	return fields
}

// IndexFile is a firestore.indexes.json with what the datasets need in the place of what it had for their
// collections; all else stays. Datasets of one collection share what is equal.
func (s Set) IndexFile(file []byte) ([]byte, error) {
	var f struct {
		Indexes        []Index          `json:"indexes"`
		FieldOverrides []fieldOverrides `json:"fieldOverrides"`
	}
	if err := json.Unmarshal(file, &f); err != nil {
		return nil, fmt.Errorf("parse index file: %w", err)
	}
	ours := func(collection string) bool {
		return slices.ContainsFunc(s, func(d *Dataset) bool { return d.Collection == collection })
	}
	f.Indexes = slices.DeleteFunc(f.Indexes, func(x Index) bool { return ours(x.Collection) })
	f.FieldOverrides = slices.DeleteFunc(f.FieldOverrides, func(o fieldOverrides) bool { return ours(o.Collection) })
	for _, d := range s {
		for _, x := range d.Indexes() {
			if !slices.ContainsFunc(f.Indexes, func(y Index) bool { return x.Collection == y.Collection && slices.Equal(x.Fields, y.Fields) }) {
				f.Indexes = append(f.Indexes, x)
			}
		}
		for _, field := range d.Unsearched() {
			searched := slices.ContainsFunc(s, func(e *Dataset) bool {
				return e.Collection == d.Collection && !slices.Contains(e.Unsearched(), field) && e.hasField(field)
			})
			listed := slices.ContainsFunc(f.FieldOverrides, func(o fieldOverrides) bool { return o.Collection == d.Collection && o.Field == field })
			if !searched && !listed {
				off := false
				f.FieldOverrides = append(f.FieldOverrides, fieldOverrides{Collection: d.Collection, Field: field, TTL: &off, Indexes: json.RawMessage("[]")})
			}
		}
	}
	slices.SortStableFunc(f.Indexes, func(a, b Index) int { return strings.Compare(a.Collection, b.Collection) })
	slices.SortStableFunc(f.FieldOverrides, func(a, b fieldOverrides) int { return strings.Compare(a.Collection, b.Collection) })
	return format(f.Indexes, f.FieldOverrides)
}

// hasField reports whether a query of the dataset or a column of it uses a field.
func (d *Dataset) hasField(field string) bool {
	uses := func(path string) bool { return path == field || strings.HasPrefix(path, field+".") }
	return slices.ContainsFunc(d.gateFields(), uses) || uses(d.Sort.Field) ||
		slices.ContainsFunc(d.Filters, func(f Filter) bool { return uses(f.Field) }) || slices.ContainsFunc(d.Columns, func(c Column) bool { return uses(c.Path) })
}

// fieldOverrides is what applies to a single field.
type fieldOverrides struct {
	Collection string          `json:"collectionGroup"`
	Field      string          `json:"fieldPath"`
	TTL        *bool           `json:"ttl,omitempty"`
	Indexes    json.RawMessage `json:"indexes"`
}

// format writes a line for each field and each override, as people read it.
func format(indexes []Index, overrides []fieldOverrides) ([]byte, error) {
	var b strings.Builder
	line := func(indent string, v any, last bool) error {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		text := strings.NewReplacer(`":`, `": `, `,"`, `, "`, `},{`, `}, {`).Replace(string(raw)) // none is in a name
		if !last {
			text += ","
		}
		b.WriteString(indent + text + "\n")
		return nil
	}
	b.WriteString("{\n  \"indexes\": [\n")
	for i, x := range indexes {
		fmt.Fprintf(&b, "    {\n      \"collectionGroup\": %q,\n      \"queryScope\": %q,\n      \"fields\": [\n", x.Collection, x.Scope)
		for k, f := range x.Fields {
			if err := line("        ", f, k == len(x.Fields)-1); err != nil {
				return nil, err
			}
		}
		b.WriteString("      ]\n    }" + map[bool]string{false: ","}[i == len(indexes)-1] + "\n")
	}
	b.WriteString("  ],\n  \"fieldOverrides\": [\n")
	for i, o := range overrides {
		if err := line("    ", o, i == len(overrides)-1); err != nil {
			return nil, err
		}
	}
	b.WriteString("  ]\n}\n")
	return []byte(b.String()), nil
}
