package main

import (
	"encoding/csv"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"exportd/api/client"
	"exportd/internal/machinetest"
	"exportd/internal/records"
	"exportd/internal/webhook"
)

// sandboxKey makes a key of a sandbox, by the profile of an admin.
func (s *service) sandboxKey(t *testing.T) (vars map[string]string, webhookSecret string) {
	t.Helper()
	var made struct {
		Key                   struct{ KeyID string }
		Secret, WebhookSecret string
	}
	decode(t, s.ctl(t, "keys", "create", "--org", s.OrgID, "--sandbox", "--scope", "read,export", "--reason", "tests", "--json").want(t, exitOK).stdout, &made)
	return map[string]string{"EXPORTCTL_URL": s.APIURL, "EXPORTCTL_KEY": made.Key.KeyID, "EXPORTCTL_SECRET": made.Secret}, made.WebhookSecret
}

// sandbox runs the scenarios that take no time, on the real machinery.
func (s *service) sandbox(t *testing.T) {
	vars, _ := s.sandboxKey(t)
	ctl := func(args ...string) result { return call{vars: vars}.run(t.Context(), args...) }
	export := func(scenario string, args ...string) result {
		return ctl(append([]string{"export", "vip-users", "-w", s.WorkspaceID, "-m", s.MediumID, "--no-cache", "--test-scenario", scenario}, args...)...)
	}
	ctl("workspaces").want(t, exitOK).shows(t, records.SandboxWorkspace)
	ctl("users", "-w", s.WorkspaceID, "-m", s.MediumID).want(t, exitOK).shows(t, "Ada Lovelace")

	rows, err := csv.NewReader(strings.NewReader(export("succeed", "-o", "-").want(t, exitOK).stdout)).ReadAll()
	if err != nil || len(rows) != records.SandboxRows+1 || rows[1][0] != "sandbox-000" || rows[records.SandboxRows][0] != "sandbox-119" {
		t.Errorf("the file has %d rows: %v", len(rows)-1, err)
	}
	export("fail-retryable", "-o", "-").want(t, exitJobFailed).says(t, "UNAVAILABLE", "the same request may work later")
	export("fail-final", "-o", "-").want(t, exitJobFailed).says(t, "TOO_MANY_ROWS", "will fail again")
	for _, scenario := range []string{"rate-limit", "unavailable"} { // refused once: the client waits and asks again
		export(scenario, "--format", "jsonl", "-o", "-").want(t, exitOK).shows(t, `"sandbox-119"`)
	}
	export("nope").want(t, exitUsage).says(t, "--test-scenario must be one of [succeed, slow")
	s.ctl(t, "export", "vip-users", "--test-scenario", "slow").want(t, exitUsage).says(t, "is for sandbox keys")
	s.ctl(t, "keys", "list", "--org", s.OrgID).want(t, exitOK).shows(t, vars["EXPORTCTL_KEY"], s.OrgID+" (sandbox)")
	if causes := s.ctl(t, "ops", "causes", "--since", "1h").want(t, exitOK).stdout; strings.Contains(causes, "TOO_MANY_ROWS") {
		t.Errorf("what fails in a sandbox is a cause:\n%s", causes)
	}
	s.ctl(t, "ops", "jobs", "list", "--org", "sandbox~"+s.OrgID, "--error-code", "TOO_MANY_ROWS").want(t, exitOK).shows(t, "failed")
}

// verdictsOf gives what came of so many cases, by their names.
func verdictsOf(t *testing.T, r result, want int) map[string]verdict {
	t.Helper()
	var out struct{ Cases []verdict }
	decode(t, r.stdout, &out)
	by := map[string]verdict{}
	for _, v := range out.Cases {
		by[v.Case] = v
	}
	if len(out.Cases) != want || len(by) != want {
		t.Fatalf("%d cases: %s", len(by), r.stderr)
	}
	return by
}

