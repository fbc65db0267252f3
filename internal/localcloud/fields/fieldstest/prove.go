// Package fieldstest proves of each field that a server honours that it does: there are calls that are
// answered in another way when the field alone is left out.
package fieldstest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Scenario is calls that are made one after the other in a place of their own: $RUN in them is a name that no
// other run has. A text {{N.a.0.b}} is what the answer of call N, from 0, has there.
type Scenario struct {
	Name  string `json:"name"`
	Calls []Call `json:"calls"`
}

// Call is a request: in a file, its method and its JSON.
type Call struct {
	Method  string
	Request map[string]any
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Call) UnmarshalJSON(raw []byte) error {
	return json.Unmarshal(raw, &[]any{&c.Method, &c.Request})
}

// Place is where a request sets a field.
type Place struct {
	Field string
	Path  []any // names of members and indexes of lists
}

// API makes calls.
type API interface {
	// Places are where a request sets fields that the server decides about.
	Places(Call) []Place
	// Do returns what is answered, an error as well, in the form that JSON has.
	Do(testing.TB, Call) any
}

// read reads the scenarios of the package under test.
func read(tb testing.TB) (out []Scenario) {
	tb.Helper()
	path := filepath.Join("testdata", "fields.json")
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		tb.Fatalf("%s: %v", path, err)
	}
	return out
}

// Prove fails for each honoured field that nothing shows to be: no scenario of testdata/fields.json, and not
// elsewhere, which has, by field, the test of the package that shows it, and must fail when the server
// ignores the field, or, after "none: ", why nothing that is answered depends on it.
func Prove(tb testing.TB, api API, honoured []string, elsewhere map[string]string) {
	tb.Helper()
	p := &prover{tb: tb, api: api}
	proven, scenarios := map[string]bool{}, read(tb)
	for _, s := range scenarios {
		want := p.run(s, -1, nil)
		if again := p.run(s, -1, nil); again != want {
			tb.Errorf("%s: answered in two ways, so that it shows nothing:\n%s\n%s", s.Name, want, again)
			continue
		}
		for i, c := range s.Calls {
			for _, place := range api.Places(c) {
				for n := 0; n < 2 && !proven[place.Field] && p.run(s, i, place.Path) != want; n++ {
					proven[place.Field] = n == 1 // once may be by chance
				}
			}
		}
	}
	tests, none := 0, 0
	for _, field := range honoured {
		switch name, reason := strings.CutPrefix(elsewhere[field], "none: "); {
		case reason && proven[field]:
			tb.Errorf("%s has an effect, and is said to have none", field)
		case reason && strings.TrimSpace(name) == "":
			tb.Errorf("%s is said to have no effect, and not why", field)
		case reason:
			none++
		case elsewhere[field] != "":
			tests++
			mustFail(tb, name, field)
		case !proven[field]:
			tb.Errorf("%s is honoured, and nothing shows it", field)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(elsewhere)) {
		if !slices.Contains(honoured, field) {
			tb.Errorf("%s is proven elsewhere, and is not honoured", field)
		}
	}
	tb.Logf("%d fields are honoured: of %d the calls of %d scenarios show it, of %d a test of their own, and of %d nothing is answered that could", len(honoured), len(honoured)-tests-none, len(scenarios), tests, none)
}

type prover struct {
	tb   testing.TB
	api  API
	runs int
}

// run makes the calls of a scenario, with one member of one request left out, and returns what is answered,
// without what differs from run to run.
func (p *prover) run(s Scenario, without int, path []any) string {
	p.tb.Helper()
	p.runs++
	id := fmt.Sprintf("run-%06d", p.runs)
	var answers []any
	for i, c := range s.Calls {
		c = clone(p.tb, c)
		if i == without {
			c.Request, _ = cut(c.Request, path).(map[string]any)
		}
		c.Method, _ = fill(c.Method, id, answers).(string)
		c.Request, _ = fill(c.Request, id, answers).(map[string]any)
		answers = append(answers, p.api.Do(p.tb, c))
	}
	raw, err := json.MarshalIndent(still("", answers), "", " ")
	if err != nil {
		p.tb.Fatal(err)
	}
	return instants.ReplaceAllString(strings.ReplaceAll(string(raw), id, "RUN"), "TIME")
}

// instants are times, and the microseconds that Firestore names versions by in errors.
var instants = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\b\d{16}\b`)

// volatile are members that are there or not, and whose value is another one each time.
var volatile = []string{
	"nextPageToken", "transaction", "resumeToken", "ackId", "messageId", "messageIds", "etag", "generation", "id", "mediaLink", "upload",
	"executionDuration", "debugStats", "projectNumber",
}

func still(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = still(k, e)
		}
	case []any:
		for i, e := range v {
			v[i] = still(name, e)
		}
	default:
		if slices.Contains(volatile, name) && v != "" {
			return "SOME"
		}
	}
	return v
}

func clone(tb testing.TB, c Call) (out Call) {
	tb.Helper()
	raw, err := json.Marshal([]any{c.Method, c.Request})
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// cut returns v without what is at the path.
func cut(v any, path []any) any {
	switch v := v.(type) {
	case map[string]any:
		name, _ := path[0].(string)
		if len(path) == 1 {
			delete(v, name)
		} else {
			v[name] = cut(v[name], path[1:])
		}
	case []any:
		if i, ok := path[0].(int); ok && len(path) > 1 {
			v[i] = cut(v[i], path[1:])
		}
	}
	return v
}

// fill puts in names and what was answered.
func fill(v any, id string, answers []any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = fill(e, id, answers)
		}
	case []any:
		for i, e := range v {
			v[i] = fill(e, id, answers)
		}
	case string:
		if path, ok := strings.CutPrefix(v, "{{"); ok {
			return at(answers, strings.Split(strings.TrimSuffix(path, "}}"), "."))
		}
		return strings.ReplaceAll(v, "$RUN", id)
	}
	return v
}

// at is what is there, "" where there is nothing.
func at(v any, path []string) any {
	for _, name := range path {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				return ""
			}
			v = in[i]
		}
	}
	if v == nil {
		return ""
	}
	return v
}
