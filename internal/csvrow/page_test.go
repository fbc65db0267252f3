package csvrow_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/machinetest"
)

// page is what callers are told of files.
func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../api/file.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPageColumns: the page's tables have the columns that files have, in their order and with their types.
func TestPageColumns(t *testing.T) {
	t.Parallel()
	_, rest, _ := strings.Cut(page(t), "\n## Columns\n")
	for _, d := range []*dataset.Dataset{dataset.VIPUsers, dataset.VIPMessages} {
		var want []string
		for _, c := range d.Columns {
			path := ""
			if c.Path != c.Header() {
				path = "`" + c.Path + "` "
			}
			want = append(want, fmt.Sprintf("| `%s` | %s| %s |", c.Header(), path, typeNames[c.Type]))
		}
		_, table, _ := strings.Cut(rest, "\n"+d.Title+":\n\n")
		table, _, _ = strings.Cut(table, "\n\n")
		got := regexp.MustCompile("(?m)^(\\| `[^|]*\\|[^|]*\\|[^|]*\\|).*$").FindAllStringSubmatch(table, -1)
		var lines []string
		for _, line := range got {
			lines = append(lines, line[1])
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("%s: the dataset (-) and the page (+) differ:\n%s", d.Title, diff)
		}
	}
}

var typeNames = map[dataset.Type]string{dataset.Text: "text", dataset.Number: "number", dataset.Time: "time", dataset.Date: "date", dataset.Array: "list"}

// TestPagePython runs the page's Python on a guarded file of all that is nasty: what was stored comes back,
// but for what the page says is changed.
func TestPagePython(t *testing.T) {
	t.Parallel()
	machinetest.Program(t, "python3")
	e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{FormulaGuard: true, BOM: true})
	file := e.AppendHeader(nil)
	var want [][]string
	for i, text := range append(hazards(t), strings.Repeat("x\"\r\n", 1<<16), "") {
		labels := []any{text, "a;b\\;c", nil, "-" + text}
		var err error
		if file, err = e.AppendRow(file, csvrowtest.Document(fmt.Sprintf("d/c/%d", i), map[string]any{"text": text, "labels": labels})); err != nil {
			t.Fatal(err)
		}
		text = strings.ReplaceAll(string([]rune(text)), "\x00", "\u2400")
		want = append(want, []string{text, text, "a;b\\;c", "", "-" + text})
	}
	folder := t.TempDir()
	program := ""
	for _, block := range regexp.MustCompile("(?s)\n```python\n(.*?)```").FindAllStringSubmatch(page(t), -1) {
		program += block[1]
	}
	program += "import json\nwith open('rows.json', 'w') as file:\n" +
		"    json.dump([[stored(row['text']), *elements(stored(row['labels']))] for row in rows], file)\n"
	for name, content := range map[string]string{"export.csv": string(file), "page.py": program} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "python3", "page.py")
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := os.ReadFile(filepath.Join(folder, "rows.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what was stored (-) and what the page's Python reads (+) differ:\n%.3000s", diff)
	}
}
