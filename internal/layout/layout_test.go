package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// pkg is what `go list -json` says of a package; test imports count as imports of tests.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-tags", "nomsgpack", "-json=ImportPath,Imports,Deps"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
}

func within(importPath string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return importPath == r || strings.HasPrefix(importPath, r+"/") })
}

// adapters each reach one of Google's services (or callers' receivers) and know nothing of each other.
var adapters = []string{
	"exportd/internal/records", "exportd/internal/jobstore", "exportd/internal/jobqueue", "exportd/internal/objectstore",
	"exportd/internal/webhook", "exportd/internal/apikey", "exportd/internal/indexes", "exportd/internal/inmemory",
}

// sdk are the only importers of Google's SDKs, with what each may import.
var sdk = map[string][]string{
	"exportd/internal/connection":  {"cloud.google.com/go/firestore", "google.golang.org/api"},
	"exportd/internal/docwatch":    {"cloud.google.com/go/firestore", "google.golang.org/api"},
	"exportd/internal/records":     {"cloud.google.com/go/firestore", "google.golang.org/api"},
	"exportd/internal/jobstore":    {"cloud.google.com/go/firestore", "google.golang.org/api"},
	"exportd/internal/apikey":      {"cloud.google.com/go/firestore", "google.golang.org/api"},
	"exportd/internal/jobqueue":    {"cloud.google.com/go/pubsub", "cloud.google.com/go/iam", "google.golang.org/api"},
	"exportd/internal/objectstore": {"cloud.google.com/go/storage", "google.golang.org/api"},
	"exportd/internal/indexes":     {"cloud.google.com/go/firestore", "google.golang.org/api"},
	"exportd/internal/service":     {"cloud.google.com/go/firestore", "google.golang.org/api"},
	"exportd/internal/demo":        {"cloud.google.com/go/firestore", "google.golang.org/api"},
	"exportd/internal/localcloud":  {"cloud.google.com/go", "google.golang.org/api"},
	"exportd/internal/bench":       {"cloud.google.com/go", "google.golang.org/api"},
	"exportd/internal/simulate":    {"cloud.google.com/go", "google.golang.org/api"},
	"exportd/internal/chaos":       {"cloud.google.com/go", "google.golang.org/api"},
	"exportd/internal/e2e":         {"cloud.google.com/go", "google.golang.org/api"},
}

// judges are other people's implementations that tests compare ours with. What they accept is not looked at
// closely enough to rely on it anywhere else: version 0.0.1 of the library of Standard Webhooks takes an
// empty secret.
var judges = []string{"github.com/standard-webhooks", "github.com/miekg/dns"}

// workshop is what runs on developers' machines alone.
var workshop = []string{"exportd/cmd/exportd-dev", "exportd/internal/bench", "exportd/internal/chaos", "exportd/internal/e2e", "exportd/internal/simulate"}

