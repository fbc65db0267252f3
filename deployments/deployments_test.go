package deployments_test

import (
	"os"
	"strings"
	"testing"
)

// TestManifest: what production refuses to start without, or misbehaves without, is set for
// both processes.
func TestManifest(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(raw), "\n---\n")
	if len(parts) != 2 {
		t.Fatalf("%d documents, want the API and the worker", len(parts))
	}
	for i, want := range [][]string{
		{"EXPORTD_PROJECT_ID", "EXPORTD_KEYSET_FILE", "EXPORTD_KMS_KEY", "EXPORTD_TRUSTED_PROXIES", "EXPORTD_OPS_ADDR", "mountPath: /etc/exportd"},
		{"EXPORTD_PROJECT_ID", "EXPORTD_KEYSET_FILE", "EXPORTD_KMS_KEY", "EXPORTD_WORKER_ID", "EXPORTD_OPS_ADDR", "mountPath: /etc/exportd"},
	} {
		_, spec, _ := strings.Cut(parts[i], "apiVersion:")
		for _, w := range want {
			if !strings.Contains(spec, w) {
				t.Errorf("document %d does not set %s", i, w)
			}
		}
	}
}
