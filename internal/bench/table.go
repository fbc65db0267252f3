package main

import (
	"fmt"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// line is one line of the table.
type line struct {
	name, what    string // letter of the suite, and what is compared with what
	ours, against string // raw figures
	value         float64
	format        string // of the value, as "%.1f×"
	target        *target
}

// target is what a value should reach.
type target struct {
	limit  float64
	atMost bool
}

func atLeast(limit float64) *target { return &target{limit: limit} }
func atMost(limit float64) *target  { return &target{limit: limit, atMost: true} }

func (l line) ok() bool {
	switch {
	case l.target == nil:
		return true
	case l.target.atMost:
		return l.value <= l.target.limit
	}
	return l.value >= l.target.limit
}

func (l line) verdict() string {
	switch {
	case l.target == nil:
		return ""
	case l.ok():
		return text.FgGreen.Sprint("ok")
	}
	return text.FgRed.Sprint("short")
}

func (l line) goal() string {
	if l.target == nil {
		return ""
	}
	sign := "≥ "
	if l.target.atMost {
		sign = "≤ "
	}
	return sign + fmt.Sprintf(l.format, l.target.limit)
}

// reached says whether every target was.
func reached(lines []line) bool {
	return !slices.ContainsFunc(lines, func(l line) bool { return !l.ok() })
}

// render lays the table out for a terminal.
func render(lines []line) string {
	w := table.NewWriter()
	w.SetStyle(table.StyleRounded)
	w.Style().Format.Header = text.FormatDefault
	w.AppendHeader(table.Row{"", "what", "ours", "against", "result", "target", ""})
	w.SetColumnConfigs([]table.ColumnConfig{
		{Number: 3, Align: text.AlignRight}, {Number: 4, Align: text.AlignRight},
		{Number: 5, Align: text.AlignRight}, {Number: 6, Align: text.AlignRight},
	})
	for i, l := range lines {
		name := l.name
		if i > 0 && lines[i-1].name == name {
			name = ""
		} else if i > 0 {
			w.AppendSeparator()
		}
		w.AppendRow(table.Row{name, l.what, l.ours, l.against, fmt.Sprintf(l.format, l.value), l.goal(), l.verdict()})
	}
	return w.Render()
}

// number prints a count with thin groups of three digits.
func number[T int | int64 | float64](v T) string {
	s := fmt.Sprintf("%.0f", float64(v))
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
