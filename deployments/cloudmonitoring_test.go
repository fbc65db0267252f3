package deployments_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"cloud.google.com/go/monitoring/dashboard/apiv1/dashboardpb"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "write what terraform/modules/monitoring has of the rules and the dashboard anew")

const module = "terraform/modules/monitoring/"

// policy is an alert as terraform/modules/monitoring/main.tf makes a google_monitoring_alert_policy of it.
type policy struct {
	Alert    string            `json:"alert"`
	Group    string            `json:"group"`
	Severity string            `json:"severity"` // page or ticket
	Query    string            `json:"query"`
	Duration string            `json:"duration"`
	Every    string            `json:"every"`
	Labels   map[string]string `json:"labels"`
	Summary  string            `json:"summary"`
	Runbook  string            `json:"runbook"`
}

// goal is one of main.tf's google_monitoring_slo: of bad ones among all, or of those within a bound.
type goal struct {
	Title   string   `json:"title"`
	Goal    float64  `json:"goal"`
	Bad     string   `json:"bad"`
	Total   string   `json:"total"`
	Cut     string   `json:"cut"`
	Seconds *float64 `json:"seconds"`
}

type ruleGroup struct {
	Name  string
	Rules []struct {
		Alert, Record, Expr, For string
		Labels, Annotations      map[string]string
	}
}

func ruleGroups(t *testing.T) []ruleGroup {
	t.Helper()
	var r struct{ Groups []ruleGroup }
	if err := yaml.Unmarshal([]byte(read(t, "monitoring/alerts.yaml")), &r); err != nil {
		t.Fatal(err)
	}
	return r.Groups
}

// recorded gives the recording rules' expressions by name: Cloud Monitoring has none, so alerts have them in
// full.
func recorded(groups []ruleGroup) map[string]string {
	out := map[string]string{}
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Record != "" {
				out[r.Record] = strings.TrimSpace(r.Expr)
			}
		}
	}
	return out
}

var (
	recordName = regexp.MustCompile(`exportd:\w+:\w+`)
	template   = regexp.MustCompile(`{{ *\$labels\.(\w+) *}}`)
	someValue  = regexp.MustCompile(`{{ *\$value[^}]*}}`)
)

// policies are the alerts of alerts.yaml, by name and severity.
func policies(t *testing.T) map[string]policy {
	t.Helper()
	groups := ruleGroups(t)
	records := recorded(groups)
	out := map[string]policy{}
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			wait, err := time.ParseDuration(r.For)
			if err != nil {
				t.Fatalf("%s: %v", r.Alert, err)
			}
			query := recordName.ReplaceAllStringFunc(strings.TrimSpace(r.Expr), func(name string) string {
				if records[name] == "" {
					t.Errorf("%s: no rule records %s", r.Alert, name)
				}
				return "(" + records[name] + ")"
			})
			summary := someValue.ReplaceAllString(template.ReplaceAllString(r.Annotations["summary"], "$${metric.label.$1}"), "...")
			out[r.Alert+"-"+r.Labels["severity"]] = policy{
				Alert: r.Alert, Group: g.Name, Severity: r.Labels["severity"], Query: query, Duration: strconv.Itoa(int(wait.Seconds())) + "s", Every: "30s",
				Labels: r.Labels, Summary: summary, Runbook: "deployments/runbooks/" + r.Alert + ".md",
			}
		}
	}
	return out
}

var (
	burn     = regexp.MustCompile(`> 1 \* (0\.\d+)`)
	selector = regexp.MustCompile(`(\w+)\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`(\w+)(=~|!~|!=|=)"([^"]*)"`)
)

// filter makes a filter of Cloud Monitoring of a selector of PromQL. le becomes the bound, in seconds.
func filter(t *testing.T, name, matchers, kind string) (text string, bound *float64) {
	t.Helper()
	parts := []string{`metric.type="prometheus.googleapis.com/` + name + "/" + kind + `"`, `resource.type="prometheus_target"`}
	for _, m := range matcher.FindAllStringSubmatch(matchers, -1) {
		values := `"` + strings.ReplaceAll(m[3], "|", `", "`) + `"`
		is := "metric.labels." + m[1]
		switch {
		case m[1] == "le":
			v, err := strconv.ParseFloat(m[3], 64)
			if err != nil {
				t.Fatal(err)
			}
			bound = &v
		case m[2] == "=":
			parts = append(parts, is+"="+values)
		case m[2] == "=~":
			parts = append(parts, is+"=one_of("+values+")")
		case m[2] == "!~":
			parts = append(parts, "NOT "+is+"=one_of("+values+")")
		default:
			t.Fatalf("no filter says %s", m[0])
		}
	}
	return strings.Join(parts, " AND "), bound
}

