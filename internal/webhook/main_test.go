package webhook

import (
	"bufio"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// urlList reads a list of testdata, with its control bytes unescaped.
func urlList(tb testing.TB, name string) []string {
	tb.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read-only
	unescape := strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\0`, "\x00")
	var out []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		out = append(out, unescape.Replace(lines.Text()))
	}
	if len(out) < 10 {
		tb.Fatalf("%s has %d lines", name, len(out))
	}
	return out
}

// randomSecret makes a secret, as keys have them (apikey.RandomSecret).
func randomSecret() Secret { return secretOf([]byte(rand.Text())) }
