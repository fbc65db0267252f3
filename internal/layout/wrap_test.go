package layout

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "wrap comments anew")

// commentWidth is where comments wrap, a tab being 4 columns.
const commentWidth = 110

// TestCommentWidth: no comment is wider. With -update, all are wrapped at it.
func TestCommentWidth(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir("../..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != "../.." || d.Name() == "node_modules" {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".gen.go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		wrapped, wide := wrapComments(string(source))
		if *update && wrapped != string(source) {
			return os.WriteFile(name, []byte(wrapped), 0o644)
		}
		for _, line := range wide {
			t.Errorf("%s: a comment is wider than %d columns (go test ./internal/layout -run TestCommentWidth -update wraps it): %s", name, commentWidth, line)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var (
	commentLine = regexp.MustCompile(`^(\t*)// ?(.*)$`)
	// Lists, headings, tables, diagrams and links stand as they are.
	noProse = regexp.MustCompile(`^([-*#|+\[<>]|\d+[.)] |  |\t)|^(Output|Unordered output|Deprecated):|[─│└┌]|^$`)
)

// wrapComments wraps the paragraphs of comments that have lines of their own, and names the lines of such
// that are too wide.
func wrapComments(source string) (wrapped string, wide []string) {
	lines := strings.Split(source, "\n")
	var out []string
	quoted := false // within a raw string
	for i := 0; i < len(lines); {
		indent, _, ok := prose(lines[i])
		if quoted || !ok {
			quoted = quoted != (strings.Count(lines[i], "`")%2 == 1 && !strings.HasPrefix(strings.TrimSpace(lines[i]), "//"))
			out = append(out, lines[i])
			i++
			continue
		}
		words, from := []string{}, i
		for ; i < len(lines); i++ {
			in, text, ok := prose(lines[i])
			if !ok || in != indent {
				break
			}
			words = append(words, strings.Split(text, " ")...)
			if columns(lines[i]) > commentWidth && strings.Contains(strings.TrimSpace(text), " ") {
				wide = append(wide, strings.TrimSpace(lines[i]))
			}
		}
		if listed(lines, from, i, indent) {
			out = append(out, lines[from:i]...)
			continue
		}
		out = append(out, fill(indent, words)...)
	}
	return strings.Join(out, "\n"), wide
}

// prose gives the text of a line that is a comment of a paragraph.
func prose(line string) (indent, text string, ok bool) {
	m := commentLine.FindStringSubmatch(line)
	if m == nil || strings.HasPrefix(line[len(m[1]):], "//") && !strings.HasPrefix(line[len(m[1]):], "// ") || noProse.MatchString(m[2]) {
		return "", "", false
	}
	return m[1], m[2], true
}

// listed reports whether a paragraph hangs on a line of a list or a diagram before it.
func listed(lines []string, from, to int, indent string) bool {
	for _, k := range []int{from - 1, to} {
		if k < 0 || k >= len(lines) {
			continue
		}
		m := commentLine.FindStringSubmatch(lines[k])
		if m != nil && m[1] == indent && m[2] != "" && noProse.MatchString(m[2]) && !strings.HasPrefix(m[2], "[") {
			return k == from-1 && !strings.HasPrefix(m[2], "#")
		}
	}
	return false
}

func fill(indent string, words []string) (out []string) {
	line := indent + "//"
	for _, word := range words {
		if line != indent+"//" && columns(line)+1+utf8.RuneCountInString(word) > commentWidth {
			out = append(out, line)
			line = indent + "//"
		}
		line += " " + word
	}
	return append(out, line)
}

// columns is how wide a line is.
func columns(line string) int {
	return utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
}
