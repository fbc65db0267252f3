package main

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"exportd/api/client"
	"exportd/internal/dataset"
	"exportd/jobs"
)

// rowFlags are the flags that say which rows of a dataset. Profiles have defaults for workspace, channel and
// window.
type rowFlags struct {
	dataset                     *dataset.Dataset
	workspace, medium, from, to string
	filters                     []func() (value string) // of the dataset's
}

func (f *rowFlags) add(cmd *cobra.Command) {
	f.addScope(cmd)
	for _, filter := range f.dataset.Filters {
		f.addFilter(cmd, filter)
	}
}

func (f *rowFlags) addScope(cmd *cobra.Command) {
	flags := cmd.Flags()
	if f.dataset.Gate.VIP() {
		flags.StringVarP(&f.workspace, "workspace", "w", "", "id of the VIP workspace")
		flags.StringVarP(&f.medium, "medium", "m", "", "id of the channel")
	}
	if w := f.dataset.Window; w != nil {
		flags.StringVar(&f.from, "from", "", "first day or instant, like 2026-11-01 or 2026-11-01T08:00:00Z")
		flags.StringVar(&f.to, "to", "", fmt.Sprintf("last day (all of it) or instant (not in it), at most %d days after --from", w.Days))
	}
}

func (f *rowFlags) addFilter(cmd *cobra.Command, filter dataset.Filter) {
	name, does := flagName(filter.Param), usage(filter.Doc)
	switch filter.Type {
	case dataset.Flag:
		v := cmd.Flags().Bool(name, false, does)
		f.filters = append(f.filters, func() string { return map[bool]string{true: "true"}[*v] })
	case dataset.Number:
		v := cmd.Flags().Int(name, 0, fmt.Sprintf("%s; %d to %d", does, filter.Min, filter.Max))
		f.filters = append(f.filters, func() string {
			if *v == 0 {
				return ""
			}
			return strconv.Itoa(*v)
		})
	default:
		if len(filter.Values) > 0 {
			does = strings.TrimPrefix(does+": "+strings.Join(filter.Values, ", "), ": ")
		}
		v := cmd.Flags().String(name, "", does)
		f.filters = append(f.filters, func() string { return *v })
		if len(filter.Values) > 0 {
			choices(cmd, name, filter.Values...)
		}
	}
}

// params are the parameters that were given, by the profile where not by flags. All that is missing is said
// at once, before the service is asked.
func (f *rowFlags) params(p profile) (map[string]string, error) {
	given := map[string]string{}
	set := func(name string, values ...string) {
		for _, v := range values {
			if v != "" && given[name] == "" {
				given[name] = v
			}
		}
	}
	var missing []string
	need := func(name string, values ...string) {
		if set(name, values...); given[name] == "" {
			missing = append(missing, flagOf[name])
		}
	}
	if f.dataset.Gate.VIP() {
		need(dataset.Workspace, f.workspace, p.Workspace)
		need(dataset.Medium, f.medium, p.Medium)
	}
	if f.dataset.Window != nil {
		need(jobs.ParamFrom, f.from, p.From)
		need(jobs.ParamTo, f.to, p.To)
	}
	for i, value := range f.filters {
		set(f.dataset.Filters[i].Param, value())
	}
	switch len(missing) {
	case 0:
		return given, nil
	case 1:
		return nil, &usageError{text: missing[0] + " is missing", hint: missingHint}
	}
	last := len(missing) - 1
	return nil, &usageError{text: strings.Join(missing[:last], ", ") + " and " + missing[last] + " are missing", hint: missingHint}
}

const missingHint = "Give them here, or for good: exportctl profiles add --help"

func queryOf(params map[string]string) url.Values {
	query := url.Values{}
	for name, value := range params {
		query.Set(name, value)
	}
	return query
}

// flagName is content-type of contentType.
func flagName(param string) string { return split(param, "-") }

func split(param, by string) string {
	var b strings.Builder
	for _, r := range param {
		if unicode.IsUpper(r) {
			b.WriteString(by)
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

var quoted = regexp.MustCompile("`(\\w+)`")

// usage is a sentence of a declaration in the form of a flag's, which may name others.
func usage(doc string) string {
	if doc == "" {
		return ""
	}
	doc = quoted.ReplaceAllStringFunc(strings.TrimSuffix(doc, "."), func(s string) string { return "--" + flagName(strings.Trim(s, "`")) })
	return strings.ToLower(doc[:1]) + doc[1:]
}

// orderText is the order of the rows without that of equal ones: highest LTV first.
func orderText(d *dataset.Dataset) string {
	order, _, _ := strings.Cut(d.Order, ";")
	return usage(order)
}

// isFilter reports whether a parameter is a filter of a dataset that is built in: then it has a flag.
func isFilter(param string) bool {
	for _, d := range dataset.BuiltIn {
		for _, f := range d.Filters {
			if f.Param == param {
				return true
			}
		}
	}
	return false
}

// filtersOf are the filters of an export of a dataset that is built in, in words.
func filtersOf(kind client.Kind, p client.Params) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		d := dataset.BuiltIn.Get(string(kind))
		raw, err := json.Marshal(p)
		var values map[string]any
		if d == nil || err != nil || json.Unmarshal(raw, &values) != nil {
			return
		}
		for _, f := range d.Filters {
			value := ""
			switch v := values[f.Param].(type) {
			case nil:
				continue
			case bool:
				if !v || implied(d, f, values) {
					continue
				}
			case string:
				value = v
			default:
				value = fmt.Sprint(v)
			}
			if !yield(split(f.Param, " "), value) {
				return
			}
		}
	}
}

// implied reports whether another filter that is given says as much.
func implied(d *dataset.Dataset, f dataset.Filter, values map[string]any) bool {
	for _, other := range d.Filters {
		if other.Implies == f.Param && values[other.Param] != nil {
			return true
		}
	}
	return false
}
