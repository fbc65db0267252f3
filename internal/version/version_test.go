package version

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	t.Parallel()
	stamped := func(version, modified string) *debug.BuildInfo {
		return &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: version}, Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "b0ff6e2d324642f73aa6eaa28be8e2a0c2ebb561"}, {Key: "vcs.modified", Value: modified},
		}}
	}
	bare := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "(devel)"}}
	for name, tc := range map[string]struct {
		release, commit string
		info            *debug.BuildInfo
		want            string
	}{
		"a release":                   {"0.1.0", "b0ff6e2d3246", bare, "0.1.0 (commit b0ff6e2d3246, go1.26.8)"},
		"a release with changes":      {"0.1.0", "b0ff6e2d3246-dirty", bare, "0.1.0 (commit b0ff6e2d3246 with changes, go1.26.8)"},
		"the flags before the stamp":  {"0.1.0", "0123456789ab", stamped("v0.2.0", "true"), "0.1.0 (commit 0123456789ab, go1.26.8)"},
		"a tag that go build found":   {"", "", stamped("v0.1.0", "false"), "0.1.0 (commit b0ff6e2d3246, go1.26.8)"},
		"a commit that it found":      {"", "", stamped("v0.0.0-20261125233153-b0ff6e2d3246+dirty", "true"), "0.0.0-20261125233153-b0ff6e2d3246 (commit b0ff6e2d3246 with changes, go1.26.8)"},
		"a commit of the flags alone": {"", "b0ff6e2d3246", bare, "devel (commit b0ff6e2d3246, go1.26.8)"},
		"nothing":                     {"", "", bare, "devel (commit unknown, go1.26.8)"},
		"no modules":                  {"", "", nil, "devel (commit unknown, )"},
	} {
		if got := of(tc.release, tc.commit, tc.info).String(); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestMakefile: what make build writes into the programs arrives there. A wrong name in -X is no error of the
// linker's.
func TestMakefile(t *testing.T) {
	t.Parallel()
	dry := exec.CommandContext(t.Context(), "make", "-n", "build", "VERSION=9.8.7", "COMMIT=0123456789ab-dirty")
	dry.Dir = "../.."
	out, err := dry.Output()
	if err != nil {
		t.Fatalf("make -n build: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`-ldflags '([^']*)'`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("make build has no -ldflags: %s", out)
	}
	program := filepath.Join(t.TempDir(), "exportctl")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", m[1], "-o", program, "exportd/cmd/exportctl")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), program, "--version").Output()
	if want := "exportctl version 9.8.7 (commit 0123456789ab with changes, go1."; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("exportctl --version = %q, %v, want %s...", out, err, want)
	}
	compile, err := os.ReadFile("../../deployments/tools/compile/compile.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`-X \S+\.\w+=`).FindAllString(m[1], -1) {
		if !strings.Contains(string(compile), name) {
			t.Errorf("deployments/tools/compile does not set %s", name)
		}
	}
}
