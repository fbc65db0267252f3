package csvrowtest

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"exportd/jobs"
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
			if row[i], err = ReadSheetCell(s); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// ReadSheetCell is what a spreadsheet makes of a cell.
func ReadSheetCell(s string) (SheetCell, error) {
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

// SheetTexts returns what a spreadsheet should find in the row of a document, as SheetCell.Text, of columns
// and in a zone as Chosen has them.
func SheetTexts(kind jobs.Kind, id string, fields map[string]any, guard bool, places []int, zone *time.Location) []string {
	stored, _ := Chosen(kind, id, fields, false, places, zone)
	for i, path := range pathsAt(kind, places) {
		cell := stored[i]
		switch v := valueOf(path, id, fields).(type) {
		case nil, bool:
		case int64:
			stored[i] = sheetNumber(cell, float64(v), true)
		case float64:
			stored[i] = sheetNumber(cell, v, v == math.Trunc(v))
		case time.Time:
			local, _ := inZone(v, zone)
			stored[i] = local.Format(time.DateTime)
		default:
			if guard {
				stored[i] = Guard(cell)
			}
		}
	}
	return stored
}

// sheetNumber is a number as far as a spreadsheet has it; one that is whole and has more digits is text, as
// is what is none.
func sheetNumber(text string, f float64, whole bool) string {
	mantissa, _, _ := strings.Cut(strings.TrimPrefix(text, "-"), "e")
	digits := strings.Trim(strings.ReplaceAll(mantissa, ".", ""), "0")
	if math.IsNaN(f) || math.IsInf(f, 0) || whole && len(digits) > 15 {
		return text
	}
	return Digits15(f)
}

// Digits15 is a number as far as a spreadsheet has it.
func Digits15(f float64) string { return strconv.FormatFloat(f+0, 'e', 14, 64) }
