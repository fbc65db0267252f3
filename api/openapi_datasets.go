package api

import (
	"fmt"
	"slices"
	"strings"

	"exportd/internal/dataset"
)

// All that the document says of datasets is generated: of those that are built in into openapi.yaml, by make
// generate, and of an installation's own when it is asked for.

// datasetParts are the parts of openapi.yaml that follow from datasets, by the name in their marks.
var datasetParts = []struct {
	name string
	text func(dataset.Set) string
}{{"routes", routesText}, {"file parameters", fileParamsText}, {"file values", fileSchemasText}, {"parameters", paramsText}, {"rows", rowsText}}

// Marks around a part, each on a line of its own.
const (
	partBegins = "# The %s of datasets, of internal/dataset: make generate\n"
	partEnds   = "# End of the %s of datasets\n"
)

// withDatasets gives the document with the parts that a set of datasets makes.
func withDatasets(document string, set dataset.Set) string {
	for _, part := range datasetParts {
		before, rest, _ := strings.Cut(document, fmt.Sprintf(partBegins, part.name))
		old, after, _ := strings.Cut(rest, fmt.Sprintf(partEnds, part.name))
		indent := old[strings.LastIndexByte(old, '\n')+1:]
		document = before + fmt.Sprintf(partBegins, part.name) + part.text(set) + indent + fmt.Sprintf(partEnds, part.name) + after
	}
	return document
}

func isBuiltIn(d *dataset.Dataset) bool { return dataset.BuiltIn.Get(d.Name) != nil }

// routesText are the list and the export route of each dataset.
func routesText(set dataset.Set) string {
	var b strings.Builder
	for _, d := range set {
		writeRoutes(&b, d)
	}
	return b.String()
}

