// Package timeline makes a job's timeline short enough to be read. What a line is, its callers know: the
// command line and the console show lines of the API, each in its way.
package timeline

import (
	"slices"
	"strconv"
	"strings"
)

// Group are lines that are shown as one, at least one: a line about the job, or what has happened to parts,
// each of the same kind and between the same two lines about the job.
type Group[L any] struct {
	Lines []L
	Parts []int
}

// First is the first line of a group.
func (g Group[L]) First() L { return g.Lines[0] }

// Last is the last line of a group.
func (g Group[L]) Last() L { return g.Lines[len(g.Lines)-1] }

// Count is how many lines a group has.
func (g Group[L]) Count() int { return len(g.Lines) }

// Fold makes groups of the lines about parts, in the order of their first lines: a job of 34 parts that each
// fail three times has 102 of them. part gives nil for a line about the job, alike says whether two about
// parts are of the same kind.
func Fold[L any](lines []L, part func(L) *int, alike func(a, b L) bool) []Group[L] {
	var out []Group[L]
	since := 0 // where the groups after the last line about the job begin
	for _, l := range lines {
		p := part(l)
		if p == nil {
			out = append(out, Group[L]{Lines: []L{l}})
			since = len(out)
			continue
		}
		i := slices.IndexFunc(out[since:], func(g Group[L]) bool { return alike(g.First(), l) })
		if i < 0 {
			out = append(out, Group[L]{Lines: []L{l}, Parts: []int{*p}})
			continue
		}
		g := &out[since+i]
		g.Lines = append(g.Lines, l)
		if !slices.Contains(g.Parts, *p) {
			g.Parts = append(g.Parts, *p)
		}
	}
	return out
}

// Stretch says which rows a part has, by where it begins and ends; nil is where the job's rows do.
func Stretch(from, to *string) string {
	switch {
	case from == nil && to == nil:
		return "all rows"
	case from == nil:
		return "rows up to " + *to
	case to == nil:
		return "rows from " + *from
	}
	return "rows from " + *from + " up to " + *to
}

// Ranges writes numbers in order, those that follow each other with a dash: "0-3, 7".
func Ranges(of []int, dash string) string {
	of = slices.Sorted(slices.Values(of))
	var out []string
	for i := 0; i < len(of); {
		end := i
		for end+1 < len(of) && of[end+1] == of[end]+1 {
			end++
		}
		text := strconv.Itoa(of[i])
		if end > i {
			text += dash + strconv.Itoa(of[end])
		}
		out = append(out, text)
		i = end + 1
	}
	return strings.Join(out, ", ")
}
