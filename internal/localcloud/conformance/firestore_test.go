//go:build conformance

package conformance

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"exportd/internal/localcloud"
)

//go:embed testdata/firestore.indexes.json
var indexes []byte

//go:embed testdata/expectations.txt
var expectations string

const (
	client = "cloud.google.com/go/firestore"
	suite  = "TestIntegration_DefaultDB"
	// suiteLimit is far above the 4 s that the suite takes.
	suiteLimit = 2 * time.Minute
	// suiteTests are how many there are, so that one that vanishes is noticed.
	suiteTests = 52
	// noKey is a file that parses; nothing in it is a key, and nothing uses it.
	noKey = `{"type":"service_account","project_id":"none","client_email":"none@example.invalid","private_key":"none","token_uri":"http://127.0.0.1:9/"}`
)

// TestFirestoreGo runs the integration tests of the Go client, of the version in go.mod and with the tests
// that it skips on emulators, on a server that demands indexes. testdata has the indexes that the suite's
// project has in production, as --index-learn wrote them down.
func TestFirestoreGo(t *testing.T) {
	cloud, err := localcloud.Start(t.Context(), localcloud.Config{DataDir: t.TempDir(), IndexesJSON: indexes, Lax: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cloud.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	dir := t.TempDir()
	binary, key := filepath.Join(dir, "firestore.test"), filepath.Join(dir, "key.json")
	if err := os.WriteFile(key, []byte(noKey), 0o600); err != nil {
		t.Fatal(err)
	}
	source := withProfiling(t, dir)
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-modfile", filepath.Join(dir, "go.mod"), "-o", binary, client).CombinedOutput(); err != nil {
		t.Fatalf("build the client's tests: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.run", "^"+suite+"$")
	cmd.Dir = source // its testdata
	cmd.Env = append(os.Environ(), "FIRESTORE_EMULATOR_HOST="+cloud.Endpoints().Firestore, "GCLOUD_TESTS_GOLANG_FIRESTORE_PROJECT_ID=demo-conformance",
		"GCLOUD_TESTS_GOLANG_FIRESTORE_KEY="+key, "GCLOUD_TESTS_GOLANG_FIRESTORE_ENTERPRISE_DATABASES=", "GOOGLE_APPLICATION_CREDENTIALS=")
	out, _ := cmd.CombinedOutput() // what failed is in it
	judge(t, string(out))
}

// profilingSkip is what four tests of the suite do wherever FIRESTORE_EMULATOR_HOST is set.
const (
	profilingSkip  = `t.Skip("Skipping. Query profiling not supported in emulator.")`
	profilingTests = 4
)

// withProfiling copies the client's module into dir, without the skips of the tests that have queries
// explained, and makes a go.mod there that has the client there. It returns the folder of the copy.
func withProfiling(t *testing.T, dir string) string {
	t.Helper()
	list := func(what ...string) string {
		out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-m", "-f"}, what...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	source := filepath.Join(dir, "client")
	if err := os.CopyFS(source, os.DirFS(list("{{.Dir}}", client))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(source, "integration_test.go")
	tests, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(tests), profilingSkip); n != profilingTests {
		t.Fatalf("the client's suite skips profiling %d times, want %d", n, profilingTests)
	}
	// Files of the module cache, and so their copies, are for reading only.
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte(strings.ReplaceAll(string(tests), profilingSkip, "_ = t")), 0o600)); err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(list("{{.GoMod}}"))
	for _, name := range []string{"go.mod", "go.sum"} {
		raw, err := os.ReadFile(filepath.Join(root, name))
		if err == nil && name == "go.mod" {
			raw = fmt.Appendf(raw, "\nreplace %s => %s\n", client, source)
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name), raw, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return source
}

var verdictLine = regexp.MustCompile(`(?m)^ {4}--- (PASS|FAIL|SKIP): ` + suite + `/([^/ ]+) `)

// either is expected of a test that goes by how fast the server is.
const either = "EITHER"

// judge holds the suite's verdicts against what is expected.
func judge(t *testing.T, out string) {
	t.Helper()
	want := map[string]string{}
	for line := range strings.Lines(expectations) {
		if fields := strings.Fields(line); len(fields) > 2 && !strings.HasPrefix(line, "#") {
			want[fields[0]] = fields[1]
		}
	}
	counts, seen, wrong := map[string]int{}, map[string]bool{}, false
	for _, m := range verdictLine.FindAllStringSubmatch(out, -1) {
		verdict, name := m[1], m[2]
		counts[verdict]++
		seen[name] = true
		if expected := want[name]; expected != either && verdict != expected && (expected != "" || verdict != "PASS") {
			wrong = true
			t.Errorf("%s: %s, want %s", name, verdict, cmp.Or(expected, "PASS"))
		}
	}
	for name := range want {
		if !seen[name] {
			t.Errorf("%s is in the expectations and not in the suite", name)
		}
	}
	if len(seen) != suiteTests {
		wrong = true
		t.Errorf("%d tests ran, want %d", len(seen), suiteTests)
	}
	t.Logf("%d passed, %d failed, %d skipped", counts["PASS"], counts["FAIL"], counts["SKIP"])
	if wrong {
		t.Logf("%s", out[max(0, len(out)-20_000):])
	}
}
