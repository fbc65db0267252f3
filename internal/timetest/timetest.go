// Package timetest is for tests of how long things take, one beside the other. They run alone, not in
// parallel, and fail only at large differences: a loaded machine spoils times.
package timetest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Compare says in words how the medians of samples compare with that of the first, and gives the worst factor
// between them, 1 where all are the same. It sorts the samples.
func Compare(names []string, samples [][]time.Duration) (worst float64, text string) {
	medians := make([]time.Duration, len(samples))
	for i, s := range samples {
		slices.Sort(s)
		medians[i] = s[len(s)/2]
	}
	ratios := make([]string, 0, len(samples))
	worst = 1
	for i, m := range medians[1:] {
		ratio := float64(m) / float64(medians[0])
		worst = max(worst, ratio, 1/ratio)
		ratios = append(ratios, fmt.Sprintf("%s %.3f", names[i+1], ratio))
	}
	return worst, fmt.Sprintf("median %v of %s; %s of that", medians[0], names[0], strings.Join(ratios, ", "))
}
