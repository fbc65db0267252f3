//go:build libreoffice

package export_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"exportd/internal/dataset"
	"exportd/internal/export"
	"exportd/internal/machinetest"
)

// TestLibreOfficeSheets opens the files of a zip as a double-click does: each has its header and its rows,
// and each row all of its cells.
func TestLibreOfficeSheets(t *testing.T) {
	t.Parallel()
	r, j := newRig(t, &source{}, export.Config{}), forExcel(100)
	res, _, err := r.Compose(t.Context(), j, r.inParts(t, j, users(t, 330, 20), 45), j.ResultName())
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	zipped := unzip(t, r.read(t, res.Object))
	var paths []string
	for _, f := range zipped {
		path := filepath.Join(folder, f.Name)
		if err := os.WriteFile(path, f.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	out := machinetest.LibreOffice(t, "CSV:9,34,65535,1,,1033,false,true,false,false,false,-1,true", "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true", paths...)
	total := 0
	for _, f := range zipped {
		raw, err := os.ReadFile(filepath.Join(out, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(bytes.NewReader(raw)).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		if header := dataset.VIPUsers.Headers(); !slices.Equal(rows[0], header) {
			t.Errorf("%s begins with %q", f.Name, rows[0])
		}
		for i, want := 0, total; i < len(rows)-1; i++ {
			if row := rows[i+1]; row[0] != fmt.Sprintf("u%d", want+i) || len(row) != len(rows[0]) {
				t.Errorf("row %d of %s is %q", i, f.Name, row)
			}
		}
		total += len(rows) - 1
	}
	if total != 330 || len(zipped) != 4 {
		t.Errorf("LibreOffice finds %d rows in %d sheets", total, len(zipped))
	}
}
