package api

import (
	"fmt"
	"slices"
	"strings"

	"exportd/internal/dataset"
)

// Of the document the rows of datasets are generated: those that are built in into openapi.yaml, by make
// generate, and those of an installation when it is asked for, with their routes.

// Marks in openapi.yaml.
const (
	rowsBegin  = "    # Rows of datasets, of internal/dataset: make generate\n"
	rowsEnd    = "    # End of rows\n"
	routesHere = "  # Routes of an installation's own datasets come here\n"
)

// rowSchemas are the schemas of a dataset's rows, and of the objects in them, as YAML.
func rowSchemas(d *dataset.Dataset) string {
	var b strings.Builder
	columns := slices.Clone(d.Columns)
	for i, c := range columns {
		if d.Window != nil && c.Path == d.Sort.Field {
			columns[i].Type = dataset.Text // what is in a window has a time: never null
		}
	}
	writeSchema(&b, d.RowName(), "", columns)
	return b.String()
}

// writeSchema writes the object of the columns below a path; objects in it have schemas of their own behind it.
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
		of := strings.ToUpper(member[:1]) + member[1:]
		if below != "" || name != "User" { // the name that the client has had from the first day
			of = name + of
		}
		fmt.Fprintf(&properties, "        %s: {$ref: \"#/components/schemas/%s\"}\n", member, of)
		prefix := below + member + "."
		var within []dataset.Column
		for _, o := range columns[i:] {
			if strings.HasPrefix(o.Path, prefix) {
				within = append(within, o)
			}
		}
		writeSchema(&inner, of, prefix, within)
	}
	fmt.Fprintf(b, "    %s:\n      type: object\n      required: [%s]\n      properties:\n%s%s", name, strings.Join(required, ", "), properties.String(), inner.String())
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

// routesOf are the list and the export route of a dataset, as YAML.
func routesOf(d *dataset.Dataset) string {
	var parameters strings.Builder
	if d.Gate.VIP() {
		parameters.WriteString("        - {$ref: \"#/components/parameters/workspaceId\"}\n        - {$ref: \"#/components/parameters/mediumId\"}\n")
	}
	if w := d.Window; w != nil {
		fmt.Fprintf(&parameters, "        - {name: from, in: query, required: true, description: %q, schema: {$ref: \"#/components/schemas/Date\"}}\n",
			"First instant of the window; a date is midnight UTC. ISO date or date-time.")
		fmt.Fprintf(&parameters, "        - {name: to, in: query, required: true, description: %q, schema: {$ref: \"#/components/schemas/Date\"}}\n",
			fmt.Sprintf("End of the window, not in it; a date includes that whole day (UTC). After `from`, and at most %d days later.", w.Days))
	}
	for _, f := range d.Filters {
		fmt.Fprintf(&parameters, "        - {name: %s, in: query, description: %q, schema: {%s}}\n", f.Param, f.Doc, filterSchema(f))
	}
	operation := strings.ToUpper(d.Name[:1]) + camel(d.Name)[1:]
	return fmt.Sprintf(`  /%[1]s:
    get:
      operationId: list%[2]s
      tags: [Lists]
      summary: %[3]q
      description: %[4]q
      parameters:
%[5]s        - {$ref: "#/components/parameters/limit"}
        - {name: %[6]s, in: query, description: "nextCursor of the page before, with the same filters: loses and repeats nothing.", schema: {type: string, minLength: 1}}
      responses:
        "200":
          description: A page.
          headers: {X-Request-Id: {$ref: "#/components/headers/RequestId"}}
          content:
            application/json:
              schema:
                type: object
                required: [%[7]s, nextCursor]
                properties:
                  %[7]s: {type: array, maxItems: 200, items: {$ref: "#/components/schemas/%[8]s"}}
                  nextCursor: {type: [string, "null"], description: Null on the last page.}
        "400": {$ref: "#/components/responses/BadRequest"}
        "401": {$ref: "#/components/responses/Unauthorized"}
        "403": {$ref: "#/components/responses/Forbidden"}
        "404": {$ref: "#/components/responses/NotFound"}
        "422": {$ref: "#/components/responses/Invalid"}
        "429": {$ref: "#/components/responses/TooMany"}
        "500": {$ref: "#/components/responses/Internal"}
        "503": {$ref: "#/components/responses/Unavailable"}
        default: {$ref: "#/components/responses/Refused"}
  /%[1]s/export:
    get:
      operationId: export%[2]s
      tags: [Exports]
      summary: %[9]q
      description: Every row that the list route would page through, in its order, as a CSV file. Waits for the job as long as `+"`Prefer`"+` says.
      parameters:
%[5]s        - {$ref: "#/components/parameters/callbackUrl"}
        - {$ref: "#/components/parameters/profile"}
        - {$ref: "#/components/parameters/formulaGuard"}
        - {$ref: "#/components/parameters/prefer"}
        - {$ref: "#/components/parameters/cacheControl"}
        - {$ref: "#/components/parameters/idempotencyKey"}
      responses: *exportResponses
`, d.Name, operation, "List "+d.Title, d.Order, parameters.String(), d.List.Cursor, d.List.Rows, d.RowName(), "Export "+d.Title)
}

func filterSchema(f dataset.Filter) string {
	switch {
	case f.Type == dataset.Flag:
		return "type: boolean, default: false"
	case f.Type == dataset.Number:
		return fmt.Sprintf("type: integer, minimum: %d, maximum: %d", f.Min, f.Max)
	case len(f.Values) > 0:
		quoted := make([]string, len(f.Values))
		for i, v := range f.Values {
			quoted[i] = fmt.Sprintf("%q", v)
		}
		return "type: string, enum: [" + strings.Join(quoted, ", ") + "]"
	}
	return `$ref: "#/components/schemas/Id"`
}

// camel is purchaseOrders of purchase-orders.
func camel(name string) string {
	words := strings.Split(name, "-")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

// withDatasets adds to the document what an installation has besides what is built in.
func withDatasets(document string, set dataset.Set) string {
	var routes, schemas, params strings.Builder
	gates := false
	for _, d := range set {
		if dataset.BuiltIn.Get(d.Name) != nil {
			continue
		}
		routes.WriteString(routesOf(d))
		schemas.WriteString(rowSchemas(d))
		gates = gates || !d.Gate.VIP()
		for _, f := range d.Filters {
			if line := "        " + f.Param + ": "; !strings.Contains(params.String(), line) && !strings.Contains(document, "\n"+line) {
				params.WriteString(line + "{" + map[bool]string{true: "type: boolean", false: "type: [string, integer, boolean]"}[f.Type == dataset.Flag] + "}\n")
			}
		}
	}
	if routes.Len() == 0 {
		return document
	}
	edits := []string{
		routesHere, routes.String(),
		rowsEnd, schemas.String() + rowsEnd,
		"    Kind: {type: string, enum: [" + strings.Join(dataset.BuiltIn.Names(), ", ") + "]}", "    Kind: {type: string, enum: [" + strings.Join(set.Names(), ", ") + "]}",
		"        formulaGuard: {type: boolean}\n", params.String() + "        formulaGuard: {type: boolean}\n",
	}
	if gates {
		edits = append(edits, "required: [workspaceId, mediumId, profile, formulaGuard]", "required: [profile, formulaGuard]")
	}
	return strings.NewReplacer(edits...).Replace(document)
}
