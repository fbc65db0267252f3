// Package machinetest is for tests that need something of the machine that not every one has: a program, a
// service, a package of another language.
package machinetest

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// Lacks skips a test for what is missing, and how to get it, or fails it where everything must run, as in CI.
func Lacks(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("EXPORTD_REQUIRE_ALL") == "1" {
		t.Fatalf("missing, and EXPORTD_REQUIRE_ALL=1: %s", what)
	}
	t.Skipf("missing: %s", what)
}

// Program is where a program is, on PATH.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Lacks(t, name)
	}
	return path
}

// profiles are LibreOffice's, by test: two that run beside each other cannot have one, and making one takes
// longer than a file.
var profiles sync.Map

// LibreOffice has files be read by one of its filters and written by another, and gives the folder of what
// comes of them.
func LibreOffice(t testing.TB, in, to string, files ...string) (out string) {
	t.Helper()
	profile, found := profiles.Load(t)
	if !found {
		profile = t.TempDir()
		profiles.Store(t, profile)
		t.Cleanup(func() { profiles.Delete(t) })
	}
	out = t.TempDir()
	args := []string{"--headless", "--norestore", fmt.Sprint("-env:UserInstallation=file://", profile), "--infilter=" + in, "--convert-to", to, "--outdir", out}
	if text, err := exec.CommandContext(t.Context(), Program(t, "soffice"), append(args, files...)...).CombinedOutput(); err != nil {
		t.Fatalf("soffice: %v: %.1000s", err, text)
	}
	return out
}
