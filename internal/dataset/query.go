package dataset

import (
	"slices"
	"time"

	"exportd/internal/vip"
	"exportd/jobs"
)

// Query is the rows that parameters mean to an org. Both list and export come from it, so that they cannot
// disagree. Every combination of filters has its index, see [Dataset.Indexes]. Parameters that the dataset
// does not know restrict nothing.
func (d *Dataset) Query(orgID string, p jobs.Params) vip.Query {
	q := vip.Query{Name: d.Name, Collection: d.Collection, SortField: d.Sort.Field, Ascending: d.Sort.Ascending, Sandbox: jobs.InSandbox(orgID)}
	if d.Gate.VIP() {
		q.Conditions = append(q.Conditions,
			vip.Condition{Field: Workspace, Op: vip.Equal, Value: p.Text(Workspace)}, vip.Condition{Field: Medium, Op: vip.Equal, Value: p.Text(Medium)})
	} else {
		q.Conditions = append(q.Conditions, vip.Condition{Field: d.Gate.OrgField, Op: vip.Equal, Value: orgID})
	}
	for _, f := range d.inOrder(func(f Filter) bool { return !isZero(p[f.Param]) }) {
		op := vip.Equal
		if f.Op == ArrayContains {
			op = vip.ArrayContains
		}
		value := p[f.Param]
		if isZero(value) {
			value = true // implied
		}
		q.Conditions = append(q.Conditions, vip.Condition{Field: f.Field, Op: op, Value: value})
	}
	if d.Window != nil {
		q.From, q.To = p.Time(jobs.ParamFrom).Truncate(time.Microsecond), p.Time(jobs.ParamTo).Truncate(time.Microsecond)
	}
	return q
}

// inOrder are the filters that are given or implied by another one, in the order of conditions and of
// indexes: equalities before what looks into an array. What is implied is a condition of its own, or
// documents whose fields contradict each other would be rows of a narrow request and not of the wider one.
func (d *Dataset) inOrder(given func(Filter) bool) []Filter {
	var equal, contains []Filter
	for _, f := range d.Filters {
		implied := slices.ContainsFunc(d.Filters, func(g Filter) bool { return g.Implies == f.Param && given(g) })
		switch {
		case !given(f) && !implied:
		case f.Op == ArrayContains:
			contains = append(contains, f)
		default:
			equal = append(equal, f)
		}
	}
	return append(equal, contains...)
}

func isZero(v any) bool { return v == nil || v == "" || v == false || v == int64(0) }

// Normalise has a parameter that another one implies given, so that requests with and without it are equal,
// and takes out those that restrict nothing. It changes p.
func (d *Dataset) Normalise(p jobs.Params) {
	for name, v := range p {
		if isZero(v) {
			delete(p, name)
		}
	}
	for _, f := range d.Filters {
		if _, given := p[f.Param]; given && f.Implies != "" {
			p[f.Implies] = true
		}
	}
}

// Takes reports whether a parameter of the dataset may have a value, as [jobs.Params] has it.
func (d *Dataset) Takes(name string, v any) bool {
	if (name == jobs.ParamFrom || name == jobs.ParamTo) && d.Window != nil {
		t, ok := v.(time.Time)
		return ok && jobs.ValidTime(t)
	}
	i := slices.IndexFunc(d.Filters, func(f Filter) bool { return f.Param == name })
	if i < 0 {
		return false
	}
	f := d.Filters[i]
	switch v := v.(type) {
	case bool:
		return f.Type == Flag
	case int64:
		return f.Type == Number && v >= int64(f.Min) && v <= int64(f.Max)
	case string:
		return f.Type == Text && (len(f.Values) == 0 || slices.Contains(f.Values, v))
	}
	return false
}

// IsParam reports whether a parameter with a value may be that of some dataset.
func IsParam(name string, v any) bool {
	switch v := v.(type) {
	case bool, int64, string:
		return parameter.MatchString(name)
	case time.Time:
		return (name == jobs.ParamFrom || name == jobs.ParamTo) && jobs.ValidTime(v)
	}
	return false
}
