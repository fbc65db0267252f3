package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestSettingsFile holds the manifests' lists of settings against the table. What production has no use for
// is not in them, nor what each pod has of its own.
func TestSettingsFile(t *testing.T) {
	t.Parallel()
	isWritten(t, "../../deployments/kubernetes/base/settings.env", settingsFile())
	isWritten(t, "../../deployments/kubernetes/base/live.env", liveFile())
}

func isWritten(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err == nil && string(got) == want {
		return
	}
	if !*update {
		t.Fatalf("%s is not of this package's table (%v); run: go test ./internal/config -run TestSettingsFile -update", path, err)
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func settingsFile() string {
	set := map[string]string{"EXPORTD_KEYSET_FILE": "/etc/exportd/keyset.json", "EXPORTD_OPS_ADDR": ":9090", ReloadVar: "/etc/exportd-live/live.env"}
	left := []string{"EXPORTD_ENV", "EXPORTD_WORKER_ID"}
	var b strings.Builder
	b.WriteString("# Every setting of production, with its default where it has one. Written by: make generate\n" +
		"# An overlay's settings.env adds to it and overrides it.\n")
	for _, s := range Settings() {
		if strings.HasSuffix(s.Var, "_EMULATOR_HOST") || strings.HasPrefix(s.Doc, "development only") || slices.Contains(left, s.Var) {
			continue
		}
		fmt.Fprintf(&b, "\n# %s\n", s.Meaning())
		if value, ok := set[s.Var]; ok {
			fmt.Fprintf(&b, "%s=%s\n", s.Var, value)
		} else {
			fmt.Fprintf(&b, "#%s=%s\n", s.Var, s.Default)
		}
	}
	return b.String()
}

// liveFile is what pods look at while they run; it begins without a setting.
func liveFile() string {
	var b strings.Builder
	b.WriteString("# Settings that pods take anew while they run, within two minutes; they stand before those of settings.env.\n# Written by: make generate\n")
	for _, s := range Settings() {
		if s.Live() {
			fmt.Fprintf(&b, "#%s=%s\n", s.Var, s.Default)
		}
	}
	return b.String()
}
