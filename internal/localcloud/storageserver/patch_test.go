package storageserver

import (
	"strings"
	"testing"
)

// TestPatchWithNull: null empties what can be empty, and a time that cannot be taken back is not.
func TestPatchWithNull(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{InMemory: true, Lax: true})
	const object = "/storage/v1/b/exports/o/x"
	for _, step := range []struct {
		method, target, body string
		code                 int
		has, lacks           string
	}{
		{"POST", "/storage/v1/b?project=p", `{"name":"exports"}`, 200, "", ""},
		{"POST", "/upload/storage/v1/b/exports/o?uploadType=media&name=x", "data", 200, "", ""},
		{"PATCH", object, `{"customTime":null}`, 200, "", "customTime"},
		{"PATCH", object, `{"temporaryHold":true,"eventBasedHold":true,"customTime":"2026-01-01T00:00:00Z"}`, 200, `"temporaryHold":true`, ""},
		{"DELETE", object, "", 403, "", ""},
		{"PATCH", object, `{"temporaryHold":null}`, 200, `"eventBasedHold":true`, "temporaryHold"},
		{"PATCH", object, `{"eventBasedHold":null}`, 200, `"customTime":"2026-01-01T00:00:00.000000Z"`, "eventBasedHold"},
		{"PATCH", object, `{"customTime":null}`, 400, "Custom time cannot be removed", ""},
		{"DELETE", object, "", 204, "", ""},
	} {
		w := do(t, s, step.method, step.target, step.body)
		body := strings.ReplaceAll(w.Body.String(), `": `, `":`)
		if w.Code != step.code || !strings.Contains(body, step.has) || step.lacks != "" && strings.Contains(body, step.lacks) {
			t.Errorf("%s %s %s = %d %s", step.method, step.target, step.body, w.Code, body)
		}
	}
}
