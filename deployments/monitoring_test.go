package deployments_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"exportd/internal/machinetest"

	"github.com/goccy/go-yaml"

	"exportd/internal/e2e/e2etest"
)

// rules are the alerts of monitoring/alerts.yaml.
type rules struct {
	Groups []struct {
		Rules []struct {
			Alert, Record, Expr string
			Labels, Annotations map[string]string
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestRunbooks: each alert has the runbook of its name, with commands and a link to the console, and each
// such runbook an alert.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	var r rules
	if err := yaml.Unmarshal([]byte(read(t, "monitoring/alerts.yaml")), &r); err != nil {
		t.Fatal(err)
	}
	tests := read(t, "monitoring/alerts_test.yaml") + read(t, "monitoring/goals_test.yaml")
	alerts := map[string]bool{}
	for _, g := range r.Groups {
		for _, rule := range g.Rules {
			if rule.Alert == "" {
				continue
			}
			alerts[rule.Alert] = true
			path := "runbooks/" + rule.Alert + ".md"
			if rule.Annotations["runbook"] != "deployments/"+path || rule.Annotations["summary"] == "" || !slices.Contains([]string{"page", "ticket"}, rule.Labels["severity"]) {
				t.Errorf("%s: %v %v", rule.Alert, rule.Labels, rule.Annotations)
			}
			book := read(t, path)
			if !strings.HasPrefix(book, "# "+rule.Alert+": ") || !strings.Contains(book, "(https://console.cloud.google.com/") || !strings.Contains(book, "**What it means.**") {
				t.Errorf("%s lacks its title, what it means or a link to the console", path)
			}
			// Once where it does not fire, once where it does.
			if fired := strings.Count(tests, `alertname="`+rule.Alert+`",alertstate="firing"`); fired < 2 {
				t.Errorf("%s is tested %d times", rule.Alert, fired)
			}
		}
	}
	books, err := filepath.Glob("runbooks/Exportd*.md")
	if err != nil || len(books) != len(alerts) || len(alerts) < 15 {
		t.Errorf("%d runbooks, %d alerts, %v", len(books), len(alerts), err)
	}
	link := regexp.MustCompile(`\]\(([\w-]+\.md)\)`)
	for _, path := range books {
		if name := strings.TrimSuffix(filepath.Base(path), ".md"); !alerts[name] {
			t.Errorf("%s has no alert", path)
		}
		for _, m := range link.FindAllStringSubmatch(read(t, path), -1) {
			read(t, "runbooks/"+m[1])
		}
	}
}

// variable is one that a shell would put a value in place of.
var variable = regexp.MustCompile(`\$\{?([A-Z]+)`)

// TestRunbookCommands: each runbook of an alert has commands with what they show, which need nothing but the
// variables of runbooks/README.md; what needs the cluster or Google says so, and fits the manifest.
// TestAlertsInReality runs them.
func TestRunbookCommands(t *testing.T) {
	t.Parallel()
	books, err := filepath.Glob("runbooks/Exportd*.md")
	if err != nil || len(books) < 15 {
		t.Fatal(books, err)
	}
	known := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z]+)` \\|").FindAllStringSubmatch(read(t, "runbooks/README.md"), -1) {
		known[m[1]] = false
	}
	app := regexp.MustCompile(`-l (app)=([\w-]+)|deployment (\S*?)([\w-]+)`)
	elsewhere := regexp.MustCompile(`(?m)^(kubectl|gcloud|firebase) `)
	here, there := 0, map[string]int{}
	for _, path := range books {
		blocks, err := e2etest.Runbook(path)
		if err != nil {
			t.Error(err)
			continue
		}
		runnable := 0
		for _, c := range blocks {
			commands := strings.Count(c.Text, "\n") + 1
			outside := len(elsewhere.FindAllString(c.Text, -1))
			switch c.Needs {
			case "":
				runnable++
				here += commands
				if outside > 0 {
					t.Errorf("%s, %s needs the cluster or Google, and does not say so", path, c.Where())
				}
			case "cluster", "google":
				there[c.Needs] += commands
				if outside != commands {
					t.Errorf("%s, %s: %d of %d commands need the cluster or Google", path, c.Where(), outside, commands)
				}
			default:
				t.Errorf("%s, %s needs %q", path, c.Where(), c.Needs)
			}
			for _, m := range app.FindAllStringSubmatch(c.Text, -1) {
				if name := m[2] + m[4]; !strings.Contains(read(t, "kubernetes/base/worker.yaml")+read(t, "kubernetes/base/api.yaml"), "name: "+name) {
					t.Errorf("%s: no deployment is %s", path, name)
				}
			}
			for _, m := range variable.FindAllStringSubmatch(c.Text, -1) {
				if _, ok := known[m[1]]; ok {
					known[m[1]] = true
				} else if !strings.Contains(c.Text, m[1]+"=") {
					t.Errorf("%s, %s: $%s is set by nobody", path, c.Where(), m[1])
				}
			}
		}
		if runnable == 0 {
			t.Errorf("%s has no commands", path)
		}
	}
	for name, used := range known {
		if !used {
			t.Errorf("no runbook uses $%s", name)
		}
	}
	t.Logf("%d commands run anywhere, %d need the cluster, %d Google", here, there["cluster"], there["google"])
	if here < 30 || there["cluster"] == 0 || there["google"] == 0 {
		t.Error("too few")
	}
}

// TestAlerts has Prometheus's own tool check the rules, and let each alert fire and not fire.
func TestAlerts(t *testing.T) {
	t.Parallel()
	tool := machinetest.Program(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "monitoring/alerts.yaml"},
		{"test", "rules", "monitoring/alerts_test.yaml", "monitoring/goals_test.yaml"},
	} {
		if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestDashboard: it is what Grafana imports: panels with ids of their own, side by side, each with queries.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var d struct {
		Title, UID string
		Panels     []struct {
			ID          int
			Type, Title string
			Description string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "monitoring/dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && (len(p.Targets) == 0 || p.Description == "") {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies on %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			if strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") || target.RefID == "" {
				t.Errorf("%q asks %q", p.Title, target.Expr)
			}
		}
	}
	if d.UID != "exportd" || len(d.Panels) < 30 {
		t.Errorf("%q has %d panels", d.UID, len(d.Panels))
	}
}

// TestPodMonitoring: what is scraped is what runs: its pods, and the port that has the metrics.
func TestPodMonitoring(t *testing.T) {
	t.Parallel()
	var m struct {
		Spec struct {
			Selector struct {
				MatchExpressions []struct {
					Key    string
					Values []string
				} `yaml:"matchExpressions"`
			}
			Endpoints []struct{ Port string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "monitoring/podmonitoring.yaml")), &m); err != nil || len(m.Spec.Selector.MatchExpressions) != 1 || len(m.Spec.Endpoints) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	pods := read(t, "kubernetes/base/api.yaml") + read(t, "kubernetes/base/worker.yaml")
	for _, app := range m.Spec.Selector.MatchExpressions[0].Values {
		if !strings.Contains(pods, "labels: {app: "+app+"}") {
			t.Errorf("no pods have the label %s", app)
		}
	}
	if n := strings.Count(pods, "name: "+m.Spec.Endpoints[0].Port+"}"); n != 2 {
		t.Errorf("%d deployments have the port %s, want 2", n, m.Spec.Endpoints[0].Port)
	}
}
