package api

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"exportd/internal/dataset"
	"exportd/internal/records"
	"exportd/internal/vip"
)

var update = flag.Bool("update", false, "write the generated parts of openapi.yaml anew")

// TestDatasetParts: the parts of openapi.yaml that follow from datasets are what those give.
func TestDatasetParts(t *testing.T) {
	t.Parallel()
	for _, part := range datasetParts {
		begin, end := fmt.Sprintf(partBegins, part.name), fmt.Sprintf(partEnds, part.name)
		if strings.Count(string(openapiYAML), begin) != 1 || strings.Count(string(openapiYAML), end) != 1 || strings.Index(string(openapiYAML), begin) > strings.Index(string(openapiYAML), end) {
			t.Fatalf("openapi.yaml lacks the marks of the %s of datasets", part.name)
		}
	}
	want := withDatasets(string(openapiYAML), dataset.BuiltIn)
	if *update {
		if err := os.WriteFile("openapi.yaml", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(openapiYAML) != want {
		t.Error("openapi.yaml is not what the datasets give: make generate")
	}
}

// TestDatasetsOfAFile: an installation's own datasets have routes, and the document that it answers with is
// whole and says what they answer.
func TestDatasetsOfAFile(t *testing.T) {
	t.Parallel()
	set, err := dataset.Load("../deployments/examples/datasets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(c *Config) { c.Datasets = set })
	plain, err := openapiJSON(set)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(plain.plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Error(err)
	}
	for _, r := range b.routes() {
		if path := regexp.MustCompile(`:(\w+)`).ReplaceAllString(r.path, "{$1}"); doc.Paths.Find(path) == nil {
			t.Errorf("%s is not in the document", path)
		}
	}
	if got := doc.Components.Schemas["Kind"].Value.Enum; len(got) != len(set) {
		t.Errorf("kinds = %v", got)
	}

	ask := func(path string) *httptest.ResponseRecorder { // not by get: the contract of tests has no such routes
		w := httptest.NewRecorder()
		b.ServeHTTP(w, request(t, "key_one1", http.MethodGet, path))
		return w
	}
	b.records.page = records.Page{Rows: rowOf(t, set.Get("orders"), "o1", map[string]any{"number": "A-7", "total": map[string]any{"amount": 12.5}, "tags": []any{"x"}}), Next: &vip.Position{Key: vip.TextKey("A-7"), ID: "o1"}}
	path := "/orders?status=paid&tag=x"
	w := ask(path)
	wantStatus(t, w, http.StatusOK)
	page := decode(t, w)
	row, _ := json.Marshal(page["rows"])
	if want := `[{"customer":{"name":""},"id":"o1","note":"","number":"A-7","placedAt":null,"status":"","tags":["x"],"total":{"amount":12.5,"currency":""}}]`; string(row) != want {
		t.Errorf("rows = %s, want %s", row, want)
	}
	if got := fmt.Sprint(b.records.query.Conditions); got != "[{orgId 0 org1} {status 0 paid} {tags 1 x}]" || !b.records.query.Ascending {
		t.Errorf("query = %+v", b.records.query)
	}
	cursor, _ := page["nextCursor"].(string)
	wantStatus(t, ask(path+"&cursor="+cursor), http.StatusOK)
	if b.records.after == nil || b.records.after.ID != "o1" {
		t.Errorf("the page after the cursor begins at %+v", b.records.after)
	}
	for query, name := range map[string]string{"?status=lost": "status", "?cursor=" + cursor: "cursor", "?workspaceId=ws1": "workspaceId", "?offset=1": "offset", "?cursor=2026-01-01": "cursor"} {
		w := ask("/orders" + query)
		if wantStatus(t, w, http.StatusUnprocessableEntity); !strings.Contains(w.Body.String(), `"`+name+`"`) {
			t.Errorf("%s: %s", query, w.Body)
		}
	}
	wantStatus(t, ask("/invoices/export?overdue=true&year=2026"), http.StatusAccepted)
	sub := b.jobs.submitted[0]
	params, _ := json.Marshal(sub.Params)
	if want := `{"overdue":true,"year":2026,"profile":"rfc4180","formulaGuard":true}`; string(params) != want || sub.Kind != "invoices" || sub.Columns != set.Get("invoices").Version {
		t.Errorf("submission = %s %d %s, want %s", sub.Kind, sub.Columns, params, want)
	}
	wantStatus(t, ask("/exports?kind=orders"), http.StatusOK)
}

// TestParamsOfAnyGate: a kind whose gate takes no workspace makes no pointer of it in the Go client, which
// exportctl would not compile with.
func TestParamsOfAnyGate(t *testing.T) {
	t.Parallel()
	org := &dataset.Dataset{Name: "notes", Gate: dataset.Gate{OrgField: "orgId"}}
	for _, set := range []dataset.Set{dataset.BuiltIn, append(slices.Clone(dataset.BuiltIn), org)} {
		text := paramsText(set)
		for _, name := range []string{dataset.Workspace, dataset.Medium} {
			if want := name + ": {type: string, x-go-type-skip-optional-pointer: true}"; !strings.Contains(text, want) {
				t.Errorf("the parameters of %v lack %q:\n%s", set.Names(), want, text)
			}
		}
	}
}

// TestNamesOfRoutes: no dataset of a file can have the name of another route, which would be a panic of the
// router's.
func TestNamesOfRoutes(t *testing.T) {
	t.Parallel()
	load := func(name string) error {
		_, err := dataset.Parse("test", fmt.Appendf(nil, "datasets:\n- {name: %s, title: T, collection: C, gate: {orgField: orgId}, sort: {field: f, type: text}, columns: [f]}\n", name))
		return err
	}
	if err := load("orders"); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, r := range newBench(t).routes() {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.path, "/"), "/")
		name, _, _ = strings.Cut(name, ".") // openapi.json: a name cannot have the rest
		if seen++; load(name) == nil {
			t.Errorf("a dataset can be named %s, as the route %s is", name, r.path)
		}
	}
	if seen < 30 {
		t.Errorf("%d routes", seen)
	}
}
