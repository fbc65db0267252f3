package csvrow

import (
	"bytes"
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
	hasControl             // a byte below 0x20: which one, scanBytes tells
	hasSplit               // an equals sign, or one of ; | TAB LF VT FF CR, which an import may split at
)

// What the first byte of a cell may mean.
const (
	firstSpace   = 1 << iota // white space, or the beginning of it in UTF-8
	firstFormula             // the beginning of a formula, or what may stand before one
	firstEnd                 // the beginning of \.
)

// first is what each byte means as the first one of a cell.
var first = func() (table [256]uint8) {
	for _, c := range "\t\n\v\f\r " {
		table[c] |= firstSpace
	}
	for _, c := range []byte{0xc2, 0xe1, 0xe2, 0xe3} { // U+0085, U+00A0 and those from U+1680 to U+3000
		table[c] |= firstSpace
	}
	for _, c := range []byte{' ', '"', '\'', '=', '+', '-', '@', 0xef} { // 0xef begins the wide forms
		table[c] |= firstFormula
	}
	table['\\'] |= firstEnd
	return table
}()

// class is what each byte means to a scan.
var class = func() (table [256]uint8) {
	table['"'], table[','], table['\r'], table['\n'], table[0] = hasQuote, hasBreak, hasBreak, hasBreak, hasNUL
	for _, c := range "=;|\t\n\v\f\r" {
		table[c] |= hasSplit
	}
	for c := utf8.RuneSelf; c < 256; c++ {
		table[c] = hasHigh
	}
	return table
}()

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// copyScan copies s, of eight bytes and more, to dst, and says what may be among them: high bits in special
// for control characters and what class knows, in high for bytes of 0x80 and above. It goes by eight bytes,
// the last of which may be some that it has seen.
func copyScan(dst, s []byte) (special, high uint64) {
	n := len(s)
	end, to := s[n-8:n], dst[n-8:n]
	for len(s) > 8 && len(dst) > 8 {
		w := binary.LittleEndian.Uint64(s)
		binary.LittleEndian.PutUint64(dst, w)
		if w&highs == 0 {
			special |= asciiMarks(w)
		} else {
			special |= marks(w)
			high |= w
		}
		s, dst = s[8:], dst[8:]
	}
	w := binary.LittleEndian.Uint64(end)
	binary.LittleEndian.PutUint64(to, w)
	if w&highs == 0 {
		return special | asciiMarks(w), high
	}
	return special | marks(w), high | w
}

// copyShort is copyScan for n bytes, eight at most; s and dst must have eight.
func copyShort(dst, s []byte, n int) (special, high uint64) {
	w := binary.LittleEndian.Uint64(s)
	binary.LittleEndian.PutUint64(dst, w)
	end := 8 * uint(n)
	w = w&(1<<end-1) | ones*' '<<end // what is behind the n does not count; a shift by 64 gives 0
	if w&highs == 0 {
		return asciiMarks(w), 0
	}
	return marks(w), w
}

// copyLabel copies n bytes as copyScan and copyShort do, for an element of a list. It reports whether nothing
// in it is to be quoted, cleaned, guarded or escaped.
func copyLabel(dst, s []byte, n int) bool {
	odd := func(w uint64) uint64 { return asciiMarks(w) | ((w ^ ones*'\\') - ones) | w }
	if n <= 8 {
		w := binary.LittleEndian.Uint64(s)
		binary.LittleEndian.PutUint64(dst, w)
		end := 8 * uint(n)
		return odd(w&(1<<end-1)|ones*' '<<end)&highs == 0
	}
	var found uint64
	end, to := s[n-8:n], dst[n-8:n]
	for len(s) > 8 && len(dst) > 8 {
		w := binary.LittleEndian.Uint64(s)
		binary.LittleEndian.PutUint64(dst, w)
		found |= odd(w)
		s, dst = s[8:], dst[8:]
	}
	w := binary.LittleEndian.Uint64(end)
	binary.LittleEndian.PutUint64(to, w)
	return (found|odd(w))&highs == 0
}

// marks has a high bit set if a byte of w is a control character, a double quote, a comma, or one that splits
// means.
func marks(w uint64) uint64 {
	return below(w, ' ') | below(w^ones*'"', 1) | below(w^ones*',', 1) | splits(w)
}

// asciiMarks is marks for bytes below 0x80, in half the steps: control characters and the double quote come
// to stand side by side, and nothing is to be taken out of the differences.
func asciiMarks(w uint64) uint64 {
	quote, comma := w^ones*2, w^ones*','
	return (quote - ones*('"'^2+1)) | (comma - ones) | (w+ones*(0x80-';'))&^(w+ones*(0x80-'?')) | (w + ones*(0x80-'|'))
}

