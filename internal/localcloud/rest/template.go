package rest

import (
	"fmt"
	"regexp"
	"strings"
)

// template is the path of a google.api.http rule, as /v1/{name=projects/*/topics/*}:publish.
// https://cloud.google.com/endpoints/docs/grpc/transcoding#path_template_syntax
type template struct {
	path *regexp.Regexp
	vars []string // the field that each group is
}

func parseTemplate(text string) (*template, error) {
	t := &template{}
	var out strings.Builder
	out.WriteByte('^')
	for rest := text; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			out.WriteString(segments(rest))
			break
		}
		end := strings.IndexByte(rest, '}')
		if end < open {
			return nil, fmt.Errorf("path template %q: braces do not match", text)
		}
		out.WriteString(segments(rest[:open]))
		name, pattern, ok := strings.Cut(rest[open+1:end], "=")
		if !ok {
			pattern = "*"
		}
		t.vars = append(t.vars, name)
		out.WriteString("(" + segments(pattern) + ")")
		rest = rest[end+1:]
	}
	out.WriteByte('$')
	var err error
	t.path, err = regexp.Compile(out.String())
	return t, err
}

// segments is the expression for a path without braces. A verb behind a colon belongs to the method, so no
// last segment of a pattern takes one in. ** is any number of segments, also none.
func segments(pattern string) string {
	return strings.NewReplacer(`/\*\*`, `(?:/[^:]+)?`, `\*\*`, `[^:]*`, `\*`, `[^/:]+`).Replace(regexp.QuoteMeta(pattern))
}

// match returns what the variables are in an escaped path.
func (t *template) match(path string) (values []string, ok bool) {
	m := t.path.FindStringSubmatch(path)
	if m == nil {
		return nil, false
	}
	return m[1:], true
}
