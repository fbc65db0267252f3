package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"exportd/internal/dataset"
)

// contract judges by openapi.yaml every answer that the tests of this package see.
var contract = newContractOf()

// contractOf is openapi.yaml, made strict: it does not name members that may be added at any time, but an
// answer of this version with a member that it does not name is a mistake in one of both.
type contractOf struct {
	doc        *openapi3.T
	operations []contractOperation

	mu        sync.Mutex
	validated int
	schemas   int            // of these, bodies judged by a schema
	without   map[string]int // answers that no schema judged, by operation and status
	seen      map[string]map[int]int
}

type contractOperation struct {
	name   string // method and path, as in openapi.yaml
	path   *regexp.Regexp
	method string
	route  *routers.Route
}

var pathParameter = regexp.MustCompile(`\{[^}]+\}`)

func newContractOf() *contractOf {
	// A mistake in openapi.yaml shows in TestContractIsOpenAPI; here it would hide all tests.
	d, err := openapiJSON(dataset.BuiltIn)
	if err != nil {
		panic(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(d.plain, &tree); err != nil {
		panic(err)
	}
	closeSchemas(tree)
	strict, err := json.Marshal(tree)
	if err != nil {
		panic(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(strict)
	if err != nil {
		panic(err)
	}
	c := &contractOf{doc: doc, without: map[string]int{}, seen: map[string]map[int]int{}}
	for path, item := range doc.Paths.Map() {
		pattern := regexp.MustCompile("^" + pathParameter.ReplaceAllString(path, "[^/]+") + "$") // paths have no other special characters but .
		for method, operation := range item.Operations() {
			c.operations = append(c.operations, contractOperation{method + " " + path, pattern, method,
				&routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: operation}})
		}
	}
	// /ops/jobs/rerun before /ops/jobs/{jobId}
	slices.SortFunc(c.operations, func(a, b contractOperation) int {
		if n := strings.Count(a.name, "{") - strings.Count(b.name, "{"); n != 0 {
			return n
		}
		return strings.Compare(a.name, b.name)
	})
	return c
}

// closeSchemas forbids members that are not named, in every object schema that names any and is not a base of
// others.
func closeSchemas(node any) {
	switch n := node.(type) {
	case map[string]any:
		_, names := n["properties"]
		_, composed := n["allOf"]
		_, open := n["additionalProperties"]
		if names && n["type"] == "object" && !open || composed {
			n["unevaluatedProperties"] = false
		}
		for key, child := range n {
			if key == "allOf" || key == "example" || key == "examples" {
				continue
			}
			if key == "schemas" {
				schemas := maps.Clone(child.(map[string]any))
				delete(schemas, "JobBase") // what others add to
				delete(schemas, "JobResult")
				child = schemas
			}
			closeSchemas(child)
		}
	case []any:
		for _, child := range n {
			closeSchemas(child)
		}
	}
}

// headersOfAll are on every answer, or are the business of HTTP.
var headersOfAll = []string{"Content-Type", "Content-Length", "Date", "Cache-Control", "Content-Security-Policy", "Referrer-Policy",
	"Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options", "Ratelimit", "Ratelimit-Policy", "Content-Encoding", "Vary"}

// statusesOfDefault are those that "default" in openapi.yaml stands for.
var statusesOfDefault = []int{http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge}

// check judges an answer. What belongs to no operation must be an error that says so.
func (c *contractOf) check(tb testing.TB, r *http.Request, res *http.Response) {
	tb.Helper()
	if res.StatusCode == statusClientGone {
		return // nobody is there to read it
	}
	content := io.Reader(res.Body)
	if res.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if content, err = gzip.NewReader(res.Body); err != nil {
			tb.Fatal(err)
		}
	}
	body, err := io.ReadAll(content)
	if err != nil {
		tb.Error(err)
	}
	operation := c.find(r)
	if operation == nil {
		if res.StatusCode != http.StatusNotFound && !slices.Contains(statusesOfDefault, res.StatusCode) {
			tb.Errorf("%s %s is not in openapi.yaml and was answered with %d", r.Method, r.URL.Path, res.StatusCode)
		}
		operation = &c.operations[0] // any: the form of errors that all have
	} else {
		c.count(operation.name, res.StatusCode)
	}
	if err := c.judge(tb.Context(), operation, r, res, body); err != nil {
		tb.Errorf("%s is answered with %d, not as openapi.yaml says: %v\n%.500s", operation.name, res.StatusCode, err, body)
	}
}

func (c *contractOf) find(r *http.Request) *contractOperation {
	for i, o := range c.operations {
		if o.method == r.Method && o.path.MatchString(r.URL.Path) {
			return &c.operations[i]
		}
	}
	return nil
}

func (c *contractOf) count(name string, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[name] == nil {
		c.seen[name] = map[int]int{}
	}
	c.seen[name][status]++
}

func (c *contractOf) judge(ctx context.Context, o *contractOperation, r *http.Request, res *http.Response, body []byte) error {
	responses := o.route.Operation.Responses
	response := responses.Status(res.StatusCode)
	if response == nil {
		if !slices.Contains(statusesOfDefault, res.StatusCode) && !(res.StatusCode == http.StatusNotFound && c.find(r) == nil) {
			return fmt.Errorf("the status is not listed")
		}
		response = responses.Default()
	}
	for name := range res.Header {
		_, listed := response.Value.Headers[name]
		if !listed && !slices.ContainsFunc(slices.Collect(maps.Keys(response.Value.Headers)), func(h string) bool { return strings.EqualFold(h, name) }) &&
			!slices.Contains(headersOfAll, name) {
			return fmt.Errorf("header %s is not listed", name)
		}
	}
	contentType, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	media := response.Value.Content.Get(contentType)
	switch {
	case len(response.Value.Content) == 0 && len(body) > 0:
		return fmt.Errorf("there should be no body")
	case len(response.Value.Content) > 0 && (media == nil || media.Schema == nil):
		c.mu.Lock()
		c.without[fmt.Sprintf("%s %d %s", o.name, res.StatusCode, contentType)]++
		c.mu.Unlock()
		return fmt.Errorf("there is no schema for %q", contentType)
	}
	if contentType == "text/event-stream" {
		for line := range strings.Lines(string(body)) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				if err := visit(c.doc.Components.Schemas["Job"].Value, []byte(data)); err != nil {
					return fmt.Errorf("event: %w", err)
				}
			}
		}
	}
	isJSON := contentType == "application/json"
	err := openapi3filter.ValidateResponse(ctx, &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: o.route},
		Status:                 res.StatusCode, Header: res.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: !isJSON},
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.validated++
	if isJSON {
		c.schemas++
	}
	return err
}

