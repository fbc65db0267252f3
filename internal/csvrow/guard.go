package csvrow

import (
	"bytes"
	"encoding/binary"
)

// startsFormula reports whether a spreadsheet may take what begins as s for a formula, and whether by an
// equals sign. The wide forms are those that Excel reads as the narrow ones where keyboards have them.
func startsFormula(s []byte) (yes, equals bool) {
	if len(s) == 0 {
		return false, false
	}
	switch s[0] {
	case '=':
		return true, true
	case '+', '-', '@':
		return true, false
	case 0xef: // U+FF1D, and U+FF0B, U+FF0D, U+FF20
		if len(s) < 3 || s[1] != 0xbc {
			return false, false
		}
		equals = s[2] == 0x9d
		return equals || s[2] == 0x8b || s[2] == 0x8d || s[2] == 0xa0, equals
	}
	return false, false
}

// isNumeral reports whether s is a decimal number and nothing else: a sign before it computes nothing.
func isNumeral(s []byte) bool {
	i := 0
	sign := func() {
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
	}
	digits := func() (n int) {
		for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
			n++
		}
		return n
	}
	sign()
	n := digits()
	if i < len(s) && s[i] == '.' {
		i++
		n += digits()
	}
	if n > 0 && i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		sign()
		n = digits()
	}
	return n > 0 && i == len(s)
}

// place is what an import with a separator of its own may take a place in a text for.
type place uint8

const (
	inside place = iota // a cell
	behind              // the beginning of a cell, if a person chose a space or colon: only = counts
	atCell              // the beginning of a cell
)

// guardAt finds the first place from i on that is to get a ', len(s) if there is none; at is what i is. Text
// from there on is inside a cell.
func guardAt(s []byte, i int, at place) int {
	for ; i < len(s); i++ {
		switch s[i] {
		case ',', ';', '|', '\t', '\n', '\v', '\f', '\r':
			at = atCell
		case ' ':
			at = max(at, behind)
		case ':':
			at = behind
		case '"': // may be taken for the beginning of a quoted cell, or dropped
		default:
			if at == inside {
				continue
			}
			// Text that has the ' already gets one more, so that taking one away gives it back.
			formula := skipMarks(s, i)
			if yes, equals := startsFormula(s[formula:]); yes && (equals || at == atCell) {
				return i
			}
			at = inside
		}
	}
	return i
}

// skipMarks gives the place behind the apostrophes at i.
func skipMarks(s []byte, i int) int {
	for i < len(s) && s[i] == '\'' {
		i++
	}
	return i
}

// mayBegin reports whether s has a character with which a formula may begin; ) and / count as + and -. As
// copyScan it goes by eight bytes.
func mayBegin(s []byte) bool {
	var found uint64
	for ; len(s) >= 8; s = s[8:] {
		w := binary.LittleEndian.Uint64(s)
		found |= below(w^ones*'=', 1) | below((w|ones*6)^ones*'/', 1) | below(w^ones*'@', 1) | below(w^ones*0xef, 1)
	}
	for _, c := range s {
		if c == '=' || c == '+' || c == '-' || c == '@' || c == 0xef {
			return true
		}
	}
	return found&highs != 0
}

// behindComma is mayBegin for what stands behind the commas of s: many texts have some, and hyphens too.
func behindComma(s []byte) bool {
	for {
		i := bytes.IndexByte(s, ',') + 1
		if i == 0 {
			return false
		}
		for i < len(s) && (s[i] == ' ' || s[i] == '"' || s[i] == '\'') {
			i++
		}
		s = s[i:]
		if yes, _ := startsFormula(s); yes {
			return true
		}
	}
}

// appendGuarded appends s with a ' at i and at each place behind it where a formula may begin.
func appendGuarded(dst, s []byte, i int) []byte {
	from := 0 // s[from:] is yet to be copied
	for i < len(s) {
		dst = append(append(dst, s[from:i]...), '\'')
		from = i
		i = guardAt(s, skipMarks(s, i)+1, inside) // the formula's character separates nothing, nor do all of its bytes
	}
	return append(dst, s[from:]...)
}