// fault says what is wrong with an import, "" if nothing.
func fault(from, to string) string {
	internal := within(to, "exportd")
	switch {
	case within(from, "exportd/jobs") && strings.Contains(to, "."):
		return "jobs is the floor: only the standard library"
	case within(from, "exportd/jobs") && internal && to != "exportd/jobs":
		return "jobs is the floor: it imports nothing of exportd"
	case within(from, "exportd/internal") && within(to, "exportd/api", "exportd/worker", "exportd/cmd") && !within(from, "exportd/internal/service", "exportd/internal/e2e", "exportd/internal/simulate") && !(from == "exportd/internal/console" && to == "exportd/api/client"):
		return "internal packages do not know who uses them"
	case from == "exportd/internal/version" && internal:
		return "version is of every program, and knows none"
	case within(to, "exportd/internal/service", "exportd/internal/command") && !within(from, "exportd/cmd"):
		return "only programs are put together"
	case within(from, "exportd/api") && within(to, "exportd/worker"), within(from, "exportd/worker") && within(to, "exportd/api"):
		return "api and worker know nothing of each other"
	case within(from, "exportd/api", "exportd/worker") && within(to, "exportd/internal/jobstore", "exportd/internal/jobqueue"):
		return "api and worker know stores and queues by the interfaces of jobs"
	case within(from, "exportd/api", "exportd/worker", "exportd/internal/export") && to == "exportd/internal/objectstore":
		return "who writes and reads files knows buckets by the interfaces of jobs"
	case within(to, "github.com/gin-gonic") && !within(from, "exportd/api"):
		return "only api imports Gin"
	case within(to, "go.opentelemetry.io") && !within(from, "exportd/internal/tracing"):
		return "only tracing knows OpenTelemetry, and says what a span may hold"
	case within(to, judges...) && !strings.HasSuffix(path.Base(from), "test"): // packages for tests, which TestBinaries keeps out
		return "only tests judge by it"
	case within(to, "exportd/internal/localcloud") && !within(from, append(workshop, "exportd/internal/localcloud")...):
		return "only exportd-dev, benchmarks and tests know the embedded cloud"
	case within(from, "exportd/internal/localcloud") && internal && !within(to, "exportd/internal/localcloud", "exportd/internal/loopback", "exportd/internal/objectstore/crc32c"):
		return "the embedded cloud knows nothing of exports"
	case within(to, "exportd/internal/demo") && !within(from, workshop...):
		return "only exportd-dev, benchmarks and tests know the demo data"
	}
	for _, a := range adapters {
		for _, b := range adapters {
			if a != b && within(from, a) && within(to, b) {
				return "adapters do not import each other"
			}
		}
	}
	if within(to, "cloud.google.com/go", "google.golang.org/api") {
		for user, allowed := range sdk {
			if within(from, user) && (within(to, allowed...) || slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(to, a) })) {
				return ""
			}
		}
		return "this package must not import this Google SDK"
	}
	return ""
}

func TestImports(t *testing.T) {
	t.Parallel()
	pkgs := list(t, "./...")
	if len(pkgs) < 15 {
		t.Fatalf("go list found %d packages; is the test looking at the whole module?", len(pkgs))
	}
	for _, p := range pkgs {
		for _, to := range p.Imports {
			if why := fault(p.ImportPath, to); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, to, why)
			}
		}
	}
}

