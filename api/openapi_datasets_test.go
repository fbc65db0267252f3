package api

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"exportd/internal/dataset"
	"exportd/internal/records"
	"exportd/internal/vip"
)

var update = flag.Bool("update", false, "write the generated parts of openapi.yaml anew")

// TestRowSchemas: the schemas of rows in openapi.yaml are what the datasets give.
func TestRowSchemas(t *testing.T) {
	t.Parallel()
	before, rest, ok := strings.Cut(string(openapiYAML), rowsBegin)
	rows, after, ok2 := strings.Cut(rest, rowsEnd)
	if !ok || !ok2 || strings.Count(string(openapiYAML), routesHere) != 1 {
		t.Fatal("openapi.yaml lacks the marks of generated parts")
	}
	var want strings.Builder
	for _, d := range dataset.BuiltIn {
		want.WriteString(rowSchemas(d))
	}
	if *update {
		if err := os.WriteFile("openapi.yaml", []byte(before+rowsBegin+want.String()+rowsEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if rows != want.String() {
		t.Errorf("the rows in openapi.yaml are not what the datasets give: make generate\n%s\nwant\n%s", rows, want.String())
	}
}

// TestOwnDatasets: an installation's own datasets have routes, and the document that it answers with is whole
// and says what they answer.
func TestOwnDatasets(t *testing.T) {
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
	if got := doc.Components.Schemas["Kind"].Value.Enum; len(got) != 4 {
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
