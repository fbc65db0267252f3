package csvrowtest

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
)

// SheetCell is a cell of a file for Excel.
type SheetCell struct {
	Text    string
	Literal bool // it is the literal of a formula, text whatever it looks like
	Number  bool // Text is that of a number, to 15 digits
}

var (
	literal  = regexp.MustCompile(`^="((?s:.*))"$`)
	quotient = regexp.MustCompile(`^=(-?[0-9]{1,15})(?:/(10*)|E(-?[0-9]+))$`)
	whole    = regexp.MustCompile(`^-?[0-9]{1,15}$`)
)

// Sheet reads a file for Excel, as a spreadsheet would with the few formulas that such a file may have. A CR
// LF within a cell is LF.
func Sheet(file []byte) (rows [][]SheetCell, err error) {
	text, bom := bytes.CutPrefix(file, []byte{0xff, 0xfe})
	if !bom || len(text)%2 != 0 {
		return nil, fmt.Errorf("it begins with %.4q and has %d bytes", file, len(file))
	}
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = uint16(text[2*i]) | uint16(text[2*i+1])<<8
	}
	r := csv.NewReader(strings.NewReader(string(utf16.Decode(units))))
	r.Comma = '\t'
	records, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	for _, record := range records {
		row := make([]SheetCell, len(record))
		for i, s := range record {
			if row[i], err = sheetCell(s); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func sheetCell(s string) (SheetCell, error) {
	if m := literal.FindStringSubmatch(s); m != nil {
		var out strings.Builder
		// Quotes within are doubled, so that "&" between two literals is not within one.
		for _, part := range strings.Split(strings.ReplaceAll(m[1], `""`, "\x00"), `"&"`) {
			if strings.Contains(part, `"`) {
				return SheetCell{}, fmt.Errorf("%q is no text", s)
			}
			part = strings.ReplaceAll(part, "\x00", `"`)
			if len(utf16.Encode([]rune(part))) > 255 {
				return SheetCell{}, fmt.Errorf("%q has a literal of more than 255 characters", s)
			}
			out.WriteString(part)
		}
		return SheetCell{Text: out.String(), Literal: true}, nil
	}
	var value float64
	switch m := quotient.FindStringSubmatch(s); {
	case whole.MatchString(s):
		value, _ = strconv.ParseFloat(s, 64)
	case m == nil:
		return SheetCell{Text: s}, nil
	case m[3] != "":
		value, _ = strconv.ParseFloat(m[1]+"E"+m[3], 64)
	default:
		value, _ = strconv.ParseFloat(m[1], 64)
		by, _ := strconv.ParseFloat(m[2], 64)
		value /= by
	}
	return SheetCell{Text: Digits15(value), Number: true}, nil
}

// Digits15 is a number as far as a spreadsheet has it.
func Digits15(f float64) string { return strconv.FormatFloat(f+0, 'e', 14, 64) }
