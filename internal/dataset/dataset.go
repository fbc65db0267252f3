// Package dataset says what can be listed and exported, as data. A [Dataset] is one value that reads like the
// documentation of its routes; parameters, rows, columns, query, indexes and the planner's axis follow from
// it. Two are built in: [VIPUsers] and [VIPMessages].
package dataset

import (
	"strings"

	"exportd/jobs"
)

// Dataset is a collection whose documents are rows. It is not changed once it is in use.
type Dataset struct {
	// Name is in the paths of its routes and is the kind of its jobs, like vip-users.
	Name string
	// Row is the name of a row's schema; that of the name where it is empty.
	Row string
	// Title is what a row is, in the plural, for people: VIP users.
	Title string
	// Order is the order of the rows in words: Highest LTV first.
	Order string
	// Collection is the id of a collection at the root of the database.
	Collection string
	// Gate decides which rows an org may read.
	Gate Gate
	// Sort orders the rows, equal ones by document id. Documents without its field are no rows: neither lists
	// nor counts nor exports have them.
	Sort Sort
	// Window, where there is one, bounds the sort field, a time, by the parameters from and to.
	Window *Window
	// Filters are the optional parameters.
	Filters []Filter
	// Columns are those of the file, and the members of a listed row.
	Columns []Column
	// Version is that of the columns: it is raised by whoever changes them, so that a result of before
	// answers no request of after.
	Version int
	// List says how the list route pages.
	List List
}

// Gate is who may read which rows.
type Gate struct {
	// OrgField is a field that carries the org's id. Empty is the VIP gate: the parameters workspaceId and
	// mediumId, of a VIP workspace of the org and a channel that is connected to it.
	OrgField string
}

// VIP reports whether it is the VIP gate.
func (g Gate) VIP() bool { return g.OrgField == "" }

// Sort is the order of rows.
type Sort struct {
	Field string
	// Type is Time, Number or Text: what the planner cuts by. Rows of another type are rows none the less,
	// and lie together before or after the others, as Firestore orders types.
	Type Type
	// Ascending has the least first; else the greatest is first.
	Ascending bool
}

// Window is the half-open interval [from, to) of the sort field; a date-only to includes that day.
type Window struct {
	Days int // its most
}

// Op is how a filter compares.
type Op string

// The comparisons.
const (
	Equal         Op = "equals"   // the field equals the value
	ArrayContains Op = "contains" // the field is an array with the value in it
)

// Filter is a parameter that restricts rows.
type Filter struct {
	Param string
	// Field is what it compares with the value.
	Field string
	Op    Op
	// Type is Text, Number (an integer from Min to Max) or Flag (true restricts, false does not).
	Type     Type
	Values   []string // of a Text that is one of these
	Min, Max int
	// Implies is a Flag that is true where this parameter is given: the query has both.
	Implies string
	// Doc says to callers what it does.
	Doc string
}

// Type is that of a column, sort key or parameter. A stored value prints in the form of its own type whatever
// the column's is (package wire); the type says how a listed row shows what is missing, what a schema
// promises, and what is joined in a cell.
type Type string

// The types.
const (
	Text   Type = "text"   // missing: ""
	Number Type = "number" // exact, whatever its size; missing: null
	Time   Type = "time"   // missing: null
	Date   Type = "date"   // YYYY-MM-DD in text; missing: null
	Array  Type = "list"   // of texts; a cell has them joined with semicolons; missing: []
	Flag   Type = "flag"
)

// Column is a cell of each row.
type Column struct {
	// Path is the field's, like personalInfo.fullName; "id" is the document's id and comes first.
	Path string
	Type Type
	// Name is the header of the cell; the last segment of the path where it is empty.
	Name string
	// Doc says what is in it, if it is not plain.
	Doc string
	// Example is the text of a cell of it, for the documentation.
	Example string
}

// Header is the column's name in the header row.
func (c Column) Header() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Path[strings.LastIndexByte(c.Path, '.')+1:]
}

// List is what the list route answers.
type List struct {
	// Rows is the name of the array of rows; that of datasets without one of their own is rows.
	Rows string
	// Cursor is the parameter that takes nextCursor. Empty pages by offset, and tells a total.
	Cursor string
}

const anyRows = "rows"

// MaxColumns bounds the columns of a dataset: a row's places are kept for it.
const MaxColumns = 200

// Parameters of the VIP gate.
const (
	Workspace = "workspaceId"
	Medium    = "mediumId"
)

// IDColumn is the path of the column that is no field.
const IDColumn = "id"

// RescuedColumn is the column that files of formats with types have besides: what other columns cannot hold.
const RescuedColumn = "_rescued_data"

// Kind is the kind of its jobs.
func (d *Dataset) Kind() jobs.Kind { return jobs.Kind(d.Name) }

// RowName is the name of a row's schema, like PurchaseOrdersRow.
func (d *Dataset) RowName() string {
	if d.Row != "" {
		return d.Row
	}
	return d.inCapitals() + "Row"
}

// Operation is what the operations of its routes are named by: Users where its rows have that name, else
// PurchaseOrders.
func (d *Dataset) Operation() string {
	if d.List.Rows == anyRows {
		return d.inCapitals()
	}
	return strings.ToUpper(d.List.Rows[:1]) + d.List.Rows[1:]
}

// inCapitals is PurchaseOrders of purchase-orders.
func (d *Dataset) inCapitals() string {
	var b strings.Builder
	for word := range strings.SplitSeq(d.Name, "-") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// Headers are the names of the columns.
func (d *Dataset) Headers() []string {
	names := make([]string, len(d.Columns))
	for i, c := range d.Columns {
		names[i] = c.Header()
	}
	return names
}
