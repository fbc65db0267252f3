package manifests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"exportd/internal/config"
	"exportd/internal/jobqueue"
)

const terraformFolder = "../../terraform"

// providerVersion is that of the schemas in ../provider.
const providerVersion = "6.50.0"

// terraform copies the module and initializes it with the provider of ../provider, for terraform or OpenTofu.
func terraform(t *testing.T) module {
	t.Helper()
	var tool string
	for _, name := range []string{"terraform", "tofu"} {
		if path, err := exec.LookPath(name); err == nil {
			tool = path
			break
		}
	}
	if tool == "" {
		if os.Getenv("EXPORTD_REQUIRE_ALL") == "1" {
			t.Fatal("neither terraform nor tofu is there, and EXPORTD_REQUIRE_ALL=1")
		}
		t.Skip("neither terraform nor tofu is there")
	}
	dir := t.TempDir()
	for _, registry := range []string{"registry.terraform.io", "registry.opentofu.org"} {
		mirror := filepath.Join(dir, "mirror", registry, "hashicorp", "google", providerVersion, runtime.GOOS+"_"+runtime.GOARCH)
		if err := os.MkdirAll(mirror, 0o755); err != nil {
			t.Fatal(err)
		}
		program := filepath.Join(mirror, "terraform-provider-google_v"+providerVersion)
		if first := filepath.Join(dir, "provider"); !exists(first) {
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", first, "../provider").CombinedOutput(); err != nil {
				t.Fatalf("build the provider: %v\n%s", err, out)
			}
		}
		if err := os.Link(filepath.Join(dir, "provider"), program); err != nil {
			t.Fatal(err)
		}
	}
	settings := filepath.Join(dir, "terraform.rc")
	rc := fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\ndisable_checkpoint = true\n", filepath.Join(dir, "mirror"))
	if err := os.WriteFile(settings, []byte(rc), 0o600); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(dir, "deployments")
	if err := os.CopyFS(filepath.Join(work, "terraform"), os.DirFS(terraformFolder)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"permissions.yaml", "firestore.indexes.json"} {
		raw, err := os.ReadFile("../../" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(work, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m := module{folder: filepath.Join(work, "terraform"), run: func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = filepath.Join(work, "terraform")
		cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+settings, "TF_IN_AUTOMATION=1")
		return cmd.CombinedOutput()
	}}
	m.must(t, "init", "-input=false", "-no-color")
	return m
}

// module is a copy of the module that terraform has initialized.
type module struct {
	folder string
	run    func(args ...string) ([]byte, error)
}

