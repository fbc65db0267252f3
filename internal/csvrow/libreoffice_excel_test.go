//go:build libreoffice

package csvrow_test

import (
	"encoding/xml"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
)

// storedNumbers are numbers.
var storedNumbers = append([]any{
	int64(0), int64(5), int64(-5), int64(123456789012345), int64(-100), 0.5, -0.5, 12.5, 1234.56, 0.1, -1e-7, 3e-300, 1e15, 1e20, 1e21, 1.5e21, 1e300, 99.99, 1e-6,
	123456.789, 999999999999999.9, 1.0 / 3, 0.1 + 0.2, 1.1e16, math.Copysign(0, -1), 123456789012345.67, -4.35,
}, longNumbers...)

// longNumbers are whole and have more digits than a sheet has.
var longNumbers = []any{int64(1234567890123456), int64(math.MinInt64), 12345678901234568.0, -math.MaxFloat64}

// TestLibreOfficeExcel opens files for Excel as a double-click does, with the numbers, dates and words of two
// languages: each cell must be what was stored, of its type.
func TestLibreOfficeExcel(t *testing.T) {
	t.Parallel()
	texts := append(append(append([]string{}, takenTexts...), hazards(t)...), guardedTexts...)
	at := time.Date(2026, 6, 2, 3, 4, 5, 678901000, time.UTC)
	for _, guard := range []bool{true, false} {
		e := csvrow.NewEncoder(dataset.VIPUsers, csvrow.Options{Excel: true, FormulaGuard: guard})
		file := e.AppendHeader(nil)
		for i, text := range texts {
			var err error
			file, err = e.AppendRow(file, csvrowtest.Document(fmt.Sprintf("d/c/%05d", i), map[string]any{
				"displayName": text, "ltv": storedNumbers[i%len(storedNumbers)], "tags": []any{text, "1"}, "firstSeenAt": at.AddDate(0, 0, -i), "lastSeenAt": text,
				"personalInfo": map[string]any{"birthday": at.AddDate(0, 0, -30*i).Format(time.DateOnly), "city": i%2 == 0},
			}))
			if err != nil {
				t.Fatal(err)
			}
		}
		languages := map[string]string{"en-US": "1033", "de-DE": "1031", "pt-BR": "1046"}
		if !guard {
			languages = map[string]string{"de-DE": "1031"}
		}
		for language, id := range languages {
			rows := cellsOf(t, convert(t, file, "CSV:9,34,65535,1,,"+id+",false,true,false,false,false,-1,true", "fods"))
			if len(rows) != len(texts)+1 {
				t.Fatalf("%s: %d rows, want %d", language, len(rows), len(texts)+1)
			}
			checked, wrong := 0, 0
			for i, text := range texts {
				want := strings.ReplaceAll(csvrowtest.Text(text), "\x00", "\u2400")
				if guard {
					want = csvrowtest.Guard(want)
				}
				shown := func(column int, kind, value string) {
					checked++
					got := sheetCell{}
					if column < len(rows[i+1]) {
						got = rows[i+1][column]
					}
					if got.kind != kind || got.value != value {
						if wrong++; wrong < 40 {
							t.Errorf("%s, guard %t: %.90q in column %d is the %s %.90q, want the %s %.90q", language, guard, text, column, got.kind, got.value, kind, value)
						}
					}
				}
				kind := "string"
				if want == "" {
					kind = ""
				}
				shown(0, "string", fmt.Sprintf("%05d", i))
				shown(2, kind, spaced(want))
				shown(11, kind, spaced(want))
				shown(10, "date", at.AddDate(0, 0, -i).Format("2006-01-02T15:04:05"))
				shown(14, "date", at.AddDate(0, 0, -30*i).Format(time.DateOnly))
				shown(17, "string", strconv.FormatBool(i%2 == 0))
				kind, value := storedNumber(storedNumbers[i%len(storedNumbers)])
				shown(6, kind, value)
			}
			t.Logf("%s, guard %t: %d of %d cells are what was stored, of their type", language, guard, checked-wrong, checked)
		}
	}
}

// spaced is a text as a document of LibreOffice has it: one kind of line break, no other control characters,
// and no TAB where it has lines.
func spaced(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\n\r", "\n", "\r", "\n").Replace(s)
	lines := strings.Contains(s, "\n")
	return strings.Map(func(r rune) rune {
		if r < ' ' && (r != '\t' || lines) && r != '\n' || r == 0xfffe || r == 0xffff {
			return -1
		}
		return r
	}, s)
}

// storedNumber is what a number is in a sheet, to 15 digits.
func storedNumber(v any) (kind, value string) {
	text := csvrowtest.Text(v)
	if slices.Contains(longNumbers, v) {
		return "string", text
	}
	f, _ := strconv.ParseFloat(text, 64)
	return "float", sheetNumber(f)
}

func sheetNumber(f float64) string { return strconv.FormatFloat(f+0, 'e', 14, 64) }

