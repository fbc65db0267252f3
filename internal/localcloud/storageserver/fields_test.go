package storageserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type schema struct {
	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
}

type description struct {
	Schemas    map[string]schema
	Parameters map[string]any
	Resources  map[string]struct {
		Methods map[string]struct {
			Parameters map[string]struct{ Location string }
		}
	}
}

// discovery is the API's description of itself, as it comes with the generated client.
func discovery(t *testing.T) (api description) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "google.golang.org/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "storage", "v1", "storage-api.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &api); err != nil {
		t.Fatal(err)
	}
	return api
}

// TestEveryField: each field of what is read, and each parameter of the methods that are served, is honoured,
// refused or the service's own, by name. A new one in the API fails here until somebody has decided.
func TestEveryField(t *testing.T) {
	t.Parallel()
	api := discovery(t)
	var walk func(path string, s schema, fields map[string]use)
	walk = func(path string, s schema, fields map[string]use) {
		if s.Items != nil {
			s = *s.Items
		}
		if s.Ref != "" {
			s = api.Schemas[s.Ref]
		}
		for name, inner := range s.Properties {
			full := strings.TrimPrefix(path+"."+name, ".")
			u, known := fields[full]
			if !known {
				t.Errorf("nothing is said of the field %s", full)
				continue
			}
			if u == honoured {
				walk(full, inner, fields)
			}
		}
	}
	walk("", schema{Ref: "Bucket"}, bucketFields)
	walk("", schema{Ref: "Object"}, objectFields)
	walk("", schema{Ref: "ComposeRequest"}, composeFields)
	for name := range api.Parameters {
		if _, known := parameters[name]; !known {
			t.Errorf("nothing is said of the parameter %s", name)
		}
	}
	served := map[string][]string{
		"buckets": {"delete", "get", "insert", "list", "patch", "testIamPermissions"},
		"objects": {"compose", "copy", "delete", "get", "insert", "list", "patch", "rewrite", "update"},
	}
	for resource, methods := range served {
		for _, method := range methods {
			for name, p := range api.Resources[resource].Methods[method].Parameters {
				if _, known := parameters[name]; !known && p.Location == "query" {
					t.Errorf("nothing is said of the parameter %s of %s.%s", name, resource, method)
				}
			}
		}
	}
}

// TestRefusedFields sends each of those that are refused.
func TestRefusedFields(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{Dir: t.TempDir(), Lax: true})
	send := func(method, url, body string, header ...string) (int, string) {
		w := do(t, s, method, url, body, header...)
		return w.Code, w.Body.String()
	}
	if code, body := send("POST", "/storage/v1/b", `{"name":"exports"}`); code != 200 {
		t.Fatal(code, body)
	}
	nested := func(path, value string) string {
		parts := strings.Split(path, ".")
		for _, p := range slices.Backward(parts) {
			value = `{"` + p + `":` + value + `}`
		}
		return value
	}
	for kind, c := range map[string]struct {
		fields      map[string]use
		method, url string
	}{
		"bucket": {bucketFields, "PATCH", "/storage/v1/b/exports"},
		"object": {objectFields, "POST", "/upload/storage/v1/b/exports/o?uploadType=resumable&name=x"},
	} {
		for name, u := range c.fields {
			if u != refused || strings.HasPrefix(name, "lifecycle.") { // in a list: see TestLifecycleRefusals
				continue
			}
			code, body := send(c.method, c.url, nested(name, `{"enabled":true}`))
			if code != http.StatusBadRequest || !strings.Contains(body, "notImplemented") || !strings.Contains(body, name) {
				t.Errorf("%s with %s: %d %s", kind, name, code, body)
			}
			if code, body := send(c.method, c.url, nested(name, `{"enabled":false}`)); code != http.StatusOK {
				t.Errorf("%s with %s off: %d %s", kind, name, code, body)
			}
		}
		if code, body := send(c.method, c.url, `{"unheardOf":true}`); code != http.StatusBadRequest {
			t.Errorf("%s with a field that nobody knows: %d %s", kind, code, body)
		}
	}
	for name, u := range parameters {
		if u != refused {
			continue
		}
		if code, body := send("GET", "/storage/v1/b/exports/o?"+name+"=true", ""); code != http.StatusBadRequest || !strings.Contains(body, name) {
			t.Errorf("parameter %s: %d %s", name, code, body)
		}
	}
	for _, header := range []string{"X-Goog-Encryption-Algorithm", "X-Goog-Encryption-Key", "X-Goog-Copy-Source-Encryption-Key"} {
		for _, url := range []string{"/storage/v1/b/exports/o/x?alt=media", "/exports/x"} {
			if code, body := send("GET", url, "", header, "AES256", "Authorization", "Bearer x"); code != http.StatusBadRequest || !strings.Contains(body, strings.ToLower(header)) {
				t.Errorf("%s at %s: %d %s", header, url, code, body)
			}
		}
	}
	for _, body := range []string{`{"softDeletePolicy":{"retentionDurationSeconds":604800}}`, `{"softDeletePolicy":{"retentionDurationSeconds":"604800"}}`} {
		if code, got := send("PATCH", "/storage/v1/b/exports", body); code != http.StatusOK {
			t.Errorf("%s: %d %s", body, code, got)
		}
	}
	for _, body := range []string{`{"softDeletePolicy":{"retentionDurationSeconds":1.5}}`, `{"softDeletePolicy":{"retentionDurationSeconds":true}}`, `{"labels":7}`, `{"labels":`, `7`, `{"storageClass":["x"]}`} {
		code, got := send("PATCH", "/storage/v1/b/exports", body)
		if code != http.StatusBadRequest || strings.Contains(got, "Go ") || strings.Contains(got, "json:") {
			t.Errorf("%s: %d %s", body, code, got)
		}
	}
}

