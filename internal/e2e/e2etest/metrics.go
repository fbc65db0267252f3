package e2etest

import (
	"regexp"
	"slices"
)

var metricName = regexp.MustCompile(`\b(?:exportd|go|process|http_server)_[a-z0-9_]+`)

// MetricNames lists the names of metrics in rules or a dashboard.
func MetricNames(text string) []string {
	names := metricName.FindAllString(text, -1)
	slices.Sort(names)
	return slices.Compact(names)
}
