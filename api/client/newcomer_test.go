package client_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"exportd/internal/e2e/e2etest"
)

var newcomer = flag.Bool("newcomer", false, "do what the quickstart page says, in each language, and say how long each step takes")

// TestNewcomer does in a clone of this repository what the pages at /docs say, word for word, until there is
// a file that was checked. It is for `make newcomer`: packages are fetched, and the last commit is what is
// cloned. Where PyPI cannot be reached, Debian's python3-setuptools-whl, python3-wheel-whl and python3-venv
// have what pip builds with: PATH=/usr/bin:$PATH PIP_NO_INDEX=1 PIP_FIND_LINKS=/usr/share/python-wheels.
func TestNewcomer(t *testing.T) {
	if !*newcomer {
		t.Skip("installs packages, for make newcomer")
	}
	binary, err := e2etest.Build(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	s := e2etest.Dev(t, binary, t.TempDir(), e2etest.Sizes{Users: 200, Messages: 3000})
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	beside := t.TempDir()
	output(t, beside, nil, "git", "clone", "--quiet", root, "exportd")
	quickstart := readPage(t, "../docs/pages/quickstart.md")
	for _, l := range []struct {
		name, page, program, run string
		install                  *regexp.Regexp
	}{
		{"Go", "../docs/pages/quickstart.md", "quickstart.go", "go run .", regexp.MustCompile("(?s)```\\n(go mod init.*?)```")},
		{"TypeScript", "typescript/README.md", "quickstart.mjs", "node quickstart.mjs", regexp.MustCompile("(?s)```sh\\n(.*?)```")},
		{"Python", "python/README.md", "quickstart.py", "python3 quickstart.py", regexp.MustCompile("(?s)```sh\\n(.*?)```")},
	} {
		t.Run(l.name, func(t *testing.T) {
			install := l.install.FindStringSubmatch(readPage(t, l.page))
			if install == nil || !strings.Contains(quickstart, "`"+l.run+"`") {
				t.Fatalf("the pages do not say how to install, or that %q runs it", l.run)
			}
			folder := filepath.Join(beside, l.name)
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			saved := l.program
			if l.name == "Go" {
				saved = "main.go"
			}
			steps := []string{
				fmt.Sprintf("export URL=%s KEY=%s SECRET=%s W=%s M=%s FROM=%s TO=%s", s.APIURL, s.APIKey, s.Secret, s.WorkspaceID, s.MediumID, s.From, s.To),
				"curl -sS --fail -o " + saved + " $URL/docs/" + l.program, // a program of the page, as it is copied
			}
			steps = append(steps, strings.Split(strings.TrimSpace(install[1]), "\n")...)
			took, said := timed(t, folder, append(steps, l.run))
			if want := fmt.Sprintf("messages.csv has %d rows\n", s.Facts.Messages); !strings.HasSuffix(said, want) {
				t.Errorf("it said %q, want %q", said, want)
			}
			if rows := rowsOf(t, filepath.Join(folder, "messages.csv")); rows != s.Facts.Messages {
				t.Errorf("messages.csv has %d rows, want %d", rows, s.Facts.Messages)
			}
			all := 0.0
			for i, step := range append(steps, l.run) {
				all += took[i]
				t.Logf("%6.1f s  %s", took[i], strings.ReplaceAll(step, s.Secret, "..."))
			}
			t.Logf("%s: %d steps, %.1f s", l.name, len(took), all)
		})
	}
}

func readPage(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// timed runs steps one after the other in one shell, and gives the seconds of each and what all have said.
func timed(t *testing.T, folder string, steps []string) (took []float64, said string) {
	t.Helper()
	const mark = "step ended at "
	var script strings.Builder
	script.WriteString("set -eu\necho '" + mark + "'$(date +%s.%N) >&2\n")
	for _, step := range steps {
		script.WriteString(step + "\necho '" + mark + "'$(date +%s.%N) >&2\n")
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	var out, told bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, &out, &told
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &out, &told)
	}
	var ends []float64
	for line := range strings.Lines(told.String()) {
		if _, at, ok := strings.Cut(line, mark); ok {
			seconds, err := strconv.ParseFloat(strings.TrimSpace(at), 64)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, seconds)
		}
	}
	for i := range steps {
		took = append(took, ends[i+1]-ends[i])
	}
	return took, out.String()
}
