package e2etest

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// Commands are a block of shell commands in a runbook, fenced as "sh": an operator copies it whole.
type Commands struct {
	Text string // as printed
	// Needs is the word behind "sh": what the commands need that no test has, "cluster" or "google"; "" for
	// nothing.
	Needs string
	// Shows are the lines of the block fenced as "text" that follows, which is what one sees: each is a line
	// of the output, in this order, with spaces as they come, and "..." for anything.
	Shows []string
	// Exit is how the commands end: 0, or N where the text's fence says "exit=N".
	Exit int
	Then bool // they come after "**Then.**"
	line int
}

var fence = regexp.MustCompile("^( *)```(\\w*) ?(.*)$")

// Runbook gives the blocks of commands of a runbook.
func Runbook(path string) (blocks []Commands, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	then, open, indent, more, body := false, "", "", "", []string(nil)
	for n, line := range strings.Split(string(raw), "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case m == nil && open == "":
			then = then || strings.HasPrefix(line, "**Then.**")
		case m == nil:
			body = append(body, strings.TrimPrefix(line, indent))
		case open == "":
			open, indent, more, body = m[2]+"?", m[1], m[3], nil
		default:
			switch last := len(blocks) - 1; {
			case open == "sh?":
				blocks = append(blocks, Commands{Text: strings.Join(body, "\n"), Needs: more, Then: then, line: n + 1})
			case open == "text?" && last >= 0 && blocks[last].Shows == nil:
				blocks[last].Shows = body
				if code, ok := strings.CutPrefix(more, "exit="); ok {
					if blocks[last].Exit, err = strconv.Atoi(code); err != nil {
						return nil, fmt.Errorf("%s:%d: exit=%q is no number", path, n+1, code)
					}
				}
			default:
				return nil, fmt.Errorf("%s:%d: a block of %q is neither commands nor what they show", path, n+1, strings.TrimSuffix(open, "?"))
			}
			open = ""
		}
	}
	if open != "" {
		return nil, fmt.Errorf("%s: a block does not end", path)
	}
	return blocks, nil
}

// Where says which block of a runbook it is.
func (c Commands) Where() string { return "the block that ends in line " + strconv.Itoa(c.line) }

// Missing gives the first line that the commands should show and out does not have after those before it; ""
// if it has all. $NAME in a line is value("NAME").
func (c Commands) Missing(out string, value func(string) string) string {
	lines := strings.Split(out, "\n")
	for _, want := range c.Shows {
		if strings.Trim(want, ". ") == "" {
			continue
		}
		parts := strings.Split(os.Expand(strings.Join(strings.Fields(want), " "), value), "...")
		for i, p := range parts {
			parts[i] = regexp.QuoteMeta(p)
		}
		match := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
		at := -1
		for i, line := range lines {
			if match.MatchString(strings.Join(strings.Fields(line), " ")) {
				at = i
				break
			}
		}
		if at < 0 {
			return want
		}
		lines = lines[at+1:]
	}
	return ""
}
