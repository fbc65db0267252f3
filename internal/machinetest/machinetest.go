// Package machinetest is for tests that need something of the machine that not every one has: a program, a
// service, a package of another language.
package machinetest

import (
	"os"
	"os/exec"
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