// paramsText are the members of a job's parameters that are those of datasets, behind the names of those that
// are always there.
func paramsText(set dataset.Set) string {
	var names []string
	schemas := map[string]string{}
	note := func(name, schema string) {
		if before, there := schemas[name]; !there {
			names = append(names, name)
		} else if before != schema {
			schema = "{type: [string, integer, boolean]}" // it depends on the dataset
		}
		schemas[name] = schema
	}
	required := "workspaceId, mediumId, "
	// What is built on the Go client is the same whether a dataset has no such parameters or all have.
	const plain = "{type: string, x-go-type-skip-optional-pointer: true}"
	note(dataset.Workspace, plain)
	note(dataset.Medium, plain)
	note("from", "{type: string, format: date-time}")
	note("to", "{type: string, format: date-time, description: Not in the window.}")
	for _, d := range set {
		if !d.Gate.VIP() {
			required = ""
		}
		for _, f := range d.Filters {
			note(f.Param, paramSchema(d, f))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "      required: [%sprofile, formulaGuard]\n      properties:\n", required)
	for _, name := range names {
		fmt.Fprintf(&b, "        %s: %s\n", name, schemas[name])
	}
	b.WriteString(fileMembers())
	return b.String()
}

// paramSchema is what a job that is shown has of a filter. Those of an installation may be of what a dataset
// was before.
func paramSchema(d *dataset.Dataset, f dataset.Filter) string {
	switch {
	case f.Type == dataset.Flag:
		return "{type: boolean}"
	case !isBuiltIn(d):
		return "{type: [string, integer, boolean]}"
	case f.Type == dataset.Text && len(f.Values) == 0:
		return "{type: string}"
	}
	return "{" + filterSchema(d, f) + "}"
}

// filterSchema is what a request may have of a filter.
func filterSchema(d *dataset.Dataset, f dataset.Filter) string {
	switch {
	case f.Type == dataset.Flag:
		return "type: boolean, default: false"
	case f.Type == dataset.Number:
		return fmt.Sprintf("type: integer, minimum: %d, maximum: %d", f.Min, f.Max)
	case len(f.Values) > 0 && isBuiltIn(d):
		return fmt.Sprintf(`$ref: "#/components/schemas/%s"`, valuesName(d, f)) // a type of the Go client
	case len(f.Values) > 0:
		return valuesSchema(f)
	}
	return `$ref: "#/components/schemas/Id"`
}

func valuesSchema(f dataset.Filter) string {
	quoted := make([]string, len(f.Values))
	for i, v := range f.Values {
		quoted[i] = fmt.Sprintf("%q", v)
	}
	return "type: string, enum: [" + strings.Join(quoted, ", ") + "]"
}

// valuesName is the name of the schema of a filter's values. Datasets that name a filter alike share it only
// if the values are the same.
func valuesName(d *dataset.Dataset, f dataset.Filter) string {
	for _, other := range dataset.BuiltIn[:slices.Index(dataset.BuiltIn, d)] {
		if slices.ContainsFunc(other.Filters, func(g dataset.Filter) bool { return g.Param == f.Param && !slices.Equal(g.Values, f.Values) }) {
			return d.RowName() + capital(f.Param)
		}
	}
	return capital(f.Param)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// rowsText are the schemas of kinds, of filters with a choice of values, of rows and of the objects in them.
func rowsText(set dataset.Set) string {
	var b strings.Builder
	fmt.Fprintf(&b, "    Kind: {type: string, enum: [%s]}\n", strings.Join(set.Names(), ", "))
	for _, d := range set {
		for _, f := range d.Filters {
			if len(f.Values) == 0 || !isBuiltIn(d) {
				continue
			}
			if line := fmt.Sprintf("    %s: {%s}\n", valuesName(d, f), valuesSchema(f)); !strings.Contains(b.String(), line) {
				b.WriteString(line)
			}
		}
		columns := slices.Clone(d.Columns)
		for i, c := range columns {
			if d.Window != nil && c.Path == d.Sort.Field {
				columns[i].Type = dataset.Text // what is in a window has a time: never null
			}
		}
		writeSchema(&b, d.RowName(), "", columns)
	}
	return b.String()
}

// writeSchema writes the object of the columns below a path; objects in it have schemas of their own behind
// it.
func writeSchema(b *strings.Builder, name, below string, columns []dataset.Column) {
	var required []string
	var properties, inner strings.Builder
	for i, c := range columns {
		member, _, nested := strings.Cut(strings.TrimPrefix(c.Path, below), ".")
		if slices.Contains(required, member) {
			continue
		}
		required = append(required, member)
		if !nested {
			fmt.Fprintf(&properties, "        %s: {%s}\n", member, columnSchema(c))
			continue
		}
		of := capital(member)
		if below != "" || name != "User" { // the name that the client has had from the first day
			of = name + of
		}
		fmt.Fprintf(&properties, "        %s: {$ref: \"#/components/schemas/%s\"}\n", member, of)
		prefix := below + member + "."
		writeSchema(&inner, of, prefix, columnsWithin(columns[i:], prefix))
	}
	fmt.Fprintf(b, "    %s:\n      type: object\n      required: [%s]\n      properties:\n%s%s", name, strings.Join(required, ", "), properties.String(), inner.String())
}

// columnsWithin are the columns whose paths begin with a prefix.
func columnsWithin(columns []dataset.Column, prefix string) (list []dataset.Column) {
	for _, c := range columns {
		if strings.HasPrefix(c.Path, prefix) {
			list = append(list, c)
		}
	}
	return list
}

func columnSchema(c dataset.Column) string {
	schema, doc := "type: string", c.Doc
	switch c.Type {
	case dataset.Number:
		schema = `type: [number, string, "null"], x-go-type: any`
		doc = strings.TrimSpace(doc + " A number; text where the source holds something else (NaN, an infinity), null where nothing.")
	case dataset.Time:
		schema = `type: [string, "null"]`
	case dataset.Date:
		schema = `type: [string, "null"]`
		doc = strings.TrimSpace(doc + " YYYY-MM-DD.")
	case dataset.Array:
		schema = "type: array, items: {type: string}"
	}
	if doc != "" {
		schema += fmt.Sprintf(", description: %q", doc)
	}
	return schema
}

// exampleRow is a row of the examples of columns, as JSON.
func exampleRow(below string, columns []dataset.Column) string {
	var members []string
	seen := map[string]bool{}
	for _, c := range columns {
		member, _, nested := strings.Cut(strings.TrimPrefix(c.Path, below), ".")
		if seen[member] {
			continue
		}
		seen[member] = true
		value := exampleCell(c)
		if nested {
			prefix := below + member + "."
			value = exampleRow(prefix, columnsWithin(columns, prefix))
		}
		members = append(members, fmt.Sprintf("%s: %s", member, value))
	}
	return "{" + strings.Join(members, ", ") + "}"
}

func exampleCell(c dataset.Column) string {
	switch {
	case c.Type == dataset.Array && c.Example == "":
		return "[]"
	case c.Type == dataset.Array:
		return fmt.Sprintf("[%q]", c.Example)
	case c.Type == dataset.Text:
		return fmt.Sprintf("%q", c.Example)
	case c.Example == "":
		return "null"
	case c.Type == dataset.Number:
		return c.Example
	}
	return fmt.Sprintf("%q", c.Example)
}
