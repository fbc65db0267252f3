package api

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"exportd/internal/dataset"
	"exportd/internal/records"
	"exportd/jobs"
)

const (
	// maxParams bounds the number of parameters, and so of faults in one answer.
	maxParams = 100
	// maxText bounds a text parameter, in characters: Firestore's bound for ids, in bytes. Longer labels are
	// in no overview.
	maxText = records.LabelRunes
	// maxOffset is what Firestore takes.
	maxOffset = 1<<31 - 1
)

// params reads a request's parameters and collects everything that is wrong with them. Each method names a
// parameter that the route knows; finish refuses all others.
type params struct {
	values  url.Values
	allowed []string
	faults  []fault
}

// readQuery parses the query string. What is not a query string at all is a 400.
func readQuery(r *http.Request) (*params, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the query string cannot be parsed: use & between parameters and percent-encoding")
	}
	if len(values) > maxParams {
		return nil, refuse(http.StatusBadRequest, fmt.Sprintf("at most %d parameters are read, and there are %d", maxParams, len(values)))
	}
	for name, vs := range values {
		if !utf8.ValidString(name) || !utf8.ValidString(strings.Join(vs, "")) {
			return nil, refuse(http.StatusBadRequest, "the query string is not UTF-8")
		}
	}
	return &params{values: values}, nil
}

func (p *params) fault(name, kind string, context map[string]any, format string, args ...any) {
	p.faults = append(p.faults, newFault(name, kind, context, format, args...))
}

// get returns a parameter that was given exactly once.
func (p *params) get(name string, required bool) (string, bool) {
	p.allowed = append(p.allowed, name)
	switch vs := p.values[name]; {
	case len(vs) == 0:
		if required {
			p.fault(name, typeRequired, nil, "is required")
		}
		return "", false
	case len(vs) > 1:
		p.fault(name, typeUnknown, map[string]any{"value": strings.Join(vs, ", ")}, "must be given only once")
		return "", false
	default:
		return vs[0], true
	}
}

func (p *params) text(name string, required bool) string {
	v, ok := p.get(name, required)
	switch {
	case !ok:
	case v == "":
		p.fault(name, typeEmpty, map[string]any{"value": v}, "is not allowed to be empty")
	case utf8.RuneCountInString(v) > maxText:
		p.fault(name, typeMax, map[string]any{"value": v, "limit": maxText}, "length must be less than or equal to %d characters long", maxText)
	default:
		return v
	}
	return ""
}

// enum returns "" if the parameter is missing.
func enum[T ~string](p *params, name string, allowed ...T) T {
	v, ok := p.get(name, false)
	if !ok || slices.Contains(allowed, T(v)) {
		return T(v)
	}
	texts := make([]string, len(allowed))
	for i, a := range allowed {
		texts[i] = string(a)
	}
	p.fault(name, typeOnly, map[string]any{"value": v, "valids": texts}, "must be one of [%s]", strings.Join(texts, ", "))
	return ""
}

// boolean takes "true" and "false" in any case, as Joi does: Python writes True.
func (p *params) boolean(name string) bool {
	v, ok := p.get(name, false)
	switch {
	case !ok, strings.EqualFold(v, "false"):
	case strings.EqualFold(v, "true"):
		return true
	default:
		p.fault(name, typeBoolean, map[string]any{"value": v}, "must be a boolean")
	}
	return false
}

// numberPattern is of decimal numbers; ParseFloat alone would take hexadecimal ones, too.
var numberPattern = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

// integer reads a decimal number that is whole, whatever its form: 5, 5.0, 0.5e1.
func (p *params) integer(name string, lowest, highest, missing int) int {
	v, ok := p.get(name, false)
	if !ok {
		return missing
	}
	v = strings.TrimSpace(v)
	n, _ := strconv.ParseFloat(v, 64) // what is out of range is infinite
	switch {
	case !numberPattern.MatchString(v):
		p.fault(name, typeNumber, map[string]any{"value": v}, "must be a number")
	case n != math.Trunc(n):
		p.fault(name, typeInteger, map[string]any{"value": v}, "must be an integer")
	case n < float64(lowest):
		p.fault(name, typeNumMin, map[string]any{"value": v, "limit": lowest}, "must be greater than or equal to %d", lowest)
	case n > float64(highest):
		p.fault(name, typeNumMax, map[string]any{"value": v, "limit": highest}, "must be less than or equal to %d", highest)
	default:
		return int(n)
	}
	return missing
}

// window reads from and to as the half-open window [from, to): a date-only to includes that whole day.
func (p *params) window(w *dataset.Window) (from, to time.Time) {
	from, _, okFrom := p.date(jobs.ParamFrom, true)
	to, wholeDay, okTo := p.date(jobs.ParamTo, true)
	if wholeDay {
		to = to.AddDate(0, 0, 1)
	}
	switch given := p.values.Get("to"); {
	case !okFrom || !okTo:
	case from.Equal(to):
		p.fault("to", typeGreater, map[string]any{"value": given, "limit": "from"},
			`must be greater than "from": what happens at "to" is no longer in the window, so that this one is empty; a date alone, as 2026-10-26, means its whole day`)
	case !from.Before(to):
		p.fault("to", typeGreater, map[string]any{"value": given, "limit": "from"}, `must be greater than "from"`)
	case to.Sub(from) > time.Duration(w.Days)*24*time.Hour:
		p.fault("to", typeRange, map[string]any{"value": given, "limit": fmt.Sprintf("P%dD", w.Days)}, `must be at most %d days after "from"`, w.Days)
	}
	return from, to
}

// rows reads the parameters of a dataset, which list route and export have in common.
func (p *params) rows(d *dataset.Dataset) jobs.Params {
	rows := jobs.Params{}
	if d.Gate.VIP() {
		rows[dataset.Workspace], rows[dataset.Medium] = p.text(dataset.Workspace, true), p.text(dataset.Medium, true)
	}
	if d.Window != nil {
		rows[jobs.ParamFrom], rows[jobs.ParamTo] = p.window(d.Window)
	}
	for _, f := range d.Filters {
		switch {
		case f.Type == dataset.Flag:
			rows[f.Param] = p.boolean(f.Param)
		case f.Type == dataset.Number:
			rows[f.Param] = int64(p.integer(f.Param, f.Min, f.Max, 0))
		case len(f.Values) > 0:
			rows[f.Param] = enum(p, f.Param, f.Values...)
		default:
			rows[f.Param] = p.text(f.Param, false)
		}
	}
	d.Normalise(rows)
	return rows
}

// finish reports all faults: those found so far, then unknown parameters by name.
func (p *params) finish() error {
	var unknown []string
	for name := range p.values {
		if !slices.Contains(p.allowed, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		p.fault(name, typeUnknown, map[string]any{"child": shorten(name), "value": p.values.Get(name)}, "is not allowed")
	}
	if len(p.faults) == 0 {
		return nil
	}
	return &invalidError{p.faults}
}

// visibleASCII reports whether s is 1 to most characters of ! to ~.
func visibleASCII(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' })
}

// String gives the names of the faults, for failing tests.
func (f fault) String() string { return fmt.Sprintf("%v %s", f.Path, f.Type) }
