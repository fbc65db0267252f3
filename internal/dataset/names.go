package dataset

import (
	"regexp"
	"slices"
	"strings"

	"exportd/internal/vip"
	"exportd/jobs"
)

// maxFilters bounds the filters of a dataset: each doubles its indexes, of which a database has 200 at most.
const maxFilters = 4

// maxPath bounds a field's path: maps nest up to 20 levels in Firestore.
const maxPath = 20

const fieldRule = "a field like status or customer.name, of letters, digits and _"

var (
	segment   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)
	parameter = regexp.MustCompile(`^[a-z][A-Za-z0-9]{0,39}$`)
)

// routes are the first segments of paths that are no dataset's.
var routes = []string{"admin", "channels", "console", "docs", "exports", "files", "healthz", "limits", "livez", "metrics", "openapi", "ops", "readyz", "vip-labels", "workspaces"}

// reserved are the parameters that list and export routes have whatever the dataset.
var reserved = []string{"limit", "offset", "cursor", "before", "pageSize", "pageToken", jobs.ParamFrom, jobs.ParamTo, Workspace, Medium, "callbackUrl", "dryRun",
	jobs.ParamProfile, jobs.ParamFormulaGuard, jobs.ParamFormat, jobs.ParamCompression, jobs.ParamColumns, jobs.ParamTimezone, jobs.ParamDelimiter, jobs.ParamHeader, jobs.ParamSince, jobs.ParamExcelForm, "testScenario"}

// taken are the collections that exportd keeps its records in; all others of its begin with Export.
var taken = []string{"ApiKeys", vip.CollectionWorkspaces, vip.CollectionChannels}

func validName(s string) bool { return jobs.Kind(s).Valid() && !slices.Contains(routes, s) }

func validCollection(s string) bool {
	return vip.ValidID(s) && !slices.Contains(taken, s) && !strings.HasPrefix(s, "Export")
}

func validPath(s string) bool {
	segments := strings.Split(s, ".")
	return len(segments) <= maxPath && !slices.ContainsFunc(segments, func(s string) bool { return !segment.MatchString(s) || strings.HasPrefix(s, "__") })
}

func validHeader(s string) bool { return segment.MatchString(s) }

func validParam(d *Dataset, s string) bool {
	return parameter.MatchString(s) && !slices.Contains(reserved, s) && !slices.ContainsFunc(d.Filters, func(f Filter) bool { return f.Param == s })
}

func oneOf(types ...Type) func(string) bool {
	return func(s string) bool { return slices.Contains(types, Type(s)) }
}
