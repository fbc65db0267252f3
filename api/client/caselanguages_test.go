package client_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"exportd/internal/machinetest"
)

// TestPython has the Python client do the cases, and runs its own tests.
func TestPython(t *testing.T) {
	t.Parallel()
	program := machinetest.Program(t, "python3")
	t.Run("cases", func(t *testing.T) {
		t.Parallel()
		doCases(t, program, "python/tests/run_cases.py")
	})
	t.Run("own", func(t *testing.T) {
		t.Parallel()
		cmd := exec.CommandContext(t.Context(), program, "-W", "error", "python/tests/test_client.py")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestTypeScript has the TypeScript client do the cases, runs its own tests, and looks at its types: they are
// those of openapi.yaml, and say what they must of what callers write.
func TestTypeScript(t *testing.T) {
	t.Parallel()
	dist, program := buildTypeScript(t), machinetest.Program(t, "node")
	t.Run("cases", func(t *testing.T) {
		t.Parallel()
		doCases(t, program, "typescript/test/run-cases.mjs", dist)
	})
	t.Run("own", func(t *testing.T) {
		t.Parallel()
		cmd := exec.CommandContext(t.Context(), program, "--test", "--test-reporter=spec", "typescript/test/client.test.mjs")
		cmd.Env = append(os.Environ(), "EXPORTD_CLIENT_DIST="+dist)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("types", func(t *testing.T) {
		t.Parallel()
		made := filepath.Join(t.TempDir(), "openapi.ts")
		typeScriptTool(t, "openapi-typescript/bin/cli.js", "../openapi.yaml", "--output", made)
		want, err := os.ReadFile(made)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := os.ReadFile("typescript/src/openapi.ts"); err != nil || !bytes.Equal(have, want) {
			t.Errorf("typescript/src/openapi.ts is not what openapi.yaml gives (%v): make generate", err)
		}
		typeScriptTool(t, "typescript/bin/tsc", "--project", "typescript/tsconfig.test.json")
	})
}

// doCases has a program do all cases and say on a line each what came of it.
func doCases(t *testing.T, program string, args ...string) {
	t.Helper()
	f := readCases(t)
	s := newCaseServer(f)
	server := httptest.NewServer(s)
	defer server.Close()
	input, err := json.Marshal(map[string]any{"clock": f.Clock, "key": f.Key, "secret": f.Secret, "cases": f.Cases})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, append(args, server.URL)...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	lines := json.NewDecoder(bufio.NewReader(bytes.NewReader(out)))
	passed := make([]bool, len(f.Cases))
	for i := range f.Cases {
		var e ended
		if err := lines.Decode(&e); err != nil || e.Name != f.Cases[i].Name {
			t.Fatalf("it says %q of case %q: %v", e.Name, f.Cases[i].Name, err)
		}
		passed[i] = s.judge(t, i, e)
	}
	f.tell(t, filepath.Base(program), passed)
	if err := lines.Decode(&ended{}); err != io.EOF {
		t.Errorf("it says more than there are cases: %v", err)
	}
}

// typeScriptTool runs what npm has installed for the TypeScript client.
func typeScriptTool(t *testing.T, script string, args ...string) {
	t.Helper()
	path := filepath.Join("typescript", "node_modules", script)
	if _, err := os.Stat(path); err != nil {
		machinetest.Lacks(t, "TypeScript (npm ci --prefix api/client/typescript)")
	}
	if out, err := exec.CommandContext(t.Context(), machinetest.Program(t, "node"), append([]string{path}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// buildTypeScript compiles the TypeScript client, and returns where it is.
func buildTypeScript(t *testing.T) string {
	t.Helper()
	dist := filepath.Join(t.TempDir(), "dist")
	typeScriptTool(t, "typescript/bin/tsc", "--project", "typescript", "--outDir", dist)
	for _, name := range []string{"package.json", "README.md", "LICENSE"} { // what is packed
		copyFile(t, filepath.Join("typescript", name), filepath.Join(filepath.Dir(dist), name))
	}
	return dist
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
