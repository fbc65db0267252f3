package config

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the README's table of settings")

// TestReadme holds the README's table of settings against the one that is read.
func TestReadme(t *testing.T) {
	t.Parallel()
	const readme, begin, end = "../../README.md", "-update` -->\n", "<!-- /settings -->"
	body, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(body), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has lost the marks around its table of settings")
	}
	want := head + begin + settingsMarkdown() + end + tail
	if want == string(body) {
		return
	}
	if !*update {
		t.Fatal("README.md has another table of settings than this package; run: go test ./internal/config -run TestReadme -update")
	}
	if err := os.WriteFile(readme, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

func settingsMarkdown() string {
	var b strings.Builder
	b.WriteString("\n| variable | default | meaning |\n|---|---|---|\n")
	for _, s := range Settings() {
		def := ""
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Var, def, s.Meaning())
	}
	b.WriteString("\n")
	return b.String()
}
