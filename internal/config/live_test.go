package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReloadFile: what the file holds stands before the environment; what it may not hold is named, by its
// line.
func TestReloadFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "live.env")
	env := map[string]string{"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1", "EXPORTD_LOG_LEVEL": "warn", "EXPORTD_RATE_KEY_PER_SECOND": "7", ReloadVar: path}
	load := func(text string) (Config, error) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Load(func(name string) string { return env[name] }, nil)
	}
	c, err := load("# of today\n\nEXPORTD_LOG_LEVEL=debug\r\n EXPORTD_TRUSTED_PROXIES=10.0.0.0/8,192.0.2.0/24\nEXPORTD_RATE_IP_BURST=9")
	if err != nil || c.LogLevel != "debug" || c.RateIPBurst != 9 || c.RateKey != 7 || !slices.Equal(c.TrustedProxies, []string{"10.0.0.0/8", "192.0.2.0/24"}) {
		t.Errorf("%v, %+v", err, c)
	}
	if c, err = load(""); err != nil || c.LogLevel != "warn" || c.RateIP != 600 {
		t.Errorf("%v, %+v", err, c)
	}
	_, err = load("EXPORTD_LOG_LEVEL=loud\nwhat\nEXPORTD_JOB_SLOTS=3\nEXPORTD_RATE_IP_PER_SECOND=-1\n")
	for _, want := range []string{`EXPORTD_LOG_LEVEL="loud"`, "line 2 of " + path, "line 3 of", "EXPORTD_JOB_SLOTS is not taken anew", `EXPORTD_RATE_IP_PER_SECOND="-1"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if _, err = load(strings.Repeat("#\n", maxReload)); err == nil || !strings.Contains(err.Error(), "over 65536") {
		t.Errorf("a large file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(func(name string) string { return env[name] }, nil); err == nil || !strings.Contains(err.Error(), ReloadVar) {
		t.Errorf("no file: %v", err)
	}
	for _, name := range live { // each is a setting, and says so
		if i := slices.IndexFunc(Settings(), func(s Setting) bool { return s.Var == name }); i < 0 || !strings.Contains(Settings()[i].Meaning(), ReloadVar) {
			t.Errorf("%s is no setting, or does not say that it is live", name)
		}
	}
}
