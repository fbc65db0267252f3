package machinetest

import (
	"path/filepath"
	"testing"
)

// outcome notes what becomes of a test.
type outcome struct {
	testing.TB
	skipped, failed bool
}

func (*outcome) Helper()                 {}
func (o *outcome) Skipf(string, ...any)  { o.skipped = true }
func (o *outcome) Fatalf(string, ...any) { o.failed = true; panic(o) }

func TestLacks(t *testing.T) {
	for value, fails := range map[string]bool{"": false, "0": false, "1": true} {
		t.Setenv("EXPORTD_REQUIRE_ALL", value)
		o := &outcome{TB: t}
		func() {
			defer func() { _ = recover() }() // as the real one, Fatalf does not return
			Lacks(o, "a program")
		}()
		if o.failed != fails || o.skipped == fails {
			t.Errorf("with EXPORTD_REQUIRE_ALL=%q it fails: %t, skips: %t", value, o.failed, o.skipped)
		}
	}
}

func TestProgram(t *testing.T) {
	if path := Program(t, "go"); !filepath.IsAbs(path) {
		t.Errorf("go is at %q", path)
	}
	t.Setenv("EXPORTD_REQUIRE_ALL", "0")
	o := &outcome{TB: t}
	if path := Program(o, "no-such-program"); path != "" || !o.skipped {
		t.Errorf("no-such-program is at %q, skipped: %t", path, o.skipped)
	}
}