// goals are those of the recording rules, with the goal that the slowest burn-rate alert holds them to.
func goals(t *testing.T) map[string]goal {
	t.Helper()
	groups := ruleGroups(t)
	records := recorded(groups)
	titles := map[string]string{
		"success": "Exports succeed", "small": "Small exports have their result within 10 s", "callback": "Callbacks arrive within a minute",
	}
	out := map[string]goal{}
	for _, g := range groups {
		for _, r := range g.Rules {
			name := r.Labels["slo"]
			m := burn.FindStringSubmatch(r.Expr)
			if name == "" || r.Labels["severity"] != "ticket" || m == nil {
				continue
			}
			budget, err := strconv.ParseFloat(m[1], 64)
			used := selector.FindAllStringSubmatch(records["exportd:"+name+":bad_ratio1h"], -1)
			if err != nil || len(used) != 2 || titles[name] == "" {
				t.Fatalf("goal %s: %v, %d selectors, title %q", name, err, len(used), titles[name])
			}
			o := goal{Title: titles[name], Goal: 1 - budget}
			if base, ok := strings.CutSuffix(used[0][1], "_bucket"); ok {
				o.Cut, o.Seconds = filter(t, base, used[0][2], "histogram")
			} else {
				o.Bad, _ = filter(t, used[0][1], used[0][2], "counter")
				o.Total, _ = filter(t, used[1][1], used[1][2], "counter")
			}
			out[name] = o
		}
	}
	return out
}

// TestCloudMonitoring: what Terraform makes alert policies, goals and a dashboard of says what the rules and
// Grafana's dashboard say, and Google's own definitions know each field and each word of it. TestTerraform of
// tools/manifests plans the module by the provider's schemas.
func TestCloudMonitoring(t *testing.T) {
	t.Parallel()
	alerts, slos := policies(t), goals(t)
	board := cloudDashboard(t)
	for name, v := range map[string]any{"alerts.json": alerts, "goals.json": slos, "dashboard.json": board} {
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(module+name, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if read(t, module+name) != want.String() {
			t.Errorf("%s%s is not what the rules and the dashboard give: make generate", module, name)
		}
	}
	if len(alerts) < 18 || len(slos) != 3 {
		t.Errorf("%d alerts, %d goals", len(alerts), len(slos))
	}
	for name, p := range alerts {
		known(t, name, &monitoringpb.AlertPolicy{}, map[string]any{
			"displayName": p.Alert, "combiner": "OR", "severity": "CRITICAL", "documentation": map[string]any{"content": p.Summary, "mimeType": "text/markdown", "subject": p.Summary},
			"conditions": []any{map[string]any{"displayName": p.Alert, "conditionPrometheusQueryLanguage": map[string]any{
				"query": p.Query, "duration": p.Duration, "evaluationInterval": p.Every, "labels": p.Labels, "ruleGroup": p.Group, "alertRule": p.Alert, "disableMetricValidation": true,
			}}},
		})
		// https://docs.cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.alertPolicies
		if strings.Contains(p.Query, "exportd:") || len(p.Query) > 10_000 || len(p.Summary) > 255 {
			t.Errorf("%s: a query of %d and a subject of %d bytes: %s", name, len(p.Query), len(p.Summary), p.Query)
		}
	}
	known(t, "dashboard", &dashboardpb.Dashboard{}, board)
	checkQueries(t, alerts)
}

// known fails where Google's definition of a message lacks what v has.
func known(t *testing.T, name string, m proto.Message, v any) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err == nil {
		err = protojson.Unmarshal(raw, m)
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// checkQueries has Prometheus's own tool parse what the expanding of records has given.
func checkQueries(t *testing.T, alerts map[string]policy) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		return // TestAlerts says so
	}
	type rule struct {
		Alert string `json:"alert"`
		Expr  string `json:"expr"`
	}
	var rules []rule
	for _, p := range alerts {
		rules = append(rules, rule{p.Alert, p.Query})
	}
	body, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "expanded", "rules": rules}}})
	file := t.TempDir() + "/rules.yaml"
	if err == nil {
		err = os.WriteFile(file, body, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	// Without its lint: alerts of two severities have a name twice.
	if out, err := exec.CommandContext(t.Context(), tool, "check", "rules", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