// conformance: the project's own programs end right in each case, and a careless one is caught.
func (s *service) conformance(t *testing.T) {
	vars, _ := s.sandboxKey(t)
	quick := strings.Join([]string{"an export", "too many requests", "unavailable", "a lost answer", "a broken download", "a failure to try again", "a final failure"}, ",")
	try := func(program ...string) map[string]verdict {
		r := call{vars: vars}.run(t.Context(), append([]string{"conformance", "client", "--json", "--only", quick, "--"}, program...)...)
		return verdictsOf(t, r, len(clientCases)-1)
	}
	for _, variable := range pythonClient(t) {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	example, err := filepath.Abs("../../api/client/examples/nightly.py")
	if err != nil {
		t.Fatal(err)
	}
	for language, program := range map[string][]string{
		"Python": {machinetest.Program(t, "python3"), example},
		"Go":     {build(t, "../../api/client/examples/nightly")},
	} {
		for name, v := range try(program...) {
			if !v.OK {
				t.Errorf("the example in %s, %s: %s", language, name, v.Got)
			}
		}
	}
	careless := filepath.Join(t.TempDir(), "careless.py")
	if err := os.WriteFile(careless, []byte(carelessText), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, v := range try(machinetest.Program(t, "python3"), careless) {
		if v.OK != (name == "an export") || !v.OK && v.Remedy == "" {
			t.Errorf("a careless program, %s: %+v", name, v)
		}
	}
}

// throughService: the service itself sends the callbacks, and says what a receiver has made of them.
func (s *service) throughService(t *testing.T) {
	vars, webhookSecret := s.sandboxKey(t)
	args := []string{"--through-service", "--json"}
	for _, c := range deliveryCases {
		if c.scenario != client.TestScenarioLateCallback { // half a minute
			args = append(args, "--only", c.name)
		}
	}
	try := func(url string, wantCode int) map[string]verdict {
		r := call{vars: vars}.run(t.Context(), append([]string{"conformance", "receiver", url}, args...)...).want(t, wantCode)
		return verdictsOf(t, r, len(deliveryCases)-1)
	}
	var mu sync.Mutex
	seen, kinds := map[string]int{}, map[string]int{}
	receiver := &webhook.Receiver{Secrets: []webhook.Secret{must(t, webhookSecret)}, Report: func(got webhook.Received) {
		mu.Lock()
		defer mu.Unlock()
		if got.Refused != "" {
			t.Errorf("the service's callback is refused: %s", got.Refused)
			return
		}
		seen[got.ID]++
		kinds[got.Event.Type]++
	}}
	once := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		again := seen[r.Header.Get("Webhook-Id")] > 0
		mu.Unlock()
		if again {
			w.WriteHeader(http.StatusConflict)
			return
		}
		receiver.ServeHTTP(w, r)
	}))
	t.Cleanup(once.Close)
	good := httptest.NewServer(receiver)
	t.Cleanup(good.Close)
	for name, v := range try(good.URL, exitOK) {
		if !v.OK {
			t.Errorf("%s: %+v", name, v)
		}
	}
	mu.Lock()
	twice := 0
	for _, n := range seen {
		if n == 2 {
			twice++
		}
	}
	if len(seen) != len(deliveryCases)-1 || twice != 1 || kinds["export.failed"] != 2 || kinds["export.succeeded"] != 3 {
		t.Errorf("callbacks came %v, of %v", seen, kinds)
	}
	mu.Unlock()
	for name, v := range try(once.URL, exitFailed) {
		if v.OK == strings.HasPrefix(name, "one that comes again") || !v.OK && (v.Remedy == "" || !strings.Contains(v.Got, "409")) {
			t.Errorf("a receiver that refuses what it has seen, %s: %+v", name, v)
		}
	}
	none := call{vars: vars}.run(t.Context(), "conformance", "receiver", "ftp://x", "--through-service").want(t, exitFailed)
	none.shows(t, "the service refuses the export", "callbackUrl")
}

// carelessText asks again at once for what was refused, once, takes whatever comes for the file, and always
// says that all went well.
const carelessText = `
import hashlib, hmac, json, os, time, urllib.error, urllib.request
def ask():
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    r = urllib.request.Request(os.environ["URL"] + f"/vip-users/export?workspaceId={os.environ['W']}&mediumId={os.environ['M']}", headers={
        "x-api-key": os.environ["KEY"], "x-date": date, "prefer": "wait=25",
        "x-signature": hmac.new(os.environ["SECRET"].encode(), date.encode(), hashlib.sha256).hexdigest()})
    return json.load(urllib.request.urlopen(r))
try:
    job = ask()
except urllib.error.HTTPError as e:
    if e.code >= 500 and e.code != 503:
        raise SystemExit(0)
    try:
        ask()
    except urllib.error.HTTPError:
        raise SystemExit(0)
try:
    urllib.request.urlopen(job["csvUrl"]).read()
except Exception:
    pass
`