func TestLifecycleRefusals(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{Dir: t.TempDir(), Lax: true})
	n := 0
	for rule, ok := range map[string]bool{
		`{"action":{"type":"Delete"},"condition":{"age":3}}`:                                              true,
		`{"action":{"type":"Delete"},"condition":{"age":0,"matchesSuffix":[".csv"],"isLive":true}}`:       true,
		`{"action":{"type":"Delete"},"condition":{"numNewerVersions":3}}`:                                 true,
		`{"action":{"type":"AbortIncompleteMultipartUpload"},"condition":{"age":3}}`:                      true,
		`{"action":{"type":"Delete"},"condition":{}}`:                                                     false,
		`{"action":{"type":"Delete"},"condition":{"numNewerVersions":0}}`:                                 true,
		`{"action":{"type":"Delete"},"condition":{"numNewerVersions":null}}`:                              false,
		`{"action":{"type":"Delete"},"condition":{"numNewerVersions":-1}}`:                                false,
		`{"action":{"type":"Delete"},"condition":{"daysSinceCustomTime":2147483648}}`:                     false,
		`{"action":{"type":"Delete"},"condition":{"sizeAboveBytes":"-1"}}`:                                false,
		`{"action":{"type":"Delete"},"condition":{"matchesPrefix":[]}}`:                                   false,
		`{"action":{"type":"Delete"},"condition":{"age":3,"createdBefore":""}}`:                           false,
		`{"action":{"type":"AbortIncompleteMultipartUpload"},"condition":{}}`:                             false,
		`{"action":{"type":"AbortIncompleteMultipartUpload"},"condition":{"age":3,"isLive":true}}`:        false,
		`{"action":{"type":"Delete"},"condition":{"createdBefore":"yesterday"}}`:                          false,
		`{"action":{"type":"Delete"},"condition":{"matchesPattern":"x"}}`:                                 false,
		`{"action":{"type":"SetStorageClass","storageClass":"NEARLINE"},"condition":{"age":3}}`:           false,
		`{"action":{"type":"Delete"}}`:                                                                    false,
		`{"condition":{"age":3}}`:                                                                         false,
		`{"action":{"type":"Delete"},"condition":{"age":3,"unheardOf":1},"other":{"unheardOf":["mine"]}}`: false,
	} {
		n++
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/storage/v1/b", strings.NewReader(fmt.Sprintf(`{"name":"exports%d","lifecycle":{"rule":[%s]}}`, n, rule)))
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if got := w.Code == http.StatusOK; got != ok {
			t.Errorf("%s: %d %s", rule, w.Code, w.Body)
		}
	}
}
