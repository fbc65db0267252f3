package dataset

import (
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxDatasets and maxFile bound a file: each dataset has two routes, up to 16 indexes of the 200 that a
// database may have, and its share of the API's document.
const (
	MaxDatasets = 50
	maxFile     = 1 << 20
)

// Fault is what is wrong with a line of a datasets file.
type Fault struct {
	Line int
	// Path leads to the value, like datasets[1].sort.type.
	Path string
	// What is wrong, and what to do.
	What string
}

// Faults are all that are wrong with a file.
type Faults struct {
	File string
	List []Fault
}

// Error has a line for each.
func (f *Faults) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the datasets file %s has %d faults:", f.File, len(f.List))
	if len(f.List) == 1 {
		b.Reset()
		fmt.Fprintf(&b, "the datasets file %s has a fault:", f.File)
	}
	for _, x := range f.List {
		where := x.Path
		if where != "" {
			where += ": "
		}
		fmt.Fprintf(&b, "\n  line %d: %s%s", x.Line, where, x.What)
	}
	return b.String()
}

// Load reads the datasets of a file (deployments/datasets.schema.json says what is in it) and gives them
// after those that are built in. The error, where the file could be read, is a *Faults with all that is
// wrong.
func Load(path string) (Set, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the datasets file: %w", err)
	}
	return Parse(path, content)
}

// Parse is Load of a file's content.
func Parse(name string, content []byte) (Set, error) {
	r := &reader{}
	if len(content) > maxFile {
		r.fault(1, "", "has %d bytes; at most %d are read", len(content), maxFile)
		return nil, &Faults{name, r.faults}
	}
	set := slices.Clone(BuiltIn)
	file, err := parser.ParseBytes(content, 0)
	switch {
	case err != nil:
		line, what := syntax(err)
		r.fault(line, "", "%s", what)
	case len(file.Docs) != 1 || file.Docs[0].Body == nil:
		r.fault(1, "", "must be one YAML document with a list of datasets")
	default:
		set = r.file(file.Docs[0].Body, set)
	}
	if len(r.faults) > 0 {
		slices.SortStableFunc(r.faults, func(a, b Fault) int { return a.Line - b.Line })
		return nil, &Faults{name, r.faults}
	}
	return set, nil
}

// syntax takes the line out of an error of the parser: its first line is like "[3:5] what is wrong".
func syntax(err error) (line int, what string) {
	first, _, _ := strings.Cut(err.Error(), "\n")
	line, column := 1, 0
	if n, _ := fmt.Sscanf(first, "[%d:%d]", &line, &column); n == 2 {
		_, first, _ = strings.Cut(first, "] ")
	}
	return line, "is not YAML: " + first
}

// reader gathers the faults of a file.
type reader struct{ faults []Fault }

func (r *reader) fault(line int, path, format string, args ...any) {
	r.faults = append(r.faults, Fault{line, path, fmt.Sprintf(format, args...)})
}

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