// scan says what is among the bytes of s.
func scan(s []byte) (found uint8) {
	var control, quote, comma, split, high uint64
	for ; len(s) >= 8; s = s[8:] {
		w := binary.LittleEndian.Uint64(s)
		control |= below(w, ' ')
		quote |= below(w^ones*'"', 1)
		comma |= below(w^ones*',', 1)
		split |= splits(w)
		high |= w
	}
	if control&highs != 0 {
		found = hasControl
	}
	if quote&highs != 0 {
		found |= hasQuote
	}
	if comma&highs != 0 {
		found |= hasBreak
	}
	if split&highs != 0 {
		found |= hasSplit
	}
	if high&highs != 0 {
		found |= hasHigh
	}
	return found | scanBytes(s)
}

// below has a high bit set if a byte of w is below limit, by the usual trick; which byte it is it does not
// tell.
func below(w uint64, limit byte) uint64 { return (w - ones*uint64(limit)) &^ w }

// splits has a high bit set if a byte of w is one of ; < = > or of | } ~ and DEL: those that matter and their
// neighbours, in half the steps. Behind a byte of 0x80 and above, from which something is carried, it may
// have one too.
func splits(w uint64) uint64 {
	return (w+ones*(0x80-';'))&^(w+ones*(0x80-'?')) | (w+ones*(0x80-'|'))&^w
}

// scanBytes says what is among the bytes of s, one by one.
func scanBytes(s []byte) (found uint8) {
	for _, c := range s {
		found |= class[c]
	}
	return found
}

// appendCell appends s as one cell of text: guarded, cleaned and quoted as the package comment says. It may
// read behind s, up to its capacity.
func (e *Encoder) appendCell(dst, s []byte) []byte {
	n, at := len(s), len(dst)
	var special, high uint64
	switch {
	case n > 8 && n <= cap(dst)-at:
		special, high = copyScan(dst[at:at+n], s)
	case n == 0:
		return dst
	case n <= 8 && cap(s) >= 8 && cap(dst)-at >= 8:
		special, high = copyShort(dst[at:at+8], s[:8], n)
	default:
		return e.appendOdd(dst, s, scanBytes(s))
	}
	if first[s[0]] == 0 && special&highs == 0 && (high&highs == 0 || valid(s)) { // most cells
		return dst[:at+n]
	}
	found := scan(s)
	if found&hasControl != 0 {
		found = scanBytes(s)
	}
	return e.appendOdd(dst, s, found)
}

// appendOdd is appendCell for all cells, of which a scan has found so much.
func (e *Encoder) appendOdd(dst, s []byte, found uint8) []byte {
	start := first[s[0]]
	if e.opts.FormulaGuard && (start&firstFormula != 0 || found&hasSplit != 0 && mayBegin(s) || found&hasBreak != 0 && behindComma(s)) && (e.leads || !isNumeral(s)) {
		s = e.guard(s)
	}
	quote := found&(hasQuote|hasBreak) != 0 || e.hasDelimiter(s)
	if start&(firstSpace|firstEnd) != 0 && !quote {
		quote = startsWithSpace(s) || string(s) == `\.`
	}
	if quote {
		dst = append(dst, '"')
	}
	switch {
	case found&hasNUL != 0 || found&hasHigh != 0 && !valid(s):
		dst = appendCleaned(dst, s)
	case found&hasQuote != 0:
		dst = appendDoubled(dst, s)
	default:
		dst = append(dst, s...)
	}
	if quote {
		dst = append(dst, '"')
	}
	return dst
}

// valid is utf8.Valid, but for text that is not Latin: it takes four characters of two bytes at once (Greek
// to Arabic), and two of three (most of Asia).
func valid(s []byte) bool {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			continue
		}
		if i+8 <= len(s) {
			w := binary.LittleEndian.Uint64(s[i:])
			// Leads C2 to DF, each with a continuation byte.
			if w&0xc0e0_c0e0_c0e0_c0e0 == 0x80c0_80c0_80c0_80c0 &&
				(w&0x001e_001e_001e_001e+0x007e_007e_007e_007e)&0x0080_0080_0080_0080 == 0x0080_0080_0080_0080 {
				i += 8
				continue
			}
			// Leads E1 to EF without ED, each with two continuation bytes.
			if w&0xc0c0f0_c0c0f0 == 0x8080e0_8080e0 {
				if a, b := w&0xf, w>>24&0xf; a != 0 && a != 0xd && b != 0 && b != 0xd {
					i += 6
					continue
				}
			}
		}
		if i+2 <= len(s) && c >= 0xc2 && c <= 0xdf && s[i+1]&0xc0 == 0x80 { // the end of a word
			i += 2
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		if r == utf8.RuneError && n == 1 {
			return false
		}
		i += n
	}
	return true
}

// appendDoubled appends s with quotes doubled.
func appendDoubled(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '"')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(append(dst, s[:i+1]...), '"')
		s = s[i+1:]
	}
}

// appendCleaned appends s with quotes doubled, NUL as U+2400 and each byte that is not UTF-8 as U+FFFD.
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
		replacement, n := string(NUL), 1
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

// guard gives s as the formula guard lets it through, valid until the next call.
func (e *Encoder) guard(s []byte) []byte {
	i := guardAt(s, 0, atCell)
	if i == len(s) {
		return s
	}
	e.guarded[e.at]++
	e.safe = appendGuarded(e.safe[:0], s, i)
	return e.safe
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
