package fieldstest

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"exportd/internal/localcloud/fields"
)

// ignored is the variable of the environment that has which field the servers of a test ignore.
const ignored = "FIELDSTEST_IGNORED"

// Ignore has servers with the table ignore the field that mustFail asks this process to: for an init of the
// package's tests.
func Ignore(t fields.Table) {
	if name := os.Getenv(ignored); name != "" {
		t[protoreflect.FullName(name)] = fields.Ignored
	}
}

// mustFail runs a test of the package again, in a process whose servers ignore a field.
func mustFail(tb testing.TB, test, field string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), ignored+"="+field)
	out, err := cmd.CombinedOutput()
	if !strings.Contains("\n"+string(out), "\n--- FAIL: "+test+" ") {
		tb.Errorf("%s: a server that ignores it does not fail %s: %v\n%s", field, test, err, out)
	}
}