// object has the members of a map read by name; what is not among them is a fault, and so is what is required
// and missing.
func (r *reader) object(n ast.Node, path string, required []string, members map[string]func(n ast.Node, path string)) {
	m, ok := n.(ast.MapNode)
	if !ok {
		r.fault(lineOf(n), path, "must be a map of %s", strings.Join(sorted(members), ", "))
		return
	}
	seen := map[string]bool{}
	for it := m.MapRange(); it.Next(); {
		name := it.Key().String()
		seen[name] = true
		read, known := members[name]
		if !known {
			r.fault(lineOf(it.Key()), path, "%q is not known here; there are %s", name, strings.Join(sorted(members), ", "))
			continue
		}
		read(it.Value(), strings.TrimPrefix(path+"."+name, "."))
	}
	for _, name := range required {
		if !seen[name] {
			r.fault(lineOf(n), path, "%s is missing", name)
		}
	}
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// list has each element read.
func (r *reader) list(n ast.Node, path string, most int, element func(n ast.Node, path string)) {
	s, ok := n.(*ast.SequenceNode)
	switch {
	case !ok:
		r.fault(lineOf(n), path, "must be a list")
		return
	case len(s.Values) > most:
		r.fault(lineOf(n), path, "has %d elements, at most %d are allowed", len(s.Values), most)
		return
	}
	for i, v := range s.Values {
		element(v, fmt.Sprintf("%s[%d]", path, i))
	}
}

// text reads a text of up to most bytes.
func (r *reader) text(to *string, most int) func(n ast.Node, path string) {
	return func(n ast.Node, path string) {
		s, ok := n.(*ast.StringNode)
		if l, literal := n.(*ast.LiteralNode); literal {
			s, ok = l.Value, true
		}
		switch {
		case !ok:
			r.fault(lineOf(n), path, "must be a text")
		case s.Value == "" || len(s.Value) > most:
			r.fault(lineOf(n), path, "must have 1 to %d bytes", most)
		default:
			*to = s.Value
		}
	}
}

// word reads a text that is one of some.
func (r *reader) word(to *string, what string, ok func(string) bool) func(n ast.Node, path string) {
	return func(n ast.Node, path string) {
		var s string
		if r.text(&s, 1500)(n, path); s != "" && !ok(s) {
			r.fault(lineOf(n), path, "%q must be %s", s, what)
			return
		}
		*to = s
	}
}

func (r *reader) number(to *int, least, most int) func(n ast.Node, path string) {
	return func(n ast.Node, path string) {
		i, ok := n.(*ast.IntegerNode)
		var v int
		if ok {
			switch x := i.Value.(type) {
			case uint64:
				v = int(min(x, 1<<53))
			case int64:
				v = int(max(x, -1<<53))
			}
		}
		if !ok || v < least || v > most {
			r.fault(lineOf(n), path, "must be a whole number from %d to %d", least, most)
			return
		}
		*to = v
	}
}

func (r *reader) boolean(to *bool) func(n ast.Node, path string) {
	return func(n ast.Node, path string) {
		b, ok := n.(*ast.BoolNode)
		if !ok {
			r.fault(lineOf(n), path, "must be true or false")
			return
		}
		*to = b.Value
	}
}

func (r *reader) file(n ast.Node, set Set) Set {
	r.object(n, "", []string{"datasets"}, map[string]func(n ast.Node, path string){
		"datasets": func(n ast.Node, path string) {
			r.list(n, path, MaxDatasets, func(n ast.Node, path string) {
				d, line := r.dataset(n, path)
				if d.Name != "" && set.Get(d.Name) != nil {
					r.fault(line, path+".name", "there is a dataset %q already", d.Name)
				}
				set = append(set, d)
			})
		},
	})
	return set
}

// dataset reads one. Where it is whole its columns' version follows from what it is: a change of anything
// that a file depends on is another version. The line is that of its name.
func (r *reader) dataset(n ast.Node, path string) (d *Dataset, line int) {
	d = &Dataset{List: List{Rows: anyRows, Cursor: "cursor"}}
	var sortType string
	var windowLine int
	var filterLines []int
	r.object(n, path, []string{"name", "title", "collection", "gate", "sort", "columns"}, map[string]func(n ast.Node, path string){
		"name": func(n ast.Node, path string) {
			line = lineOf(n)
			r.word(&d.Name, "a name like purchase-orders, of lower-case letters, digits and hyphens, that is no other route's", validName)(n, path)
		},
		"title":      r.text(&d.Title, 100),
		"order":      r.text(&d.Order, 200),
		"collection": r.word(&d.Collection, "the id of a collection at the root of the database that is not exportd's own", validCollection),
		"gate": func(n ast.Node, path string) {
			if s, ok := n.(*ast.StringNode); ok && s.Value == "vip" {
				return
			}
			d.Gate.OrgField = "?" // no second fault for it
			r.object(n, path, []string{"orgField"}, map[string]func(n ast.Node, path string){"orgField": r.word(&d.Gate.OrgField, fieldRule, validPath)})
		},
		"sort": func(n ast.Node, path string) {
			r.object(n, path, []string{"field", "type"}, map[string]func(n ast.Node, path string){
				"field":     r.word(&d.Sort.Field, fieldRule, validPath),
				"type":      r.word(&sortType, "time, number or text", oneOf(Time, Number, Text)),
				"ascending": r.boolean(&d.Sort.Ascending),
			})
		},
		"window": func(n ast.Node, path string) {
			d.Window, windowLine = &Window{}, lineOf(n)
			r.object(n, path, []string{"days"}, map[string]func(n ast.Node, path string){"days": r.number(&d.Window.Days, 1, 366)})
		},
		"filters": func(n ast.Node, path string) {
			r.list(n, path, maxFilters, func(n ast.Node, path string) {
				filterLines = append(filterLines, lineOf(n))
				r.filter(d, n, path)
			})
		},
		"columns": func(n ast.Node, path string) {
			r.list(n, path, MaxColumns-1, func(n ast.Node, path string) { r.column(d, n, path) })
			if len(d.Columns) == 0 {
				r.fault(lineOf(n), path, "must have a column at least")
			}
		},
	})
	d.Sort.Type = Type(sortType)
	if d.Window != nil && d.Sort.Type != Time && d.Sort.Type != "" { // without a type there is a fault of it
		r.fault(windowLine, path+".window", "bounds a sort field of type time, and this is of type %s: leave it out", d.Sort.Type)
	}
	for i, f := range d.Filters {
		if f.Field == d.Sort.Field && f.Field != "" {
			r.fault(filterLines[i], fmt.Sprintf("%s.filters[%d]", path, i), "compares the sort field %s, which is for the order: use another field", f.Field)
		}
	}
	d.Columns = append([]Column{{Path: IDColumn, Type: Text}}, d.Columns...)
	if d.Order == "" {
		d.Order = map[bool]string{true: "By ", false: "By descending "}[d.Sort.Ascending] + d.Sort.Field + "; equal ones by id."
	}
	d.Version = d.shape()
	return d, line
}

// shape is a number of all that a file depends on, without the words for people.
func (d *Dataset) shape() int {
	b := fmt.Appendf(nil, "%q %q %+v %t", d.Collection, d.Gate.OrgField, d.Sort, d.Window != nil)
	for _, f := range d.Filters {
		b = fmt.Appendf(b, " %q %q %q", f.Param, f.Field, f.Op)
	}
	for _, c := range d.Columns {
		b = fmt.Appendf(b, " %q %q %q", c.Path, c.Type, c.Header())
	}
	return int(crc32.ChecksumIEEE(b)%maxVersion) + 1
}

// maxVersion keeps versions to what a job's record may count.
const maxVersion = 999_999

func (r *reader) filter(d *Dataset, n ast.Node, path string) {
	var f Filter
	var equals, contains string
	r.object(n, path, []string{"param", "field"}, map[string]func(n ast.Node, path string){
		"param":    r.word(&f.Param, "a name of letters and digits like customerId, of no other parameter", func(s string) bool { return validParam(d, s) }),
		"field":    r.word(&f.Field, fieldRule, validPath),
		"equals":   r.word(&equals, "text, number or flag", oneOf(Text, Number, Flag)),
		"contains": r.word(&contains, "text", oneOf(Text)),
		"values": func(n ast.Node, path string) {
			r.list(n, path, 50, func(n ast.Node, path string) {
				var v string
				r.text(&v, 200)(n, path)
				f.Values = append(f.Values, v)
			})
		},
		"min": r.number(&f.Min, 1, 1<<31-1),
		"max": r.number(&f.Max, 1, 1<<31-1),
		"doc": r.text(&f.Doc, 500),
	})
	f.Op, f.Type = Equal, Type(equals)
	if contains != "" {
		f.Op, f.Type = ArrayContains, Text
	}
	line := lineOf(n)
	switch {
	case (equals == "") == (contains == ""):
		r.fault(line, path, "must have one of equals and contains, with the type of the value")
	case f.Op == ArrayContains && slices.ContainsFunc(d.Filters, func(g Filter) bool { return g.Op == ArrayContains }):
		r.fault(line, path+".contains", "is the second: Firestore looks into one array in a query")
	case len(f.Values) > 0 && f.Type != Text:
		r.fault(line, path+".values", "are for a filter by text")
	case f.Type == Number && (f.Min == 0 || f.Max < f.Min):
		r.fault(line, path, "filters by a number: give min and max, from 1 up")
	case f.Type != Number && (f.Min != 0 || f.Max != 0):
		r.fault(line, path, "has min or max, which are for a filter by number")
	}
	d.Filters = append(d.Filters, f)
}

func (r *reader) column(d *Dataset, n ast.Node, path string) {
	c := Column{Type: Text}
	if s, ok := n.(*ast.StringNode); ok {
		r.word(&c.Path, fieldRule, validPath)(s, path)
	} else if _, ok := n.(ast.MapNode); !ok {
		r.fault(lineOf(n), path, "must be %s, or a map of doc, name, path, type", fieldRule)
	} else {
		typ := string(Text)
		r.object(n, path, []string{"path"}, map[string]func(n ast.Node, path string){
			"path": r.word(&c.Path, fieldRule, validPath),
			"type": r.word(&typ, "text, number, time, date or list", oneOf(Text, Number, Time, Date, Array)),
			"name": r.word(&c.Name, "a header of letters, digits and _", validHeader),
			"doc":  r.text(&c.Doc, 500),
		})
		c.Type = Type(typ)
	}
	if c.Path == "" {
		return
	}
	line := lineOf(n)
	for _, o := range d.Columns {
		switch {
		case o.Path == c.Path:
			r.fault(line, path, "is the second column of the field %s", c.Path)
		case o.Header() == c.Header():
			r.fault(line, path, "is the second column with the header %s: give it a name", c.Header())
		case strings.HasPrefix(o.Path, c.Path+".") || strings.HasPrefix(c.Path, o.Path+"."):
			r.fault(line, path, "has the field %s, of which %s is a part", shorter(c.Path, o.Path), longer(c.Path, o.Path))
		}
	}
	if c.Path == IDColumn || c.Header() == IDColumn {
		r.fault(line, path, "is named id: the document's id is the first column by itself; give the field another name")
	}
	if c.Header() == RescuedColumn {
		r.fault(line, path, "is named %s: files of Parquet have that column by themselves; give the field another name", RescuedColumn)
	}
	d.Columns = append(d.Columns, c)
}

func shorter(a, b string) string {
	if len(a) < len(b) {
		return a
	}
	return b
}

func longer(a, b string) string {
	if len(a) < len(b) {
		return b
	}
	return a
}
