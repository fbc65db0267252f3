package api

import (
	"fmt"
	"slices"
	"strings"

	"exportd/internal/dataset"
)

// writeRoutes writes the list and the export route of a dataset, as YAML.
func writeRoutes(b *strings.Builder, d *dataset.Dataset) {
	parameters := parametersText(d)
	pages, page, answer, next := pagingText(d)
	fmt.Fprintf(b, `  /%[1]s:
    get:
      operationId: list%[2]s
      tags: [Lists]
      summary: %[3]q
      description: %[4]q
      parameters:
%[5]s        - {$ref: "#/components/parameters/limit"}
        - %[6]s
      responses:
        "200":
          description: A page.
          headers: {X-Request-Id: {$ref: "#/components/headers/RequestId"}}
          content:
            application/json:
              schema:
                type: object
%[7]s                  %[8]s: {type: array, maxItems: 200, items: {$ref: "#/components/schemas/%[9]s"}}
%[10]s%[11]s`, d.Name, d.Operation(), "List "+d.Title, d.Order+pages, parameters, page, answer, d.List.Rows, d.RowName(), next, exampleText(d))
	b.WriteString(listAnswers)
	fmt.Fprintf(b, `  /%[1]s/export:
    get:
      operationId: export%[2]s
      tags: [Exports]
      summary: %[3]q
      description: |
        Every row that the list route would page through, in its order, as a CSV file. Waits for the job as long as `+"`Prefer`"+` says.
        The same request again attaches to the job in flight, and for 60 s after success it answers with that result.
      parameters:
%[4]s        - {$ref: "#/components/parameters/callbackUrl"}
%[5]s        - {$ref: "#/components/parameters/exportDryRun"}
        - {$ref: "#/components/parameters/prefer"}
        - {$ref: "#/components/parameters/cacheControl"}
        - {$ref: "#/components/parameters/idempotencyKey"}
        - {$ref: "#/components/parameters/testScenario"}
`, d.Name, d.Operation(), "Export "+d.Title, parameters, fileRefs())
	b.WriteString(exportAnswers)
}

const listAnswers = `        "400": {$ref: "#/components/responses/BadRequest"}
        "401": {$ref: "#/components/responses/Unauthorized"}
        "403": {$ref: "#/components/responses/Forbidden"}
        "404": {$ref: "#/components/responses/NotFound"}
        "422": {$ref: "#/components/responses/Invalid"}
        "429": {$ref: "#/components/responses/TooManyLists"}
        "500": {$ref: "#/components/responses/Internal"}
        "503": {$ref: "#/components/responses/Unavailable"}
        default: {$ref: "#/components/responses/Refused"}
`

const exportAnswers = `      responses:
        "200": {$ref: "#/components/responses/Exported"}
        "202": {$ref: "#/components/responses/Accepted"}
        "400": {$ref: "#/components/responses/BadRequest"}
        "401": {$ref: "#/components/responses/Unauthorized"}
        "403": {$ref: "#/components/responses/Forbidden"}
        "404": {$ref: "#/components/responses/NotFound"}
        "409": {$ref: "#/components/responses/ExportCanceled"}
        "410": {$ref: "#/components/responses/ExportGone"}
        "422": {$ref: "#/components/responses/ExportInvalid"}
        "429": {$ref: "#/components/responses/TooMany"}
        "500": {$ref: "#/components/responses/ExportFailed"}
        "503": {$ref: "#/components/responses/Unavailable"}
        default: {$ref: "#/components/responses/Refused"}
`

// parametersText are the parameters that the two routes have in common.
func parametersText(d *dataset.Dataset) string {
	var b strings.Builder
	if d.Gate.VIP() {
		b.WriteString("        - {$ref: \"#/components/parameters/workspaceId\"}\n        - {$ref: \"#/components/parameters/mediumId\"}\n")
	}
	if w := d.Window; w != nil {
		b.WriteString("        - {$ref: \"#/components/parameters/from\"}\n")
		fmt.Fprintf(&b, "        - {name: to, in: query, required: true, description: %q, schema: {$ref: \"#/components/schemas/Date\"}}\n",
			fmt.Sprintf("End of the window, not in it; a date includes that whole day (UTC). After `from`, and at most %d days later.", w.Days))
	}
	for _, f := range d.Filters {
		fmt.Fprintf(&b, "        - {name: %s, in: query, description: %q, schema: {%s}}\n", f.Param, f.Doc, filterSchema(d, f))
	}
	return b.String()
}

// pagingText says how the list route pages: in its description, as a parameter, and in the answer before and
// behind the rows.
func pagingText(d *dataset.Dataset) (description, parameter, before, behind string) {
	cursor := d.List.Cursor
	if cursor == "" {
		return " Pages by `offset`.",
			"{name: offset, in: query, description: \"How many rows to skip; give `nextOffset` of the page before.\", schema: {type: integer, minimum: 0, maximum: 2147483647, default: 0}}",
			fmt.Sprintf(`                required: [total, nextOffset, %s]
                properties:
                  total: {type: integer, format: int64, minimum: 0, description: All that match.}
                  nextOffset: {type: [integer, "null"], minimum: 1, description: Null on the last page alone.}
`, d.List.Rows), ""
	}
	what := "`nextCursor` of the page before, with the same filters: loses and repeats nothing."
	if takesTimes(d) {
		what += " Or a date-time: rows strictly older."
	}
	return " Pages by `" + cursor + "`.",
		fmt.Sprintf("{name: %s, in: query, description: %q, schema: {type: string, minLength: 1}}", cursor, what),
		fmt.Sprintf("                required: [%s, nextCursor]\n                properties:\n", d.List.Rows),
		"                  nextCursor: {type: [string, \"null\"], description: Null on the last page alone.}\n"
}

// takesTimes reports whether a page may begin at a time, too.
func takesTimes(d *dataset.Dataset) bool { return d.Sort.Type == dataset.Time && !d.Sort.Ascending }

// exampleText is a page of one row, if the columns have examples.
func exampleText(d *dataset.Dataset) string {
	if !slices.ContainsFunc(d.Columns, func(c dataset.Column) bool { return c.Example != "" }) {
		return ""
	}
	next := "nextCursor: null"
	if d.List.Cursor == "" {
		next = "total: 1, nextOffset: null"
	}
	return fmt.Sprintf("              example: {%s: [%s], %s}\n", d.List.Rows, exampleRow("", d.Columns), next)
}
