package csvrow

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"exportd/internal/dataset"
	"exportd/internal/vip/wire"
)

// How much text a formula of Excel takes: 255 characters in a literal, and 8,192 in all. Text of maxWrapped
// bytes, cut into literals, is less.
const (
	maxLiteral = 255
	maxWrapped = 7900
)

// maxDigits is how many digits a number of Excel has.
const maxDigits = 15

// appendExcel is AppendCells for a double-click in Excel.
func (e *Encoder) appendExcel(dst []byte, r *Row) ([]byte, error) {
	line := e.line[:0]
	for i, place := range e.places {
		if i > 0 {
			line = append(line, '\t')
		}
		var err error
		e.at = place
		if line, err = e.appendExcelPlace(line, r, place); err != nil {
			return dst, err
		}
	}
	if len(line) == 0 {
		line = append(line, `""`...) // an empty line is no row to many readers
	}
	e.line = append(line, '\r', '\n')
	return appendUTF16(dst, e.line), nil
}

// appendExcelHeader is AppendHeader for Excel.
func (e *Encoder) appendExcelHeader(dst []byte) []byte {
	dst = append(dst, 0xff, 0xfe) // the byte order mark of UTF-16 LE
	if e.opts.NoHeader {
		return dst
	}
	line := e.line[:0]
	for i, place := range e.places {
		if i > 0 {
			line = append(line, '\t')
		}
		line = e.appendExcelText(line, []byte(e.columns[place].Header()))
	}
	e.line = append(line, '\r', '\n')
	return appendUTF16(dst, e.line)
}

// appendExcelPlace appends the cell of a column: numbers as numbers, times and dates as such, and all else as
// text that stays what it is.
func (e *Encoder) appendExcelPlace(line []byte, r *Row, place int) ([]byte, error) {
	if place == 0 {
		return e.appendExcelText(line, r.ID()), nil
	}
	column := e.columns[place].Type
	v, err := wire.Parse(r.Cell(place))
	if err != nil {
		return line, err
	}
	switch {
	case v.Kind == wire.None || v.Kind == wire.Null:
		return line, nil
	case v.Kind == wire.String && column == dataset.Date && isDate(v.Data):
		return append(line, v.Data...), nil
	case v.Kind == wire.String:
		return e.appendExcelText(line, v.Data), nil
	case v.Kind == wire.Time:
		at := wire.TimeOf(v)
		if e.opts.Zone != nil {
			at = at.In(e.opts.Zone)
		}
		if at.Year() >= 1 && at.Year() <= 9999 {
			return at.AppendFormat(line, "2006-01-02 15:04:05"), nil
		}
	}
	e.text = e.text[:0]
	if v.Kind == wire.Array && column == dataset.Array {
		e.text, err = e.appendElements(e.text, v)
	} else {
		e.text, err = e.printer.Append(e.text, v)
	}
	if err != nil {
		return line, err
	}
	if v.Kind == wire.Int || v.Kind == wire.Double {
		if number, ok := appendExcelNumber(line, string(e.text)); ok {
			return number, nil
		}
		return e.appendExcelCell(line, e.text), nil // never text: no guard
	}
	return e.appendExcelText(line, e.text), nil
}

// appendExcelNumber appends a number as Excel takes it in each locale: without a decimal sign. ok is false
// for what is no number to it, as it has more digits or is infinite.
func appendExcelNumber(line []byte, text string) (_ []byte, ok bool) {
	digits, exponent, ok := decimal(text)
	if ok && exponent < 0 && len(digits) > maxDigits { // of which Excel would drop what is beyond
		f, _ := strconv.ParseFloat(text, 64) // it is the text of one
		digits, exponent, ok = decimal(strconv.FormatFloat(f, 'e', maxDigits-1, 64))
	}
	if !ok || len(digits) > maxDigits {
		return line, false
	}
	whole := exponent >= 0 && len(digits)+exponent <= maxDigits
	if !whole {
		line = append(line, '=')
	}
	if text[0] == '-' && digits != "" {
		line = append(line, '-')
	}
	switch {
	case digits == "":
		line = append(line, '0')
	case whole:
		line = append(append(line, digits...), strings.Repeat("0", exponent)...)
	case exponent < 0 && exponent >= -maxDigits:
		// Both are exact, so that the quotient is the double that was stored.
		line = append(append(append(line, digits...), "/1"...), strings.Repeat("0", -exponent)...)
	default:
		line = strconv.AppendInt(append(append(line, digits...), 'E'), int64(exponent), 10)
	}
	return line, true
}

// decimal takes the text of a number apart: it is its significant digits, times a power of ten. Zero has
// none.
func decimal(text string) (digits string, exponent int, ok bool) {
	text = strings.TrimPrefix(text, "-")
	mantissa, power, has := strings.Cut(text, "e")
	if has {
		n, err := strconv.Atoi(power)
		if err != nil {
			return "", 0, false
		}
		exponent = n
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits = whole + fraction
	if digits == "" || strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) {
		return "", 0, false
	}
	exponent -= len(fraction)
	digits = strings.TrimLeft(digits, "0")
	short := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(short)
	if short == "" {
		exponent = 0
	}
	return short, exponent, true
}

