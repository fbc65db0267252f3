package csvrow_test

import (
	"fmt"
	"strings"
	"testing"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
)

// guardedTexts are ways to hide a formula from a guard that looks at the beginning of a cell.
var guardedTexts = func() (texts []string) {
	formulas := []string{"=1+1", "+1+1", "-2+3", "@SUM(1)", "=cmd|' /C calc'!A0", "\uff1d1+1", "\uff0b1", "\uff0d1+1", "\uff20x", "=", "==1"}
	hides := []string{"%s", "x;%s", "x,%s", "x\t%s", "x\r\n%s\r\n", "x\n%s", "x|%s", "x\v%s", "x\f%s", "x: %s", "x:%s", "x %s", " %s", "\t%s", "\"%s\"", "x;\"%s\"",
		"x; \" %s", "'%s", "x;''%s", "x,y;\"%s", "x\";%s", "\";%s;\"", "\u00a0%s", "\ufeff%s", "x\u2028%s", "%[1]s;%[1]s", "{%s}", "x\\;%s"}
	for _, hide := range hides {
		for _, formula := range formulas {
			texts = append(texts, fmt.Sprintf(hide, formula))
		}
	}
	return texts
}()

func TestGuard(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"+41790000000": "+41790000000", "-5": "-5", "-1.5E+3": "-1.5E+3", "+.5": "+.5", "-2+3": "'-2+3", "-": "'-", "-5.": "-5.", "+1e": "'+1e", "+41 79": "'+41 79",
		"'-5": "''-5", "safe;=1+1": "safe;'=1+1", "-5;x": "'-5;x", "x;-5": "x;'-5", "a = b": "a '= b", "a-b": "a-b", "a=b": "a=b", "hi -b, @c": "hi -b, '@c",
		"see you :-)": "see you :-)", "''": "''", "x;'": "x;'", "\uff1d1": "'\uff1d1", "\uff08x": "\uff08x", "\xef": "\ufffd", "=\x00": "\"'=\u2400\"",
	} {
		e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{FormulaGuard: true})
		row, err := e.AppendRow(nil, csvrowtest.Document("d/c/-5", map[string]any{"playerId": text}))
		if err != nil {
			t.Fatal(err)
		}
		cell, _ := strings.CutPrefix(string(row), "'-5,,") // no id is a number to a spreadsheet that joins it with what follows
		cell, _ = strings.CutSuffix(cell, ",,,,,\r\n")
		if cell = strings.TrimSuffix(strings.TrimPrefix(cell, `"`), `"`); cell != strings.Trim(want, `"`) {
			t.Errorf("%q is written as %q, want %q", text, cell, want)
		}
		changed := int64(1)
		if cell != text && !strings.Contains(want, "'") || cell == text {
			changed = 0
		}
		if got := e.Guarded(); got["playerId"] != changed || got["id"] != 1 || len(got) != int(1+changed) {
			t.Errorf("%q counts as the guarded cells %v, want %d of playerId", text, got, changed)
		}
	}
}
