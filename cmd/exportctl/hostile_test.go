package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/spf13/cobra"
)

// hostileText would retitle the terminal, colour, turn and hide text, and forge a line.
const hostileText = "x\x1b]0;owned\x07\u009b31m\u202eturned\u2066\u200b\x7f\u0085\nFORGED x"

// local are commands that ask the service for nothing, and why.
var local = map[string]string{
	"callbacks listen": "shows what others send; TestCallbacks has its own hostile ones",
	"profiles add":     "reads what its user types", "profiles list": "shows what its user typed", "profiles remove": "the same", "profiles use": "the same",
	"sign": "prints a signature",
}

// hostileFlags are what commands need besides arguments.
var hostileFlags = map[string][]string{
	"keys create": {"--org", "org_1", "--scope", "read", "--reason", "r"},
	"ops rerun":   {"--reason", "r"}, "ops cancel": {"--reason", "r"}, "ops callback redeliver": {"--reason", "r"},
	"ops receivers resume": {"--org", "org_1", "--reason", "r"},
	"ops queues pause":     {"--reason", "r"}, "ops queues resume": {"--reason", "r"},
	"keys revoke": {"--reason", "r"}, "keys rotate": {"--reason", "r"},
	"users":    {"-w", "w", "-m", "m"},
	"messages": {"-w", "w", "-m", "m", "--from", "2026-01-01", "--to", "2026-01-02"}, "labels": {"-w", "w", "-m", "m", "--from", "2026-01-01", "--to", "2026-01-02"},
	"channels":         {"-w", "w"},
	"export vip-users": {"-w", "w", "-m", "m", "--detach"}, "export vip-messages": {"-w", "w", "-m", "m", "--from", "2026-01-01", "--to", "2026-01-02"},
	"jobs download": {"-o", "-"},
}

// hostileServer answers each operation of the contract with an answer of its form in which
// every text is hostile, or with errors.
func hostileServer(t *testing.T, doc *openapi3.T, faulty bool, asked *atomic.Int64) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		operation := operationOf(doc, r)
		if faulty || operation == nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_ = json.NewEncoder(w).Encode(map[string]any{"message": hostileText, "errors": []map[string]any{{"path": []string{hostileText}, "type": hostileText, "message": hostileText}}})
			return
		}
		for _, status := range []int{200, 201, 202, 204} {
			response := operation.Responses.Status(status)
			if response == nil {
				continue
			}
			w.WriteHeader(status)
			if media := response.Value.Content.Get("application/json"); media != nil {
				_ = json.NewEncoder(w).Encode(hostileValue(media.Schema.Value, 0))
			}
			return
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func operationOf(doc *openapi3.T, r *http.Request) *openapi3.Operation {
	var found *openapi3.Operation
	names := -1
	for path, item := range doc.Paths.Map() {
		want, got := strings.Split(path, "/"), strings.Split(r.URL.Path, "/")
		same := len(want) == len(got)
		variables := 0
		for i := 0; same && i < len(want); i++ {
			if strings.HasPrefix(want[i], "{") {
				variables++
			} else {
				same = want[i] == got[i]
			}
		}
		if o := item.GetOperation(r.Method); same && o != nil && (names < 0 || variables < names) {
			found, names = o, variables
		}
	}
	return found
}

func hostileValue(s *openapi3.Schema, depth int) any {
	of := func(ref *openapi3.SchemaRef) any {
		if ref == nil || ref.Value == nil || depth > 8 {
			return nil
		}
		return hostileValue(ref.Value, depth+1)
	}
	switch {
	case len(s.AllOf) > 0:
		all := map[string]any{}
		for _, part := range s.AllOf {
			if fields, ok := of(part).(map[string]any); ok {
				for k, v := range fields {
					all[k] = v
				}
			}
		}
		return all
	case len(s.OneOf) > 0:
		return of(s.OneOf[0])
	case len(s.AnyOf) > 0:
		return of(s.AnyOf[0])
	case len(s.Enum) > 0:
		for _, v := range s.Enum {
			if v == "succeeded" {
				return v
			}
		}
		return s.Enum[0]
	case s.Type.Includes("object"):
		fields := map[string]any{}
		for name, p := range s.Properties {
			fields[name] = of(p)
		}
		if s.AdditionalProperties.Schema != nil {
			fields[hostileText] = of(s.AdditionalProperties.Schema)
		}
		return fields
	case s.Type.Includes("array"):
		return []any{of(s.Items), of(s.Items)}
	case s.Type.Includes("integer"), s.Type.Includes("number"):
		return 1
	case s.Type.Includes("boolean"):
		return true
	case s.Format == "date-time":
		return "2026-06-15T12:00:00Z"
	}
	return hostileText
}

// TestHostileAnswers runs every command there is against a service all of whose texts are
// hostile: a terminal gets nothing of them that it obeys.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	var leaves []*cobra.Command
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.HasSubCommands() {
			leaves = append(leaves, c)
		}
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk((&app{environment: call{}.environment(nil, nil)}).command())
	doc, err := openapi3.NewLoader().LoadFromFile("../../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	runs, raw := 0, 0
	for _, c := range leaves {
		_, path, _ := strings.Cut(c.CommandPath(), " ")
		if local[path] != "" {
			continue
		}
		var asked, told atomic.Int64
		for _, faulty := range []bool{false, true} {
			url := hostileServer(t, doc, faulty, &asked)
			for _, form := range [][]string{nil, {"--json"}} {
				for _, terminal := range []bool{false, true} {
					args := strings.Fields(path)
					if _, argument, ok := strings.Cut(c.Use, " "); ok && !strings.HasPrefix(argument, "-") {
						args = append(args, map[bool]string{true: "exports", false: "aaaaaaaaaaaaaaaaaaaaaaaaaa"}[strings.HasPrefix(argument, "QUEUE")])
					}
					args = append(append(args, hostileFlags[path]...), form...)
					if c.Flags().Lookup("yes") != nil {
						args = append(args, "--yes")
					}
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					r := call{vars: map[string]string{"EXPORTCTL_URL": url, "EXPORTCTL_KEY": "k", "EXPORTCTL_SECRET": "s"}, terminal: terminal, noColor: true}.run(ctx, args...)
					cancel()
					runs++
					if strings.Contains(r.stdout+r.stderr, "owned") {
						told.Add(1)
					}
					for stream, text := range map[string]string{"stdout": r.stdout, "stderr": r.stderr} {
						if found := obeyed(text); found != "" {
							raw++
							t.Errorf("%s (terminal %v, faulty %v): %s has %q: %.600q", strings.Join(args, " "), terminal, faulty, stream, found, text)
						}
					}
				}
			}
		}
		if asked.Load() == 0 || told.Load() == 0 {
			t.Errorf("%s asked %d times and showed nothing hostile %d times: what it needs is missing from hostileFlags", path, asked.Load(), told.Load())
		}
	}
	t.Logf("%d commands, %d of them without the service; %d runs, %d with raw control characters", len(leaves), len(local), runs, raw)
}

// obeyed finds what of hostileText came through raw.
func obeyed(text string) string {
	for _, sign := range []string{"\x1b]", "\x07", "\u009b", "\u202e", "\u2066", "\u200b", "\x7f", "\u0085", "\nFORGED"} {
		if strings.Contains(text, sign) {
			return sign
		}
	}
	return ""
}
