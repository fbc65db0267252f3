package dataset_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"exportd/internal/dataset"
)

const example = "../../deployments/examples/datasets.yaml"

func TestExample(t *testing.T) {
	t.Parallel()
	set, err := dataset.Load(example)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := set.Names(), append(dataset.BuiltIn.Names(), "orders", "invoices"); !slices.Equal(got, want) {
		t.Errorf("datasets are %s, want %s", got, want)
	}
	orders := set.Get("orders")
	if got := strings.Join(orders.Headers(), " "); got != "id number status placedAt amount currency customerName tags note" {
		t.Errorf("columns are %s", got)
	}
	if n, m := len(orders.Indexes()), len(set.Get("invoices").Indexes()); n != 4 || m != 4 {
		t.Errorf("%d and %d indexes, want 4 and 4", n, m)
	}
	if got := strings.Join(orders.Unsearched(), " "); got != "customer note placedAt total" {
		t.Errorf("fields that nothing is found by: %s", got)
	}
}

// TestVersionOfShape: what a file is made of changes the version, and words for people do not.
func TestVersionOfShape(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	version := func(old, changed string) int {
		t.Helper()
		text := strings.Replace(string(content), old, changed, 1)
		if text == string(content) && old != "" {
			t.Fatalf("the example has no %q", old)
		}
		set, err := dataset.Parse("x", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return set.Get("orders").Version
	}
	was := version("", "")
	for _, change := range [][2]string{{"- status\n", "- status\n      - shop\n"}, {"collection: Orders", "collection: Orders2"}, {"ascending: true", "ascending: false"},
		{"type: text, ascending", "type: number, ascending"}, {"name: amount}", "name: sum}"}, {"orgField: orgId", "orgField: org"}, {"field: tags, contains", "field: labels, contains"}, {"type: list", "type: text"}} {
		if version(change[0], change[1]) == was {
			t.Errorf("%q for %q leaves the version", change[1], change[0])
		}
	}
	for _, change := range [][2]string{{"title: Orders", "title: All orders"}, {"Only those with this tag.", "With a tag."}, {"What the customer wrote.", "Free text."}} {
		if version(change[0], change[1]) != was {
			t.Errorf("%q for %q changes the version", change[1], change[0])
		}
	}
}

// TestFaults: all that is wrong is named at once, each with its line.
func TestFaults(t *testing.T) {
	t.Parallel()
	_, err := dataset.Load("testdata/faults.yaml")
	faults, ok := errors.AsType[*dataset.Faults](err)
	if !ok {
		t.Fatalf("Load() = %v, want faults", err)
	}
	want, err := os.ReadFile("testdata/faults.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := faults.Error() + "\n"; got != string(want) {
		t.Errorf("faults are\n%s\nwant\n%s", got, want)
	}
	content, err := os.ReadFile("testdata/faults.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(content), "\n") { // a line that is meant to be wrong says so
		named := false
		for _, f := range faults.List {
			named = named || f.Line == i+1
		}
		if wrong := strings.Contains(line, "# wrong"); wrong != named {
			t.Errorf("line %d, %q: named %v, want %v", i+1, line, named, wrong)
		}
	}
}

func TestNoDatasets(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"": "one YAML document", "datasets: []": "", "[]": "must be a map of datasets", "a: [": "is not YAML", "datasets: 1": "must be a list", "datasets: []\ndatasets: []": "is not YAML",
		"---\ndatasets: []\n---\ndatasets: []\n": "one YAML document", "x: 1": `"x" is not known`, strings.Repeat("#", 2<<20): "bytes", "datasets: [&a {}, *a]": "must be a map",
		"datasets: [" + strings.Repeat("{},", 51) + "]": "at most 50",
	} {
		_, err := dataset.Parse("f.yaml", []byte(content))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%.40q) = %v, want %q", content, err, want)
		}
	}
}

// FuzzParse: no content panics, and what is accepted has names that nothing else trips over.
func FuzzParse(f *testing.F) {
	for _, path := range []string{example, "testdata/faults.yaml"} {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		set, err := dataset.Parse("f", content)
		if err != nil {
			if faults, ok := errors.AsType[*dataset.Faults](err); !ok || len(faults.List) == 0 {
				t.Errorf("Parse() = %v, want faults", err)
			}
			return
		}
		for _, d := range set {
			if !d.Kind().Valid() || d.Version < 1 || len(d.Columns) < 2 || len(d.Indexes()) > 16 || strings.ContainsAny(fmt.Sprint(d.Headers()), "\n\r,\";") {
				t.Errorf("accepted %+v", d)
			}
		}
	})
}

// TestSchema: what editors check a file by agrees with what is read, for each of the changes that break the
// example.
func TestSchema(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile("../../deployments/datasets.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	accepts := func(text string) error {
		raw, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	if err := accepts(string(content)); err != nil {
		t.Errorf("the schema refuses the example: %v", err)
	}
	for _, change := range [][2]string{
		{"name: orders", "name: Orders"}, {"title: Orders", "title: 7"}, {"{orgField: orgId}", "{field: orgId}"}, {"{orgField: orgId}", "all"}, {"type: text, asc", "type: texts, asc"},
		{"ascending: true", "ascending: 1"}, {"equals: text,", ""}, {"contains: text", "contains: number"}, {"contains: text", "contains: text, equals: text"}, {"- status\n", "- a..b\n"},
		{"type: list", "type: lists"}, {"name: currency", "name: \"a,b\""}, {"min: 2000", "min: 0"}, {"param: status", "param: Status"}, {"    collection: Orders\n", ""}, {"note, doc", "note, docs"},
	} {
		text := strings.Replace(string(content), change[0], change[1], 1)
		if text == string(content) {
			t.Fatalf("the example has no %q", change[0])
		}
		_, err := dataset.Parse("x", []byte(text))
		if invalid := accepts(text); err == nil || invalid == nil {
			t.Errorf("with %q: read: %v; by the schema: %v; both should refuse it", change[1], err, invalid)
		}
	}
}
