package client

import (
	"bytes"
	_ "embed"
	"flag"
	"fmt"
	"go/format"
	"os"
	"slices"
	"strings"
	"testing"
	"text/template"

	"exportd/internal/dataset"
	"exportd/jobs"
)

var update = flag.Bool("update", false, "write generated files anew")

//go:embed request.go.tmpl
var requestTemplate string

// member is a filter as Request has it.
type member struct{ Param, Name, Type, Doc string }

// group is what a dataset has that none before it has.
type group struct {
	Title   string
	Members []member
}

// TestRequestMembers: Request has a member for each filter of the datasets that are built in.
func TestRequestMembers(t *testing.T) {
	t.Parallel()
	want, err := requestOf(dataset.BuiltIn)
	if err != nil {
		t.Fatal(err)
	}
	isGenerated(t, "request.gen.go", want)
}

// isGenerated holds a file to what it is generated as, or with -update writes it so.
func isGenerated(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not what it is generated as (%v): make generate", path, err)
	}
}

func requestOf(set dataset.Set) ([]byte, error) {
	var windows []string
	var groups []group
	var all []member
	for _, d := range set {
		if d.Window != nil {
			windows = append(windows, fmt.Sprintf("%s, at most %d days", d.Title, d.Window.Days))
		}
		g := group{Title: d.Title}
		for _, f := range d.Filters {
			m := memberOf(f)
			i := slices.IndexFunc(all, func(other member) bool { return other.Name == m.Name })
			if i < 0 {
				g.Members, all = append(g.Members, m), append(all, m)
			} else if all[i].Type != m.Type || all[i].Param != m.Param {
				return nil, fmt.Errorf("%s: %s is another type in a dataset before: give one of them another name", d.Name, f.Param)
			}
		}
		if len(g.Members) > 0 {
			groups = append(groups, g)
		}
	}
	var text bytes.Buffer
	err := template.Must(template.New("request").Parse(requestTemplate)).Execute(&text, map[string]any{"Window": strings.Join(windows, ", and of "), "Groups": groups, "File": fileMembers(),
		"Numbers": slices.ContainsFunc(all, func(m member) bool { return strings.HasSuffix(m.Type, "int") })})
	if err != nil {
		return nil, err
	}
	return format.Source(text.Bytes())
}

// fileMembers are those of the file, but for the guard, which one leaves out.
func fileMembers() (list []member) {
	for _, f := range dataset.FileParams {
		if f.Name == jobs.ParamFormulaGuard {
			continue
		}
		m := member{Param: f.Name, Name: goName(f.Name), Type: "string", Doc: f.Short}
		if len(f.Values) > 0 {
			m.Type = f.Schema
			m.Doc += ": " + strings.Join(f.Values, ", ")
		}
		list = append(list, m)
	}
	return list
}

// memberOf leaves a filter out where it has its zero value; where zero means something, the member is a
// pointer.
func memberOf(f dataset.Filter) member {
	m := member{Param: f.Param, Name: goName(f.Param), Type: "string", Doc: f.Doc}
	switch {
	case f.Type == dataset.Flag:
		m.Type = "bool"
	case f.Type == dataset.Number:
		if m.Type = "int"; f.Min <= 0 && f.Max >= 0 {
			m.Type = "*int"
		}
		m.Doc = strings.TrimSpace(fmt.Sprintf("%s %d to %d.", m.Doc, f.Min, f.Max))
	case len(f.Values) > 0:
		m.Type = capital(f.Param) // of client.gen.go
	}
	return m
}

// goName is WorkspaceID of workspaceId.
func goName(param string) string {
	name := capital(param)
	for _, word := range []string{"Id", "Url"} {
		if s, ok := strings.CutSuffix(name, word); ok {
			name = s + strings.ToUpper(word)
		}
	}
	return name
}

// TestRequestMembersOf: every type of filter has its member, zero where it means something too; what cannot
// have one is told.
func TestRequestMembersOf(t *testing.T) {
	t.Parallel()
	one := &dataset.Dataset{Name: "as", Title: "As", Filters: []dataset.Filter{
		{Param: "playerId", Type: dataset.Text, Doc: "Of this player."}, {Param: "open", Type: dataset.Flag},
		{Param: "level", Type: dataset.Number, Min: 0, Max: 9}, {Param: "month", Type: dataset.Number, Min: 1, Max: 12}}}
	got, err := requestOf(dataset.Set{one, {Name: "bs", Title: "Bs", Filters: one.Filters[:1]}})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(got)), " ")
	for _, part := range []string{"PlayerID string // Of this player.", "Open bool", "Level *int // 0 to 9.", "Month int // 1 to 12.", `set("playerId", string(r.PlayerID))`,
		`if r.Level != nil { set("level", strconv.Itoa(*r.Level)) }`, `if r.Open { set("open", "true") }`} {
		if strings.Count(text, part) != 1 {
			t.Errorf("there is not one %s in %s", part, got)
		}
	}
	if strings.Contains(text, "From") || strings.Contains(text, "Of Bs") {
		t.Errorf("there are members of nothing: %s", got)
	}
	if _, err := requestOf(dataset.Set{one, {Name: "bs", Filters: []dataset.Filter{{Param: "open", Type: dataset.Text}}}}); err == nil {
		t.Error("one member of two types = nil error")
	}
}
