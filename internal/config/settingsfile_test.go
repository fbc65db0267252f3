package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestSettingsFile holds the manifests' list of settings against the table. What production has no use for is not in it,
// nor what each pod has of its own.
func TestSettingsFile(t *testing.T) {
	t.Parallel()
	const path = "../../deployments/kubernetes/base/settings.env"
	want := settingsFile()
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
	set := map[string]string{"EXPORTD_KEYSET_FILE": "/etc/exportd/keyset.json", "EXPORTD_OPS_ADDR": ":9090"}
	left := []string{"EXPORTD_ENV", "EXPORTD_WORKER_ID"}
	var b strings.Builder
	b.WriteString("# Every setting of production, with its default where it has one. Written by: make generate\n" +
		"# An overlay's settings.env adds to it and overrides it.\n")
	for _, s := range Settings() {
		if strings.HasSuffix(s.Var, "_EMULATOR_HOST") || strings.HasPrefix(s.Doc, "development only") || slices.Contains(left, s.Var) {
			continue
		}
		fmt.Fprintf(&b, "\n# %s\n", s.Doc)
		if value, ok := set[s.Var]; ok {
			fmt.Fprintf(&b, "%s=%s\n", s.Var, value)
		} else {
			fmt.Fprintf(&b, "#%s=%s\n", s.Var, s.Default)
		}
	}
	return b.String()
}
