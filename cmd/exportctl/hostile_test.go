package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/spf13/cobra"

	"exportd/internal/dataset"
	"exportd/internal/webhook"
)

// hostileText would retitle the terminal, colour, turn and hide text, and forge lines. It has each C0 and C1
// control character, and each mark that turns text or has no width.
var hostileText = func() string {
	text := "x\x1b]0;owned\x07\u009b31m\u202eturned\rFORGED x\nFORGED x"
	for r := range rune(0xa0) {
		if r < ' ' || r >= 0x7f {
			text += string(r)
		}
	}
	return text + "\u061c\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u2060\u2066\u2067\u2068\u2069\ufeff\U000e0041"
}()

// local are the commands that ask the service for nothing, and what is hostile instead: the file of profiles,
// arguments, and who calls back.
var local = map[string]func(t *testing.T, c call, form []string) []result{
	"callbacks listen": hostileCallbacks,
	"conformance client": func(t *testing.T, c call, form []string) (all []result) {
		c.vars = map[string]string{"EXPORTCTL_URL": "http://127.0.0.1:1", "EXPORTCTL_KEY": "k", "EXPORTCTL_SECRET": "s"}
		for _, program := range [][]string{{"false"}, {"sh", "-c", `printf '%s' "$0"; exit 1`, strings.ReplaceAll(hostileText, "\x00", "")}, {hostileText}} {
			all = append(all, c.run(t.Context(), append(append([]string{"conformance", "client"}, form...), append([]string{"--"}, program...)...)...))
		}
		return all
	},
	"conformance receiver": func(t *testing.T, c call, form []string) (all []result) {
		for _, url := range []string{"http://127.0.0.1:1/", "http://127.0.0.1:1/" + hostileText, hostileText} {
			all = append(all, c.run(t.Context(), append([]string{"conformance", "receiver", url, "--secret", trialSecret}, form...)...))
		}
		return all
	},
	"profiles list": hostileProfiles("profiles", "list"), "profiles remove": hostileProfiles("profiles", "remove", hostileText), "profiles use": hostileProfiles("profiles", "use", hostileText),
	"profiles add": hostileProfiles("profiles", "add", hostileText, "--url", "http://127.0.0.1", "--key", hostileText),
	"sign":         hostileProfiles("sign", hostileText),
}

// hostileFlags are what commands need besides arguments.
var hostileFlags = map[string][]string{
	"keys create": {"--org", "org_1", "--scope", "read", "--reason", "r"},
	"ops rerun":   {"--reason", "r"}, "ops cancel": {"--reason", "r"}, "ops callbacks redeliver": {"--reason", "r"},
	"ops batches pause": {"--reason", "r"}, "ops batches resume": {"--reason", "r"}, "ops batches cancel": {"--reason", "r"}, "ops causes rerun": {"--reason", "r"}, "ops causes probe": {"--reason", "r"},
	"ops links revoke":     {"--reason", "r"},
	"ops receivers resume": {"--org", "org_1", "--reason", "r"},
	"ops queues pause":     {"--reason", "r"}, "ops queues resume": {"--reason", "r"},
	"keys budget": {"--rows-per-day", "5", "--reason", "r"},
	"keys revoke": {"--reason", "r"}, "keys rotate": {"--reason", "r"},
	"users":    {"-w", "w", "-m", "m"},
	"messages": {"-w", "w", "-m", "m", "--from", "2026-01-01", "--to", "2026-01-02"}, "labels": {"-w", "w", "-m", "m", "--from", "2026-01-01", "--to", "2026-01-02"},
	"channels":         {"-w", "w"},
	"export vip-users": {"-w", "w", "-m", "m", "--detach"}, "export vip-messages": {"-w", "w", "-m", "m", "--from", "2026-01-01", "--to", "2026-01-02"},
	"jobs download": {"-o", "-"}, "jobs verify": {"hostile_test.go"},
}

