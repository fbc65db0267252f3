package api

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"exportd/internal/dataset"
	"exportd/jobs"
)

// filterNames are what jobs are filtered by: parameters of a query, members of a body's filter, and names in
// the text q, all with the same values.
var filterNames = []string{
	"state", "kind", "orgId", "workspaceId", "errorCode", "cause", "createdAfter", "createdBefore", "age", "jobId", "rerunOf", "requestId", "batch",
	"callbackHost", "text", "label", "contentType", "minAttempts", "slow",
}

// fileLost is besides in filters of what is run again, as storage is asked for each job.
const fileLost = "fileLost"

// term is a name and a value of q, with the position of its first character, counted from 1.
type term struct {
	name, value string
	at          int
}

// termError says where q does not parse, and what was expected there.
type termError struct {
	at   int
	want string
}

// scanner reads q.
type scanner struct {
	text []rune
	i    int
}

func (s *scanner) ends(stops string) bool {
	return s.i == len(s.text) || unicode.IsSpace(s.text[s.i]) || strings.ContainsRune(stops, s.text[s.i])
}

// until reads up to a blank or one of stops.
func (s *scanner) until(stops string) string {
	from := s.i
	for !s.ends(stops) {
		s.i++
	}
	return string(s.text[from:s.i])
}

// quoted reads what stands between quotes, in which \\ has the next character stand for itself.
func (s *scanner) quoted() (string, *termError) {
	at := s.i + 1
	var out []rune
	for s.i++; s.i < len(s.text); s.i++ {
		switch r := s.text[s.i]; {
		case r == '"':
			s.i++
			return string(out), nil
		case r == '\\' && s.i+1 < len(s.text):
			s.i++
			out = append(out, s.text[s.i])
		default:
			out = append(out, r)
		}
	}
	return "", &termError{at, `a closing " for this one`}
}

// value reads what stands behind the name, or the word that stands alone.
func (s *scanner) value() (string, *termError) {
	if s.i < len(s.text) && s.text[s.i] == '"' {
		return s.quoted()
	}
	return s.until(","), nil
}

// parseTerms reads q: NAME:VALUE or NAME=VALUE, between blanks or commas; a value with one of these in
// quotes. A word that stands alone is a job's id, a cause's, or text of the error.
func parseTerms(q string, names []string) (terms []term, bad *termError) {
	s := &scanner{text: []rune(q)}
	for {
		for s.i < len(s.text) && s.ends(",") {
			s.i++
		}
		if s.i == len(s.text) {
			return terms, nil
		}
		t := term{at: s.i + 1}
		if s.text[s.i] != '"' {
			t.name = s.until(`,:="`)
		}
		named := s.i < len(s.text) && (s.text[s.i] == ':' || s.text[s.i] == '=')
		switch {
		case named && !slices.Contains(names, t.name):
			return nil, &termError{t.at, fmt.Sprintf("one of %s, and not %q", strings.Join(names, ", "), shorten(t.name))}
		case named:
			s.i++
			at := s.i + 1
			if t.value, bad = s.value(); bad == nil && t.value == "" {
				bad = &termError{at, "a value of " + t.name}
			}
		case t.name == "": // quotes, alone
			t.name = "text"
			t.value, bad = s.value()
		default:
			t.name, t.value = nameOfWord(t.name), t.name
		}
		if bad == nil && !s.ends(",") {
			bad = &termError{s.i + 1, "a blank or a comma"}
		}
		if bad != nil {
			return nil, bad
		}
		terms = append(terms, t)
	}
}

// nameOfWord says what a word is that stands alone.
func nameOfWord(word string) string {
	switch {
	case jobs.ValidID(word):
		return "jobId"
	case jobs.CauseCode(word) != "":
		return "cause"
	}
	return "text"
}

// terms makes parameters of those in q, and says where each stands. Words of text go together.
func (p *params) terms(names []string) (at map[string]int) {
	q := p.text("q", false)
	terms, bad := parseTerms(q, names)
	refuse := func(e termError) {
		p.fault("q", typeOnly, map[string]any{"value": q, "position": e.at}, "at character %d: expected %s", e.at, e.want)
	}
	if bad != nil {
		refuse(*bad)
		return nil
	}
	at = map[string]int{}
	for _, t := range terms {
		was, twice := at[t.name]
		switch {
		case twice && t.name == "text":
			p.values["text"] = []string{p.values["text"][0] + " " + t.value}
		case twice:
			refuse(termError{t.at, fmt.Sprintf("no second %s: there is one at character %d", t.name, was)})
		case p.values[t.name] != nil:
			refuse(termError{t.at, "no " + t.name + ": it is given beside q"})
		default:
			at[t.name], p.values[t.name] = t.at, []string{t.value}
		}
	}
	return at
}

// jobFilter reads what jobs are filtered by, by the names of filterNames and by q; extra are names besides.
func (p *params) jobFilter(datasets dataset.Set, now time.Time, extra ...string) jobs.BatchFilter {
	at := p.terms(append(slices.Clone(filterNames), extra...))
	f := jobs.BatchFilter{
		State: enum(p, "state", jobs.States...), Kind: jobs.Kind(enum(p, "kind", datasets.Names()...)),
		OrgID: p.text("orgId", false), WorkspaceID: p.text("workspaceId", false), ErrorCode: enum(p, "errorCode", jobs.Codes...), Cause: p.cause("cause"), Search: p.search(),
	}
	if slices.Contains(extra, fileLost) {
		f.FileLost = p.boolean(fileLost)
	}
	f.CreatedAfter, _ = p.moment("createdAfter", now)
	f.CreatedBefore, _ = p.moment("createdBefore", now)
	p.age(&f, now)
	for i, fault := range p.faults {
		if where := at[fault.Path[0]]; where > 0 {
			p.faults[i].Message = fmt.Sprintf(`"q" at character %d: %s`, where, fault.Message)
			p.faults[i].Path = []string{"q"}
			fault.Context["label"], fault.Context["key"], fault.Context["position"] = "q", "q", where
		}
	}
	return f
}

// age reads how long ago jobs were asked for: more than (>2h) or less (<2h).
func (p *params) age(f *jobs.BatchFilter, now time.Time) {
	v, given := p.get("age", false)
	if !given {
		return
	}
	less, more := strings.HasPrefix(v, "<"), strings.HasPrefix(v, ">")
	at, ok := parseAgo(v[min(len(v), 1):], now)
	if !ok || !less && !more {
		p.fault("age", typeOnly, map[string]any{"value": v}, "must be more or less than minutes, hours or days, as >2h or <7d")
		return
	}
	switch {
	case less && at.After(f.CreatedAfter):
		f.CreatedAfter = at
	case more && (f.CreatedBefore.IsZero() || at.Before(f.CreatedBefore)):
		f.CreatedBefore = at
	}
}
