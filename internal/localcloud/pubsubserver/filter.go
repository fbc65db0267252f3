package pubsubserver

import (
	"strconv"
	"strings"
)

// filter says which messages a subscription gets, by their attributes.
//
//	attributes:name            has the attribute
//	attributes.name = "value"  and != , which a message without the attribute matches too
//	hasPrefix(attributes.name, "prefix")
//	AND, OR (not both without parentheses), NOT, -, ( )
//
// https://cloud.google.com/pubsub/docs/subscription-message-filter#filtering_syntax
type filter struct{ match func(map[string]string) bool }

type condition = func(map[string]string) bool

var allPass = filter{func(map[string]string) bool { return true }}

// parseFilter reads a filter; the empty one lets all pass.
func parseFilter(text string) (filter, error) {
	if strings.TrimSpace(text) == "" {
		return allPass, nil
	}
	if len(text) > maxFilter {
		return allPass, invalid("a filter has at most %d bytes, not %d", maxFilter, len(text))
	}
	p := &filterParser{rest: text}
	c, ok := p.expression()
	if p.skip(); !ok || p.rest != "" {
		return allPass, invalid("invalid filter, near %q", short(p.rest))
	}
	return filter{c}, nil
}

func short(s string) string { return s[:min(len(s), 20)] }

// filterParser reads one of at most maxFilter bytes, which bounds its depth.
type filterParser struct{ rest string }

func (p *filterParser) skip() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *filterParser) take(token string) bool {
	p.skip()
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = rest
	}
	return ok
}

// word takes an operator that is a word of its own.
func (p *filterParser) word(w string) bool {
	p.skip()
	rest, ok := strings.CutPrefix(p.rest, w)
	if !ok || rest != "" && !strings.ContainsAny(rest[:1], " \t\r\n(") {
		return false
	}
	p.rest = rest
	return true
}

func (p *filterParser) expression() (condition, bool) {
	first, ok := p.term()
	if !ok {
		return nil, false
	}
	all, operator := []condition{first}, ""
	for {
		next := ""
		switch {
		case p.word("AND"):
			next = "AND"
		case p.word("OR"):
			next = "OR"
		default:
			if operator == "OR" {
				return any1(all), true
			}
			return every(all), true
		}
		if operator != "" && operator != next {
			return nil, false
		}
		operator = next
		c, ok := p.term()
		if !ok {
			return nil, false
		}
		all = append(all, c)
	}
}

func every(all []condition) condition {
	return func(a map[string]string) bool {
		for _, c := range all {
			if !c(a) {
				return false
			}
		}
		return true
	}
}

func any1(all []condition) condition {
	return func(a map[string]string) bool {
		for _, c := range all {
			if c(a) {
				return true
			}
		}
		return false
	}
}

func (p *filterParser) term() (condition, bool) {
	if p.word("NOT") || p.take("-") {
		c, ok := p.term()
		return func(a map[string]string) bool { return !c(a) }, ok
	}
	if p.take("(") {
		c, ok := p.expression()
		return c, ok && p.take(")")
	}
	if p.take("hasPrefix") {
		if !p.take("(") || !p.take("attributes") || !p.take(".") {
			return nil, false
		}
		name, ok := p.name()
		if !ok || !p.take(",") {
			return nil, false
		}
		prefix, ok := p.quoted()
		return func(a map[string]string) bool { v, has := a[name]; return has && strings.HasPrefix(v, prefix) }, ok && p.take(")")
	}
	return p.attribute()
}

func (p *filterParser) attribute() (condition, bool) {
	if !p.take("attributes") {
		return nil, false
	}
	if p.take(":") {
		name, ok := p.name()
		return func(a map[string]string) bool { _, has := a[name]; return has }, ok
	}
	if !p.take(".") {
		return nil, false
	}
	name, ok := p.name()
	if !ok {
		return nil, false
	}
	not := p.take("!=")
	if !not && !p.take("=") {
		return nil, false
	}
	value, ok := p.quoted()
	return func(a map[string]string) bool { v, has := a[name]; return (has && v == value) != not }, ok
}

// name is a word, or any text in quotes.
func (p *filterParser) name() (string, bool) {
	p.skip()
	if strings.HasPrefix(p.rest, `"`) {
		return p.quoted()
	}
	n := 0
	for n < len(p.rest) && (p.rest[n] == '_' || p.rest[n] == '-' || p.rest[n] >= '0' && p.rest[n] <= '9' || p.rest[n] >= 'a' && p.rest[n] <= 'z' || p.rest[n] >= 'A' && p.rest[n] <= 'Z') {
		n++
	}
	name := p.rest[:n]
	p.rest = p.rest[n:]
	return name, n > 0
}

func (p *filterParser) quoted() (string, bool) {
	p.skip()
	q, err := strconv.QuotedPrefix(p.rest)
	if err != nil || q[0] != '"' {
		return "", false
	}
	p.rest = p.rest[len(q):]
	s, err := strconv.Unquote(q)
	return s, err == nil
}
