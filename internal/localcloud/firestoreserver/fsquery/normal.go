package fsquery

import (
	"encoding/binary"
	"slices"
	"strings"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// maxProduct is how many disjuncts the parts of an AND may have, multiplied, before those that are the same
// are told: as in Google's emulator, which says it in other words than of a result that is too large.
const maxProduct = 2 * maxDisjuncts

// term is a conjunction: the numbers of its conditions, sorted, each once. So two that say the same are the
// same.
type term []uint32

// disjunction is of terms, no two of which are the same.
type disjunction []term

// normalizer numbers the conditions of a filter. The same condition on a field has one number; = 1 and = 1.0
// are two conditions, though they match the same.
type normalizer struct {
	filters []Filter
	numbers map[string]uint32
}

// anyOf is true where one of the conditions is.
func (n *normalizer) anyOf(filters ...Filter) disjunction {
	terms := make(disjunction, len(filters))
	for i, f := range filters {
		terms[i] = term{n.number(f)}
	}
	return union(terms)
}

func (n *normalizer) number(f Filter) uint32 {
	field := f.Field.String()
	key := binary.AppendUvarint(nil, uint64(len(field)))
	key = append(append(key, field...), byte(f.Op))
	switch {
	case f.Value == nil:
	case (f.Op == Equal || f.Op == Contains) && f.never(): // null and NaN: one condition, that nothing meets
		key = fsvalue.AppendIdentity(key, nullValue)
	default:
		key = fsvalue.AppendIdentity(key, f.Value)
	}
	for _, v := range f.Values {
		key = fsvalue.AppendIdentity(key, v)
	}
	number, ok := n.numbers[string(key)]
	if !ok {
		if n.numbers == nil {
			n.numbers = map[string]uint32{}
		}
		number = uint32(len(n.filters))
		n.numbers[string(key)] = number
		n.filters = append(n.filters, f)
	}
	return number
}

// filtersOf returns the conditions of each term.
func (n *normalizer) filtersOf(d disjunction) [][]Filter {
	out := make([][]Filter, len(d))
	for i, t := range d {
		for _, number := range t {
			out[i] = append(out[i], n.filters[number])
		}
	}
	return out
}

// union is true where one of the parts is.
func union(parts ...disjunction) (out disjunction) {
	seen := map[string]bool{}
	for _, p := range parts {
		for _, t := range p {
			if key := t.key(); !seen[key] {
				seen[key] = true
				out = append(out, t)
			}
		}
	}
	return out
}

// product is true where all parts are. A part that says what another one says is left out first.
func product(parts ...disjunction) (disjunction, error) {
	var factors []disjunction
	seen := map[string]bool{}
	total := 1
	for _, p := range parts {
		if key := p.key(); !seen[key] {
			seen[key] = true
			factors = append(factors, p)
			if total *= len(p); total > maxProduct {
				return nil, invalidf("Too many disjunctions after normalization, the maximum is %d", maxDisjuncts)
			}
		}
	}
	all := make(disjunction, total)
	for i := range all {
		var t term
		// i is written in digits, one of each factor, the first being the highest.
		for weight, rest, left := total, i, factors; len(left) > 0; left = left[1:] {
			weight /= len(left[0])
			t = append(t, left[0][rest/weight]...)
			rest %= weight
		}
		slices.Sort(t)
		all[i] = slices.Compact(t)
	}
	return union(all), nil
}

func (t term) key() string {
	key := make([]byte, 0, 4*len(t))
	for _, number := range t {
		key = binary.BigEndian.AppendUint32(key, number)
	}
	return string(key)
}

// key is the same for disjunctions of the same terms.
func (d disjunction) key() string {
	keys := make([]string, len(d))
	for i, t := range d {
		key := t.key()
		keys[i] = string(binary.BigEndian.AppendUint32(nil, uint32(len(key)))) + key
	}
	slices.Sort(keys)
	return strings.Join(keys, "")
}
