package csvrow

import (
	"encoding/binary"
	"unicode"
	"unicode/utf8"
)

// What a scan of a cell found.
const (
	hasQuote   = 1 << iota // a double quote
	hasBreak               // a comma, CR or LF: the cell must be quoted
	hasNUL                 // a NUL, to be replaced
	hasHigh                // bytes of 0x80 and above: UTF-8, or not
	hasInvalid             // bytes that are not UTF-8
)

// class is what each byte means to a scan.
var class = [256]uint8{'"': hasQuote, ',': hasBreak, '\r': hasBreak, '\n': hasBreak, 0: hasNUL}

// scan classifies the bytes of s, eight at a time where they hold nothing that
// matters, which is most of every text.
func scan(s []byte) uint8 {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	var found uint8
	var high uint64
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		high |= w
		quote, comma := w^(ones*'"'), w^(ones*',')
		// The usual tests for "a byte below 0x20" and "a byte of zero".
		if ((w-ones*0x20)&^w|(quote-ones)&^quote|(comma-ones)&^comma)&highs != 0 {
			for _, c := range s[i : i+8] {
				found |= class[c]
			}
		}
	}
	for _, c := range s[i:] {
		found |= class[c]
		high |= uint64(c)
	}
	if high&highs != 0 {
		found |= hasHigh
		if !utf8.Valid(s) {
			found |= hasInvalid
		}
	}
	return found
}

// appendCell appends s as one cell of text: guarded, cleaned and quoted as the
// package comment says.
func (e *Encoder) appendCell(dst, s []byte) []byte {
	if len(s) == 0 {
		return dst
	}
	found := scan(s)
	guard := e.opts.FormulaGuard && startsFormula(s)
	quote := found&(hasQuote|hasBreak) != 0
	if guard {
		e.guarded++
	} else if !quote {
		quote = startsWithSpace(s) || string(s) == `\.`
	}
	if quote {
		dst = append(dst, '"')
	}
	if guard {
		dst = append(dst, '\'')
	}
	if found&(hasQuote|hasNUL|hasInvalid) == 0 {
		dst = append(dst, s...)
	} else {
		dst = appendCleaned(dst, s)
	}
	if quote {
		dst = append(dst, '"')
	}
	return dst
}

// appendCleaned appends s with quotes doubled, NUL as U+2400 and each byte that
// is not UTF-8 as U+FFFD.
func appendCleaned(dst, s []byte) []byte {
	from := 0 // s[from:i] is yet to be copied
	for i := 0; i < len(s); {
		c := s[i]
		if c == '"' {
			dst = append(append(dst, s[from:i+1]...), '"')
			i++
			from = i
			continue
		}
		if c != 0 && c < utf8.RuneSelf {
			i++
			continue
		}
		replacement, n := "\u2400", 1
		if c != 0 {
			var r rune
			if r, n = utf8.DecodeRune(s[i:]); r != utf8.RuneError || n != 1 {
				i += n
				continue
			}
			replacement = "\ufffd"
		}
		dst = append(append(dst, s[from:i]...), replacement...)
		i += n
		from = i
	}
	return append(dst, s[from:]...)
}

// startsFormula reports whether a spreadsheet could take s for a formula.
func startsFormula(s []byte) bool {
	for _, c := range s {
		switch c {
		case ' ':
			continue
		case '=', '+', '-', '@', '\t', '\r':
			return true
		}
		return false
	}
	return false
}

// startsWithSpace reports whether the first character of s is white space.
func startsWithSpace(s []byte) bool {
	c := s[0]
	if c < utf8.RuneSelf {
		return c == ' ' || '\t' <= c && c <= '\r'
	}
	r, _ := utf8.DecodeRune(s)
	return unicode.IsSpace(r)
}