// TestFault makes sure that the rules refuse what they are there to refuse.
func TestFault(t *testing.T) {
	t.Parallel()
	for _, bad := range [][2]string{
		{"exportd/jobs", "go.uber.org/zap"},
		{"exportd/jobs", "exportd/internal/vip"},
		{"exportd/api", "exportd/worker"},
		{"exportd/worker", "exportd/api"},
		{"exportd/worker", "exportd/internal/jobstore"},
		{"exportd/worker", "exportd/internal/jobqueue"},
		{"exportd/api", "exportd/internal/jobstore"},
		{"exportd/internal/export", "exportd/internal/objectstore"},
		{"exportd/worker", "github.com/gin-gonic/gin"},
		{"exportd/worker", "go.opentelemetry.io/otel/trace"},
		{"exportd/jobs", "exportd/internal/tracing"},
		{"exportd/internal/export", "exportd/worker"},
		{"exportd/internal/records", "exportd/internal/jobstore"},
		{"exportd/internal/jobqueue", "cloud.google.com/go/firestore"},
		{"exportd/api", "cloud.google.com/go/firestore"},
		{"exportd/internal/export", "exportd/internal/localcloud/fault"}, {"exportd/internal/localcloud", "exportd/jobs"}, {"exportd/internal/localcloud/storageserver", "exportd/internal/objectstore"},
		{"exportd/cmd/exportd", "exportd/internal/localcloud"},
		{"exportd/cmd/exportd", "exportd/internal/demo"},
		{"exportd/internal/service", "exportd/internal/localcloud/fault"},
		{"exportd/internal/export", "exportd/internal/service"},
		{"exportd/internal/webhook", "github.com/standard-webhooks/standard-webhooks/libraries/go"},
		{"exportd/internal/chaos", "github.com/standard-webhooks/standard-webhooks/libraries/go"},
	} {
		if fault(bad[0], bad[1]) == "" {
			t.Errorf("fault(%s, %s) finds nothing wrong", bad[0], bad[1])
		}
	}
	for _, good := range [][2]string{
		{"exportd/internal/service", "exportd/worker"}, {"exportd/cmd/exportd", "exportd/internal/service"}, {"exportd/cmd/exportd-dev", "exportd/internal/localcloud"}, {"exportd/worker", "exportd/internal/export"},
		{"exportd/internal/jobstore", "cloud.google.com/go/firestore/apiv1"}, {"exportd/internal/jobqueue", "cloud.google.com/go/pubsub/v2"},
		{"exportd/internal/localcloud", "exportd/internal/localcloud/fault"},
		{"exportd/internal/webhook/webhooktest", "github.com/miekg/dns"},
	} {
		if why := fault(good[0], good[1]); why != "" {
			t.Errorf("fault(%s, %s) = %q", good[0], good[1], why)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	banned := []string{"util", "utils", "common", "helpers", "models", "types", "services"}
	for _, p := range list(t, "./...") {
		if slices.Contains(banned, path.Base(p.ImportPath)) {
			t.Errorf("%s: name a package for what it holds", p.ImportPath)
		}
	}
}

func TestTopLevel(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{
		"cmd", "api", "worker", "jobs", "internal", "deployments", "go.mod", "go.sum", "Makefile",
		"README.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "bin",
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}

// TestBinaries keeps what only tests need out of what is shipped, and the workshop out of production.
func TestBinaries(t *testing.T) {
	t.Parallel()
	shipped := list(t, "./cmd/...")
	if len(shipped) != 3 {
		t.Errorf("%d programs, want 3: which are for production?", len(shipped))
	}
	for _, p := range shipped {
		for _, dep := range p.Deps {
			if dep == "testing" || within(dep, "exportd/internal/inmemory", "exportd/jobs/jobstest") || within(dep, "go.uber.org/goleak") || within(dep, judges...) {
				t.Errorf("%s would ship %s", p.ImportPath, dep)
			}
			if p.ImportPath != "exportd/cmd/exportd-dev" && inWorkshop(dep) {
				t.Errorf("%s would ship %s, which is for exportd-dev", p.ImportPath, dep)
			}
		}
		if p.ImportPath == "exportd/cmd/exportd-dev" && !slices.ContainsFunc(p.Deps, inWorkshop) {
			t.Errorf("%s has nothing of the workshop: its packages have other names now", p.ImportPath)
		}
	}
}

// inWorkshop is about packages that production has no use for: the embedded cloud with its database (and the
// error reporting that this brings along), the demo data.
func inWorkshop(dep string) bool {
	return within(dep, "exportd/internal/localcloud", "exportd/internal/demo", "github.com/cockroachdb", "github.com/getsentry")
}

// TestCrashPoints: the places at which a build for tests dies are in no other.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	const holder, file = "exportd/internal/service", "crash_on.go"
	for _, tc := range []struct {
		tags string
		want bool
	}{{"nomsgpack", false}, {"nomsgpack,crashpoints", true}} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", tc.tags, "-f", "{{.GoFiles}}", holder)
		cmd.Dir = "../.."
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if strings.Contains(string(out), file) != tc.want {
			t.Errorf("with tags %s %s has %s: %t, want %t", tc.tags, holder, file, !tc.want, tc.want)
		}
	}
}

// TestChangelog: what is not released yet comes first, then releases with their dates, the newest first.
func TestChangelog(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	heads := regexp.MustCompile(`(?m)^## .*$`).FindAllString(string(raw), -1)
	if len(heads) < 2 || heads[0] != "## Unreleased" {
		t.Fatalf("the sections are %q, want Unreleased and a release at least", heads)
	}
	last := "9999-12-31"
	for _, head := range heads[1:] {
		m := regexp.MustCompile(`^## \d+\.\d+\.\d+ - (\d{4}-\d\d-\d\d)$`).FindStringSubmatch(head)
		if m == nil {
			t.Fatalf("%q is not like: ## 0.1.0 - 2026-11-25", head)
		}
		if _, err := time.Parse(time.DateOnly, m[1]); err != nil || m[1] > last {
			t.Errorf("%q: %v, and the one above is of %s", head, err, last)
		}
		last = m[1]
	}
}
