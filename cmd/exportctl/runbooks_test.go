package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// shellWord cuts a command line as a shell does that has nothing but double quotes; typed is a command of
// exportctl's in a line, up to a pipe or the end of its brackets.
var (
	shellWord = regexp.MustCompile(`"[^"]*"|\S+`)
	typed     = regexp.MustCompile(`^(?:\w+=\$\()?exportctl ([^|)]+)`)
)

// TestRunbookCommands: what the runbooks tell to type is taken: command, flags and arguments.
func TestRunbookCommands(t *testing.T) {
	t.Parallel()
	books, err := filepath.Glob("../../deployments/runbooks/*.md")
	if err != nil || len(books) < 15 {
		t.Fatal(books, err)
	}
	seen := 0
	for _, path := range books {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(body)) {
			m := typed.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				continue
			}
			rest := m[1]
			seen++
			args := shellWord.FindAllString(rest, -1)
			for i, arg := range args {
				args[i] = strings.Trim(arg, `"`)
			}
			cmd, given, err := (&app{}).command().Find(args)
			if err == nil {
				err = cmd.ParseFlags(given)
			}
			if err == nil {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			// A group of commands takes no arguments, and by itself only shows its help.
			if err != nil || !cmd.Runnable() || cmd.HasSubCommands() && cmd.Flags().NArg() == 0 {
				t.Errorf("%s: exportctl %s: %v", filepath.Base(path), rest, err)
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d commands were found", seen)
	}
}