func (m module) must(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := m.run(args...)
	if err != nil {
		t.Fatalf("terraform %v: %v\n%s", args, err, tail(out))
	}
	return out
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func tail(b []byte) []byte { return b[max(0, len(b)-6000):] }

type change struct {
	Address, Type string
	Change        struct{ After map[string]any }
}

// everything is the plan of that run.
func everything(t *testing.T, out []byte) (changes []change) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 64<<20) // a plan has all schemas in it
	for lines.Scan() {
		var line struct {
			Type string
			Run  string `json:"@testrun"`
			Plan struct {
				Changes []change `json:"resource_changes"`
			} `json:"test_plan"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Type == "test_plan" && line.Run == "everything" {
			changes = line.Plan.Changes
		}
	}
	if err := lines.Err(); err != nil || len(changes) == 0 {
		t.Fatalf("%v, or no plan\n%s", err, tail(out))
	}
	return changes
}

// TestTerraform: the module is valid by the provider's schemas, its plans and refusals are as its own tests
// say, and what it plans has the permissions, indexes, queues and settings that exportd's own lists have.
func TestTerraform(t *testing.T) {
	t.Parallel()
	m := terraform(t)
	m.must(t, "validate", "-no-color")
	m.must(t, "fmt", "-check", "-recursive")
	changes := everything(t, m.must(t, "test", "-json", "-verbose"))
	counts := map[string]int{}
	for _, c := range changes {
		counts[c.Type]++
	}
	t.Logf("%d resources of %d types: %v", len(changes), len(counts), counts)
	planned := func(kind string) (out []change) {
		for _, c := range changes {
			if c.Type == kind {
				out = append(out, c)
			}
		}
		return out
	}
	permissions(t, planned("google_project_iam_custom_role"))
	indexes(t, planned("google_firestore_index"), planned("google_firestore_field"))
	for _, kind := range []string{"google_cloud_run_v2_service", "google_cloud_run_v2_worker_pool"} {
		ofRun(t, planned(kind))
	}
	queues(t, planned("google_pubsub_topic"), planned("google_pubsub_subscription"))
	monitoring(t, planned("google_monitoring_alert_policy"), planned("google_monitoring_slo"), planned("google_monitoring_dashboard"))
	// The module of alerts by itself, for whoever has the rest from elsewhere.
	for _, args := range [][]string{{"init", "-input=false", "-no-color"}, {"validate", "-no-color"}, {"test", "-no-color"}} {
		m.must(t, append([]string{"-chdir=modules/monitoring"}, args...)...)
	}
	// What is judged by schemas is refused by them.
	wrong := "resource \"google_pubsub_topic\" \"wrong\" {\n  title = \"x\"\n}\n"
	if err := os.WriteFile(filepath.Join(m.folder, "wrong.tf"), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := m.run("validate", "-no-color"); err == nil || !bytes.Contains(out, []byte(`"title" is not expected`)) || !bytes.Contains(out, []byte(`"name" is required`)) {
		t.Errorf("an attribute too many and one too few: %v\n%s", err, out)
	}
}

// monitoring: the root module plans each alert, with the runbook that it leads to, each goal, and the
// dashboard.
func monitoring(t *testing.T, alerts, goals, dashboards []change) {
	t.Helper()
	for name, got := range map[string][]change{"alerts": alerts, "goals": goals} {
		raw, err := os.ReadFile(terraformFolder + "/modules/monitoring/" + name + ".json")
		want := map[string]any{}
		if err == nil {
			err = json.Unmarshal(raw, &want)
		}
		if err != nil || len(want) == 0 || len(got) != len(want) {
			t.Errorf("%d %s of %d are planned, %v", len(got), name, len(want), err)
		}
	}
	if len(dashboards) != 1 {
		t.Errorf("%d dashboards are planned", len(dashboards))
	}
	for _, a := range alerts {
		text, _ := json.Marshal(a.Change.After["documentation"])
		if a.Change.After["project"] != "example-project" || !strings.HasPrefix(a.Address, "module.monitoring[0].") || !strings.Contains(string(text), "https://git.example.com/exportd/blob/main/deployments/runbooks/"+fmt.Sprint(a.Change.After["display_name"])+".md") {
			t.Errorf("%s of %v leads to %s", a.Address, a.Change.After["project"], text)
		}
	}
}

// queues: a topic and a subscription for each of exportd's queues.
func queues(t *testing.T, topics, subscriptions []change) {
	t.Helper()
	for _, q := range jobqueue.AllQueues {
		for _, list := range [][]change{topics, subscriptions} {
			if len(list) != len(jobqueue.AllQueues) || !slices.ContainsFunc(list, func(c change) bool { return c.Change.After["name"] == "exportd-"+string(q) }) {
				t.Errorf("queue %s: %v", q, list)
			}
		}
	}
}

// permissions: the custom roles of each account have together the tested list, and those of the KMS key.
func permissions(t *testing.T, roles []change) {
	t.Helper()
	var file struct{ Accounts map[string][]string }
	raw, err := os.ReadFile("../../permissions.yaml")
	if err == nil {
		err = yaml.Unmarshal(raw, &file)
	}
	if err != nil || len(file.Accounts) != 4 {
		t.Fatalf("%v, %v", err, file)
	}
	got := map[string][]string{}
	for _, r := range roles {
		account, _, _ := strings.Cut(strings.TrimPrefix(r.Change.After["role_id"].(string), "exportd_"), "_")
		for _, p := range r.Change.After["permissions"].([]any) {
			got[account] = append(got[account], p.(string))
		}
	}
	for account, want := range file.Accounts {
		want = append(want, "cloudkms.cryptoKeyVersions.useToDecrypt")
		if account == "setup" {
			want = append(want, "cloudkms.cryptoKeyVersions.useToEncrypt")
		}
		slices.Sort(want)
		slices.Sort(got[account])
		if !slices.Equal(got[account], want) {
			t.Errorf("%s is granted %v, want %v", account, got[account], want)
		}
		t.Logf("%s: %d permissions, as tested", account, len(want))
		delete(got, account)
	}
	if len(got) > 0 {
		t.Errorf("accounts that nobody tests: %v", got)
	}
}

func indexes(t *testing.T, composite, fields []change) {
	t.Helper()
	var file struct {
		Indexes        []map[string]any
		FieldOverrides []struct {
			CollectionGroup, FieldPath string
			TTL                        bool
			Indexes                    []any
		}
	}
	raw, err := os.ReadFile("../../firestore.indexes.json")
	if err == nil {
		err = json.Unmarshal(raw, &file)
	}
	if err != nil || len(composite) != len(file.Indexes) || len(fields) != len(file.FieldOverrides) {
		t.Fatalf("%v: %d indexes and %d fields are planned, want %d and %d", err, len(composite), len(fields), len(file.Indexes), len(file.FieldOverrides))
	}
	for _, f := range file.FieldOverrides {
		i := slices.IndexFunc(fields, func(c change) bool {
			return c.Change.After["collection"] == f.CollectionGroup && c.Change.After["field"] == f.FieldPath
		})
		if i < 0 {
			t.Errorf("%s of %s is not planned", f.FieldPath, f.CollectionGroup)
			continue
		}
		after := fields[i].Change.After
		kept, _ := after["index_config"].([]any)[0].(map[string]any)["indexes"].([]any)
		if ttl, _ := after["ttl_config"].([]any); (len(ttl) > 0) != f.TTL || len(kept) != len(f.Indexes) {
			t.Errorf("%s of %s: ttl %v, %d indexes, want %t, %d", f.FieldPath, f.CollectionGroup, ttl, len(kept), f.TTL, len(f.Indexes))
		}
	}
}

// unknown are settings whose values are only known when the thing that they name is there.
var unknown = map[string]string{
	"EXPORTD_KMS_KEY":         "projects/p/locations/l/keyRings/exportd/cryptoKeys/keyset",
	"EXPORTD_TRUSTED_PROXIES": "192.0.2.1/32",
}

// ofRun loads the settings of a container as its process does.
func ofRun(t *testing.T, services []change) {
	t.Helper()
	if len(services) != 1 {
		t.Fatalf("%d services, want 1", len(services))
	}
	template := services[0].Change.After["template"].([]any)[0].(map[string]any)
	container := template["containers"].([]any)[0].(map[string]any)
	env := map[string]string{}
	var environ []string
	for _, e := range container["env"].([]any) {
		name := e.(map[string]any)["name"].(string)
		value, ok := e.(map[string]any)["value"].(string)
		if !ok {
			if value, ok = unknown[name]; !ok {
				t.Errorf("%s: %s has no value", services[0].Address, name)
			}
		}
		env[name] = value
		environ = append(environ, name+"="+value)
	}
	cfg, err := config.Load(func(name string) string { return env[name] }, environ)
	if err != nil {
		t.Fatalf("%s would not start: %v", services[0].Address, err)
	}
	mount := container["volume_mounts"].([]any)[0].(map[string]any)["mount_path"].(string)
	if cfg.Env != "production" || !cfg.PITR || cfg.OpsAddr != ":9090" || cfg.Wait.Seconds() != 20 || filepath.Dir(cfg.KeysetFile) != mount {
		t.Errorf("%s: %+v", services[0].Address, cfg)
	}
	if cfg.Console != "public" {
		t.Errorf("%s: with console_members the console is shown at %q", services[0].Address, cfg.Console)
	}
	if services[0].Type == "google_cloud_run_v2_worker_pool" && cfg.Drain.Seconds() >= 10 {
		t.Errorf("workers drain for %s, of the 10 s that Cloud Run gives", cfg.Drain)
	}
}

// TestTerraformVariables: each says what it is for; the example names variables that are there, and all
// required ones.
func TestTerraformVariables(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(terraformFolder, "variables.tf"))
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]bool{}
	for _, block := range strings.Split(string(raw), "\nvariable ") {
		block = strings.TrimPrefix(block, "variable ")
		name, body, _ := strings.Cut(strings.TrimPrefix(block, `"`), `"`)
		if !regexp.MustCompile(`(?m)^  description = "[A-Za-z].{15,}"$`).MatchString(body) {
			t.Errorf("variable %s has no description", name)
		}
		required[name] = !strings.Contains(body, "\n  default ")
	}
	example, err := os.ReadFile(filepath.Join(terraformFolder, "terraform.tfvars.example"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)\s*=`).FindAllStringSubmatch(string(example), -1) {
		if _, ok := required[m[1]]; !ok {
			t.Errorf("the example sets %s, which is no variable", m[1])
		}
		delete(required, m[1])
	}
	for name, is := range required {
		if is {
			t.Errorf("the example does not set %s, which is required", name)
		}
	}
}