// hostileMore are other ways to call commands, whose answers are others.
var hostileMore = map[string][][]string{
	"export vip-users":        {{"-w", "w", "-m", "m"}, {"-w", "w", "-m", "m", "-o", "-"}},
	"export vip-messages":     {{"-w", "w", "-m", "m", "--from", "2026-01-01", "--to", "2026-01-02", "--detach"}},
	"ops rerun":               {{"--filter", "state=failed", "--dry-run"}, {"--filter", "state=failed", "--reason", "r", "--yes", "--detach"}, {"--filter", "state=failed", "--reason", "r"}},
	"ops causes rerun":        {{"CALLBACK_GONE-0a1b2c3d4e5f", "--reason", "r", "--yes"}, {"X-0a1b2c3d4e5f", "--reason", "r", "--dry-run"}, {"X-0a1b2c3d4e5f", "--reason", "r", "--yes", "--detach"}},
	"ops causes":              {{"X-0a1b2c3d4e5f"}},
	"ops callbacks redeliver": {{"--filter", "state=exhausted", "--dry-run"}, {"--filter", "state=exhausted", "--reason", "r", "--yes"}},
	"ops links revoke":        {{"--org", "org_1", "--reason", "r"}, {"aaaaaaaaaaaaaaaaaaaaaaaaaa", "--link", "aaaaaaaaaaaaaaaaaaaaaaaaaa", "--reason", "r"}},
	"jobs delete":             {{"aaaaaaaaaaaaaaaaaaaaaaaaaa"}},
	"keys revoke":             {{"key_1", "--reason", "r"}},
	"keys rotate":             {{"key_1", "--reason", "r", "--webhook"}},
}

// hostileProfiles runs a command beside a file of profiles that somebody else wrote.
func hostileProfiles(args ...string) func(*testing.T, call, []string) []result {
	return func(t *testing.T, c call, form []string) (all []result) {
		for _, p := range []profile{{URL: "http://127.0.0.1:1/", Key: hostileText, Secret: "s", Workspace: hostileText, WebhookSecret: hostileText}, {URL: hostileText, Key: "k", Secret: "s"}} {
			home := t.TempDir()
			path := filepath.Join(home, ".config", "exportctl", "config.json")
			for _, name := range []string{hostileText, "prod"} {
				if err := writeConfig(configFile{Default: name, Profiles: map[string]profile{name: p}}, path); err != nil {
					t.Fatal(err)
				}
				c.vars, c.stdin = map[string]string{"HOME": home}, "secret\n"
				all = append(all, c.run(t.Context(), append(slices.Clone(args), form...)...))
			}
			if err := os.WriteFile(path, []byte("{\""+strings.ReplaceAll(hostileText, "\n", "")+"\": 1}"), 0o600); err != nil {
				t.Fatal(err)
			}
			all = append(all, c.run(t.Context(), append(slices.Clone(args), form...)...))
		}
		return all
	}
}

