package dataset

import (
	"slices"
	"time"

	"exportd/internal/vip"
	"exportd/jobs"
)

// Query is the rows that parameters mean to an org. Both list and export come from it, so that they cannot
// disagree. Every combination of filters has its index, see [Dataset.Indexes]. Parameters
// that the dataset does not know restrict nothing.
func (d *Dataset) Query(orgID string, p jobs.Params) vip.Query {
	q := vip.Query{Name: d.Name, Collection: d.Collection, SortField: d.Sort.Field, Ascending: d.Sort.Ascending}
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
		q.Conditions = append(q.Conditions, vip.Condition{Field: f.Field, Op: op, Value: p[f.Param]})
	}
	if d.Window != nil {
		q.From, q.To = p.Time(jobs.ParamFrom).Truncate(time.Microsecond), p.Time(jobs.ParamTo).Truncate(time.Microsecond)
	}
	return q
}

// inOrder are the filters that are given and not implied by another one, in the order of conditions and
// of indexes: equalities before what looks into an array.
func (d *Dataset) inOrder(given func(Filter) bool) []Filter {
	var equal, contains []Filter
	for _, f := range d.Filters {
		implied := slices.ContainsFunc(d.Filters, func(g Filter) bool { return g.Implies == f.Param && given(g) })
		switch {
		case !given(f) || implied:
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