// TestLibreOfficeExcelSplit opens a file for Excel split at TAB, and at other characters besides, with marks
// of quotation that are not its own: no text becomes a formula that computes.
func TestLibreOfficeExcelSplit(t *testing.T) {
	t.Parallel()
	ours := regexp.MustCompile(`^of:=("([^"]|"")*"(&"([^"]|"")*")*|-?[0-9]+(/10+|(\.[0-9]+)?E[-+][0-9]+)?)$`)
	texts := append(append([]string{}, takenTexts...), guardedTexts...)
	for _, begin := range []string{"&", "*", "/", "^", "<>", "<", "=", ">", "%&", "~", "!", ":", ";", ",", "+", "-", " ", "", "(", ")&", "'", "\"&", "\"\"&", "&\"\"&"} {
		texts = append(texts, begin+`HYPERLINK("http://x.example")`, begin+"SUM(1)", begin+"5", "\""+begin+"SUM(1)")
	}
	e := csvrow.NewEncoder(dataset.VIPUsers, csvrow.Options{Excel: true, FormulaGuard: true})
	file := e.AppendHeader(nil)
	for i, text := range texts {
		var err error
		file, err = e.AppendRow(file, csvrowtest.Document(fmt.Sprintf("d/c/%05d", i), map[string]any{
			"displayName": text, "avatarUrl": texts[(i+1)%len(texts)], "ltv": storedNumbers[i%len(storedNumbers)], "currency": text, "tags": []any{text, "1"},
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, separator := range []string{"9", "44/59/9", "44/59/9/124/58/32"} {
		for name, mark := range map[string]string{"double quotes": "34", "single quotes": "39", "none": ""} {
			literals, errors, computed := 0, 0, 0
			for _, row := range cellsOf(t, convert(t, file, "CSV:"+separator+","+mark+",65535,1,,1033,false,true,false,false,false,-1,true", "fods")) {
				for _, c := range row {
					switch {
					case c.formula == "":
					case ours.MatchString(c.formula):
						literals++
					case c.broken:
						errors++
					default:
						if computed++; computed < 20 {
							t.Errorf("separators %s, %s: %.200q computes %.90q", separator, name, c.formula, c.value)
						}
					}
				}
			}
			t.Logf("separators %s, %s: %d formulas of literals, %d that are none, %d that compute", separator, name, literals, errors, computed)
		}
	}
}

// sheetCell is a cell of a sheet; broken is a formula that is none.
type sheetCell struct {
	kind, value, formula string
	broken               bool
}

// cellsOf reads the cells of a flat document of LibreOffice.
func cellsOf(t *testing.T, fods []byte) (rows [][]sheetCell) {
	t.Helper()
	type cell struct {
		Kind     string `xml:"urn:oasis:names:tc:opendocument:xmlns:office:1.0 value-type,attr"`
		Shown    string `xml:"urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0 value-type,attr"`
		Value    string `xml:"value,attr"`
		Date     string `xml:"date-value,attr"`
		Text     string `xml:"string-value,attr"`
		Formula  string `xml:"formula,attr"`
		Repeated int    `xml:"number-columns-repeated,attr"`
		P        []para `xml:"p"`
	}
	var doc struct {
		Rows []struct {
			Repeated int    `xml:"number-rows-repeated,attr"`
			Cells    []cell `xml:"table-cell"`
		} `xml:"body>spreadsheet>table>table-row"`
	}
	if err := xml.Unmarshal(fods, &doc); err != nil {
		t.Fatal(err)
	}
	for _, r := range doc.Rows {
		var row []sheetCell
		for _, c := range r.Cells {
			out := sheetCell{kind: c.Kind, formula: c.Formula, broken: c.Shown == "error"}
			switch c.Kind {
			case "float", "currency", "percentage":
				f, _ := strconv.ParseFloat(c.Value, 64)
				out.value = sheetNumber(f)
			case "date":
				out.value = c.Date
			default:
				lines := make([]string, len(c.P))
				for i, p := range c.P {
					lines[i] = p.text
				}
				if out.value = strings.Join(lines, "\n"); c.Text != "" {
					out.value = c.Text
				}
			}
			for range min(max(c.Repeated, 1), 100) {
				row = append(row, out)
			}
		}
		if len(row) > 0 && row[0].kind != "" {
			rows = append(rows, row)
		}
	}
	return rows
}

// para is a paragraph, whose white space is in elements of its own.
type para struct{ text string }

func (p *para) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	for depth := 0; depth >= 0; {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.CharData:
			p.text += string(token)
		case xml.StartElement:
			depth++
			switch token.Name.Local {
			case "s":
				n := 1
				for _, a := range token.Attr {
					if a.Name.Local == "c" {
						n, _ = strconv.Atoi(a.Value)
					}
				}
				p.text += strings.Repeat(" ", n)
			case "tab":
				p.text += "\t"
			case "line-break":
				p.text += "\n"
			}
		case xml.EndElement:
			depth--
		}
	}
	return nil
}