// hostileCallbacks has callbacks come that are signed right, and some that are not.
func hostileCallbacks(t *testing.T, c call, form []string) []result {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout, stderr output
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, c.environment(&stdout, &stderr), append([]string{"callbacks", "listen", "--addr", "127.0.0.1:0", "--secret", secret}, form...))
	}()
	eventually(t, "it listens", func() bool { return strings.Contains(stderr.String(), "for callbacks") })
	_, url, _ := strings.Cut(stderr.String(), "Listening on ")
	url, _, _ = strings.Cut(url, " ")
	parsed, err := webhook.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	event, err := json.Marshal(map[string]any{"type": hostileText, "timestamp": time.Now(), "data": map[string]any{
		"jobId": hostileText, "state": hostileText, "csvUrl": hostileText, "error": map[string]any{"code": hostileText, "message": hostileText}, "more": hostileText}})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{string(event), strings.NewReplacer("\\u009b", "\u009b", "\\u202e", "\u202e").Replace(string(event)), hostileText} {
		for _, signed := range []bool{true, false} {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			id := "msg\u009b\u202e\u0085owned" // a header holds no C0
			at := time.Now()
			r.Header.Set("webhook-id", id)
			r.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
			r.Header.Set("webhook-signature", "v1,\u009b\u202eowned")
			if signed {
				id = "msg_1"
				r.Header.Set("webhook-id", id)
				r.Header.Set("webhook-signature", sign(t, parsed, id, at, body))
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	<-ended
	return []result{{exitOK, stdout.String(), stderr.String()}}
}

func sign(t *testing.T, secret webhook.Secret, id string, at time.Time, body string) string {
	t.Helper()
	signature, err := webhook.Sign(id, at, []byte(body), secret)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// hostileServer answers each operation of the contract with an answer of its form in which every text is
// hostile, or with errors.
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
			if v == "succeeded" || v == "finished" { // what is followed has ended
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

// leaves are the commands that do something.
func leaves() (all []*cobra.Command) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.HasSubCommands() {
			all = append(all, c)
		}
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk((&app{environment: call{}.environment(nil, nil)}).command())
	return all
}

// hostileArgs is a command line of a command that works, with all that it requires.
func hostileArgs(c *cobra.Command, path string, form []string) []string {
	args := strings.Fields(path)
	if _, argument, ok := strings.Cut(c.Use, " "); ok && !strings.HasPrefix(argument, "-") {
		args = append(args, map[bool]string{true: "exports", false: "aaaaaaaaaaaaaaaaaaaaaaaaaa"}[strings.HasPrefix(argument, "QUEUE")])
	}
	flags, listed := hostileFlags[path]
	if !listed { // a dataset's, with what its gate and window require
		for name, value := range map[string]string{"workspace": "w", "medium": "m", "from": "2026-01-01", "to": "2026-01-02"} {
			if f := c.Flags().Lookup(name); f != nil && f.DefValue == "" && isDataset(path) {
				flags = append(flags, "--"+name, value)
			}
		}
	}
	args = append(append(args, flags...), form...)
	if c.Flags().Lookup("yes") != nil {
		args = append(args, "--yes")
	}
	return args
}

// isDataset reports whether a command is of rows or of the export of a built-in dataset.
func isDataset(path string) bool {
	name, export := strings.CutPrefix(path, "export ")
	return slices.ContainsFunc(dataset.BuiltIn, func(d *dataset.Dataset) bool { return export && name == d.Name || name == d.List.Rows })
}

// TestHostileAnswers runs every command there is against a service all of whose texts are hostile, and with
// hostile arguments; those that ask no service against what they do ask: a terminal gets nothing of them that
// it obeys. The list is that of the program, so a new command is in it.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromFile("../../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	urls := map[bool]string{}
	var asked atomic.Int64
	for _, faulty := range []bool{false, true} {
		urls[faulty] = hostileServer(t, doc, faulty, &asked)
	}
	commands, runs, raw := leaves(), 0, 0
	for _, c := range commands {
		_, path, _ := strings.Cut(c.CommandPath(), " ")
		told := 0
		judge := func(what string, terminal bool, r result) {
			runs++
			if strings.Contains(r.stdout+r.stderr, "owned") {
				told++
			}
			for stream, text := range map[string]string{"stdout": r.stdout, "stderr": r.stderr} {
				if terminal { // the bar's own
					text = strings.ReplaceAll(text, "\r\x1b[K", "")
				}
				if found := obeyed(text); found != "" {
					raw++
					t.Errorf("%s, %s (terminal %v): %s has %q: %.600q", path, what, terminal, stream, found, text)
				}
			}
		}
		for _, form := range [][]string{nil, {"--json"}} {
			for _, terminal := range []bool{false, true} {
				at := call{terminal: terminal, noColor: true}
				if run := local[path]; run != nil {
					for _, r := range run(t, at, form) {
						judge(fmt.Sprint(form), terminal, r)
					}
				} else {
					before := asked.Load()
					for _, faulty := range []bool{false, true} {
						at.vars = map[string]string{"EXPORTCTL_URL": urls[faulty], "EXPORTCTL_KEY": "k", "EXPORTCTL_SECRET": "s"}
						ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
						judge(fmt.Sprintf("%v, faulty %v", form, faulty), terminal, at.run(ctx, hostileArgs(c, path, form)...))
						for _, more := range hostileMore[path] {
							at.stdin = "y\n"
							judge(fmt.Sprintf("%v %v, faulty %v", more, form, faulty), terminal, at.run(ctx, append(append(strings.Fields(path), more...), form...)...))
						}
						cancel()
					}
					if asked.Load() == before && form == nil {
						t.Errorf("%s asks nothing: what it needs is missing from hostileFlags, or it belongs to local", path)
					}
				}
				at.vars = map[string]string{"EXPORTCTL_URL": "http://127.0.0.1:1", "EXPORTCTL_KEY": "k", "EXPORTCTL_SECRET": "s"}
				for _, more := range [][]string{{hostileText, hostileText, hostileText}, {"--" + hostileText}, {"--config=" + hostileText}, {"--profile", hostileText}, {"--help"}} {
					args := append(append(strings.Fields(path), more...), form...)
					judge(fmt.Sprintf("%.20q", more), terminal, at.run(t.Context(), args...))
				}
			}
		}
		if told == 0 {
			t.Errorf("%s showed nothing hostile", path)
		}
	}
	if len(commands) < 38 {
		t.Errorf("%d commands", len(commands))
	}
	t.Logf("%d commands, %d of them without the service; %d runs, %d with raw control characters", len(commands), len(local), runs, raw)
}

// obeyed finds what a terminal obeys: all but print and line ends, and a line that somebody else began.
func obeyed(text string) string {
	for i, width := 0, 0; i < len(text); i += width {
		var r rune
		if r, width = utf8.DecodeRuneInString(text[i:]); r != '\n' && !strconv.IsPrint(r) || r == utf8.RuneError && width == 1 {
			return text[i : i+width]
		}
	}
	if strings.Contains(text, "\nFORGED") {
		return "\nFORGED"
	}
	return ""
}
