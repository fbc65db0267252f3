//go:build libreoffice || consumers

package csvrow_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/machinetest"
)

// TestLibreOffice opens files of texts that hide a formula with each separator and each mark of quotation
// that a person may choose, and counts the cells that became formulas.
func TestLibreOffice(t *testing.T) {
	t.Parallel()
	separators := []string{"44", "59", "9", "124", "58", "32", "44/59/9", "44/59/9/124/58/32"}
	marks := map[string]string{"double quotes": "34", "single quotes": "39", "none": ""}
	count := func(file []byte, separator, mark string) int {
		return bytes.Count(convert(t, file, "CSV:"+separator+","+mark+",76,1,,0,false,true,false,false,false,-1,true", "fods"), []byte("table:formula="))
	}
	for name, mark := range marks {
		bare := sheet(t, csvrow.Options{})
		if n := count(bare, "44/59/9", mark); n == 0 {
			t.Errorf("%s: without the guard there is no formula cell: the test tests nothing", name)
		} else {
			t.Logf("%s: without the guard %d formula cells, split at comma, semicolon and TAB", name, n)
		}
		for _, bom := range []bool{false, true} {
			file := sheet(t, csvrow.Options{BOM: bom, FormulaGuard: true})
			got := 0
			for _, separator := range separators {
				n := count(file, separator, mark)
				if mark == "39" && strings.Contains(separator, "32") {
					// What is split at spaces and takes ' for a mark of quotation drops the guard's '.
					t.Logf("%s, BOM %v, separators %s: %d formula cells, known", name, bom, separator, n)
					continue
				}
				if got += n; n > 0 {
					t.Errorf("BOM %v, separators %s, %s: %d formula cells, want 0", bom, separator, name, n)
				}
			}
			t.Logf("%s, BOM %v: %d formula cells in %d imports of %d texts in three cells each", name, bom, got, len(separators), len(guardedTexts))
		}
	}
	// As text, and back: what LibreOffice shows gives what was stored by the documented step.
	file := sheet(t, csvrow.Options{BOM: true, FormulaGuard: true})
	columns := "1/2/2/2/3/2/4/2/5/2/6/2/7/2/8/2"
	out := convert(t, file, "CSV:44,34,76,1,"+columns+",0,false,true,false,false,false,-1,true", "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false")
	rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(guardedTexts)+1 {
		t.Fatalf("LibreOffice shows %d rows, want %d", len(rows), len(guardedTexts)+1)
	}
	breaks := strings.NewReplacer("\r\n", "\n", "\r", "\n") // LibreOffice has one kind
	for i, text := range guardedTexts {
		for _, column := range []int{3, 6} {
			if got := csvrowtest.Unguard(rows[i+1][column]); breaks.Replace(got) != breaks.Replace(text) {
				t.Errorf("%q is shown as %q, which gives %q back", text, rows[i+1][column], got)
			}
		}
	}
	t.Logf("%d values recovered by the documented step", 2*len(guardedTexts))
}

// sheet is a file with each text as a cell of its own, in a list, and before another cell.
func sheet(t *testing.T, opts csvrow.Options) []byte {
	t.Helper()
	e := csvrow.NewEncoder(dataset.VIPMessages, opts)
	file := e.AppendHeader(nil)
	for i, text := range guardedTexts {
		var err error
		file, err = e.AppendRow(file, csvrowtest.Document(fmt.Sprintf("d/c/%s%d", []string{"m", "-", "+"}[i%3], i), map[string]any{
			"playerId": "+417900000", "displayName": text, "kind": "-5", "source": "3+2", "text": text, "labels": []any{"safe", text},
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// convert gives what LibreOffice makes of a CSV file.
func convert(t *testing.T, file []byte, in, to string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.csv")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	folder := machinetest.LibreOffice(t, in, to, path)
	kind, _, _ := strings.Cut(to, ":")
	out, err := os.ReadFile(filepath.Join(folder, "in."+kind))
	if err != nil {
		t.Fatal(err)
	}
	return out
}