// isDate reports whether s is a date like 1990-12-10.
func isDate(s []byte) bool {
	if len(s) != len("2006-01-02") {
		return false
	}
	_, err := time.Parse(time.DateOnly, string(s))
	return err == nil
}

// appendExcelText appends s as a cell that is text in each locale.
func (e *Encoder) appendExcelText(line, s []byte) []byte {
	if len(s) == 0 {
		return line
	}
	if e.opts.FormulaGuard && !isNumeral(s) {
		s = e.guard(s)
	}
	return e.appendExcelCell(line, s)
}

// appendExcelCell is appendExcelText behind the guard.
func (e *Encoder) appendExcelCell(line, s []byte) []byte {
	quote := scanBytes(s)&^hasHigh != 0 || startsWithSpace(s)
	if mayBeValue(s) {
		// A text of lines is no value, nor would it be a formula: LibreOffice takes that for text.
		if len(s)+bytes.Count(s, []byte{'"'}) <= maxWrapped && !bytes.ContainsAny(s, "\r\n") {
			e.formula = appendLiteral(e.formula[:0], s)
			s = e.formula
		}
		quote = true
	}
	if !quote {
		return append(line, s...)
	}
	return append(appendDoubled(append(line, '"'), s), '"')
}

// appendLiteral appends the formula that s is the text of.
func appendLiteral(dst, s []byte) []byte {
	dst = append(dst, '=', '"')
	units := 0 // of UTF-16, in the literal
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		if units+2 > maxLiteral {
			dst, units = append(dst, `"&"`...), 0
		}
		if units++; r == '"' || r > 0xffff {
			units++
		}
		if r == '"' {
			dst = append(dst, '"')
		}
		dst, s = append(dst, s[:size]...), s[size:]
	}
	return append(dst, '"')
}

// mostWords is how many words a number or date may have, in the language that has most: terça-feira, 2 de
// junho de 2026 3:04 PM.
const mostWords = 6

// mayBeValue reports whether Excel, in some locale, may take a text for a number, date, time, truth value,
// error or formula, or for what a formula goes on with.
func mayBeValue(s []byte) bool {
	trimmed := bytes.TrimSpace(s)
	if len(trimmed) == 0 {
		return false
	}
	if yes, _ := startsFormula(trimmed); yes || bytes.IndexByte([]byte("#&*/^<>%!~:;,"), trimmed[0]) >= 0 {
		return true
	}
	words, inWord, number := 0, false, false
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRune(s[i:])
		i += size
		switch r {
		case '?', '!', '_', '<', '>', '{', '}', '[', ']', '|', '"': // are in none
			return false
		}
		number = number || unicode.IsNumber(r)
		letter := unicode.IsLetter(r)
		if letter && !inWord {
			if words++; words > mostWords {
				return false
			}
		}
		inWord = letter
	}
	return number || words == 1 && len(trimmed) <= longestTruth && truthValues[strings.ToUpper(string(trimmed))]
}

// truthValues are the words for true and false in the languages of Excel, of longestTruth bytes at most.
var truthValues = func() map[string]bool {
	words := map[string]bool{}
	for word := range strings.FieldsSeq(`TRUE FALSE WAHR FALSCH VRAI FAUX VERO FALSO VERDADERO VERDADEIRO WAAR ONWAAR SANT SAND SANN FALSKT FALSK
		USANN TOSI EPÄTOSI PRAWDA FAŁSZ PRAVDA NEPRAVDA IGAZ HAMIS ИСТИНА ЛОЖЬ DOĞRU YANLIŞ ADEVĂRAT ADEVARAT FALS TÕENE VÄÄR ΑΛΗΘΕΣ ΨΕΥΔΕΣ ΑΛΗΘΗΣ
		ΨΕΥΔΗΣ ІСТИНА ХИБНІСТЬ ВЯРНО НЕВЯРНО ISTINA NEISTINA TIESA NETIESA PATIESS APLAMS CERT EGIA GEZURRA RESNIČNO NERESNIČNO`) {
		words[word] = true
	}
	return words
}()

const longestTruth = 24

// appendUTF16 appends s in UTF-16 LE. NUL becomes U+2400, a byte that is not UTF-8 U+FFFD.
func appendUTF16(dst, s []byte) []byte {
	var units [2]uint16
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf && c != 0 {
			dst = append(dst, c, 0)
			i++
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		i += size
		if c == 0 {
			r = NUL
		}
		for _, unit := range utf16.AppendRune(units[:0], r) {
			dst = binary.LittleEndian.AppendUint16(dst, unit)
		}
	}
	return dst
}
