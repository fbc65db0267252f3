package tracingtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Roots are spans whose parent was not received.
func Roots(spans []Span) (roots []Span) {
	known := map[string]bool{}
	for _, s := range spans {
		known[s.ID] = true
	}
	for _, s := range spans {
		if !known[s.From] {
			roots = append(roots, s)
		}
	}
	return roots
}

// Children are the spans below one, by their beginning.
func Children(spans []Span, of Span) (children []Span) {
	for _, s := range spans {
		if s.From == of.ID {
			children = append(children, s)
		}
	}
	slices.SortStableFunc(children, func(a, b Span) int { return cmp.Or(a.Begun.Compare(b.Begun), a.Ended.Compare(b.Ended)) })
	return children
}

// Tree shows traces as text: for each span when it began, how long it lasted, who made it, its name and what
// it says.
func Tree(spans []Span) string {
	var b strings.Builder
	for _, root := range Roots(spans) {
		write(&b, spans, root, root.Begun, 0)
	}
	return b.String()
}

func write(b *strings.Builder, spans []Span, s Span, zero time.Time, depth int) {
	name := strings.Repeat("  ", depth) + s.Name
	who := strings.TrimPrefix(s.Service, "exportd-")
	if w, ok := s.Attrs["exportd.worker.id"]; ok {
		who += " " + fmt.Sprint(w)
	}
	fmt.Fprintf(b, "%8.1f %8.1f  %-12s %-36s %s\n", ms(s.Begun.Sub(zero)), ms(s.Ended.Sub(s.Begun)), who, name, strings.Join(says(s), " "))
	for _, c := range Children(spans, s) {
		write(b, spans, c, zero, depth+1)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// says gives what differs from span to span.
func says(s Span) (out []string) {
	for _, key := range []string{"part", "parts", "rows", "bytes", "state", "attempt"} {
		if v, ok := s.Attrs["exportd."+key]; ok {
			out = append(out, fmt.Sprintf("%s=%v", key, v))
		}
	}
	if v, ok := s.Attrs["exportd.busy.seconds"].(float64); ok {
		out = append(out, fmt.Sprintf("busy=%.1fms", v*1000))
	}
	if v, ok := s.Attrs["http.response.status_code"]; ok {
		out = append(out, fmt.Sprintf("status=%v", v))
	}
	if s.Failed {
		out = append(out, fmt.Sprintf("failed=%v", s.Attrs["error.type"]))
	}
	return out
}