// report prints the counts when all tests have run.
func (c *contractOf) report(code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	succeeded := 0
	var missed []string
	for _, o := range c.operations {
		if slices.ContainsFunc(slices.Collect(maps.Keys(c.seen[o.name])), func(status int) bool { return status < 400 }) {
			succeeded++
		} else {
			missed = append(missed, o.name)
		}
	}
	fmt.Printf("contract: %d operations, %d of them seen to succeed; %d answers validated, %d of them JSON by schema; %d without a schema\n",
		len(c.operations), succeeded, c.validated, c.schemas, len(c.without))
	if len(missed) > 0 {
		fmt.Printf("contract: not seen to succeed: %s\n", strings.Join(missed, ", "))
	}
	os.Exit(code)
}

// openapi.yaml is OpenAPI 3.1, its examples included.
func TestContractIsOpenAPI(t *testing.T) {
	t.Parallel()
	d, err := openapiJSON(dataset.BuiltIn)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(d.plain)
	if err != nil {
		t.Fatal(err)
	}
	if !doc.IsOpenAPI31OrLater() {
		t.Errorf("openapi = %s, want 3.1", doc.OpenAPI)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Error(err)
	}
	fromYAML, err := openapi3.NewLoader().LoadFromData(openapiYAML) // by another library
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(doc)
	b, _ := json.Marshal(fromYAML)
	if !bytes.Equal(a, b) {
		t.Error("openapi.json is not what openapi.yaml says")
	}
}

// Every route is in openapi.yaml and the other way round.
func TestContractHasAllRoutes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var routes, operations []string
	for _, r := range b.engine.Routes() {
		routes = append(routes, r.Method+" "+regexp.MustCompile(`:(\w+)`).ReplaceAllString(r.Path, "{$1}"))
	}
	signed := map[string]bool{}
	for _, r := range b.routes() {
		signed[r.method+" "+regexp.MustCompile(`:(\w+)`).ReplaceAllString(r.path, "{$1}")] = r.scopes != nil
	}
	for _, o := range contract.operations {
		operations = append(operations, o.name)
		if open := o.route.Operation.Security != nil && len(*o.route.Operation.Security) == 0; open == signed[o.name] {
			t.Errorf("%s is signed: %t, by openapi.yaml: %t", o.name, signed[o.name], !open)
		}
		if o.route.Operation.OperationID == "" || o.route.Operation.Summary == "" || len(o.route.Operation.Tags) != 1 {
			t.Errorf("%s has no operationId, summary or tag", o.name)
		}
	}
	slices.Sort(routes)
	slices.Sort(operations)
	for _, name := range routes {
		if !slices.Contains(operations, name) {
			t.Errorf("%s is not in openapi.yaml", name)
		}
	}
	for _, name := range operations {
		if !slices.Contains(routes, name) {
			t.Errorf("%s is in openapi.yaml and is no route", name)
		}
	}
	t.Logf("contract: %d routes, %d operations", len(routes), len(operations))
}
