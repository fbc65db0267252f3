package config_test

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/internal/config"
)

// load reads settings given as names and values by turns, and a keyset unless one is given.
func load(environ ...string) (config.Config, config.Faults, error) {
	given := map[string]string{"EXPORTD_KEYSET_FILE": "keyset.json"}
	var kv []string
	for i := 0; i < len(environ); i += 2 {
		given[environ[i]] = environ[i+1]
		kv = append(kv, environ[i]+"="+environ[i+1])
	}
	c, err := config.Load(func(name string) string { return given[name] }, kv)
	var faults config.Faults
	errors.As(err, &faults)
	return c, faults, err
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, _, err := load("EXPORTD_PROJECT_ID", "p")
	if err != nil {
		t.Fatal(err)
	}
	if c.Env != "production" || c.Bucket != "p-exports" || c.DatabaseID != "(default)" || c.WorkerID == "" || c.Wait != 10*time.Second || c.FileLife != 7*24*time.Hour {
		t.Errorf("of an empty environment: %+v", c)
	}
	if c.OpsAddr != "127.0.0.1:0" || c.PProf || c.LogFormat != "json" {
		t.Errorf("operators are answered at %q, with profiles: %t; logs are %s", c.OpsAddr, c.PProf, c.LogFormat)
	}
	if c, _, err := load("EXPORTD_PROJECT_ID", "p", "EXPORTD_OPS_ADDR", "none"); err != nil || c.OpsAddr != "" {
		t.Errorf("operators are answered at %q, %v, want nowhere", c.OpsAddr, err)
	}
	if _, faults, _ := load("EXPORTD_PROJECT_ID", "p", "EXPORTD_OPS_ADDR", "9090"); len(faults) != 1 {
		t.Errorf("a port without a host: %v", faults)
	}
	c, _, err = load("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1", "STORAGE_EMULATOR_HOST", "http://127.0.0.1:2")
	if err != nil || c.Env != "development" || c.ProjectID != "exportd-local" || c.StorageHost != "127.0.0.1:2" {
		t.Errorf("with emulators: %+v, %v", c, err)
	}
}

// TestAddr: loopback in development; in production every address, at the port that whatever runs the
// container names.
func TestAddr(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		environ []string
		want    string
	}{
		{[]string{"EXPORTD_PROJECT_ID", "p"}, ":8080"},
		{[]string{"EXPORTD_PROJECT_ID", "p", "PORT", "9000"}, ":9000"},
		{[]string{"EXPORTD_PROJECT_ID", "p", "PORT", "9000", "EXPORTD_ADDR", "10.0.0.1:80"}, "10.0.0.1:80"},
		{[]string{"EXPORTD_ENV", "development", "PORT", "9000"}, config.LoopbackAddr},
		{[]string{"PUBSUB_EMULATOR_HOST", "127.0.0.1:1"}, config.LoopbackAddr},
		{[]string{"EXPORTD_ENV", "development", "EXPORTD_ADDR", ":81"}, ":81"},
	} {
		if got, _, err := load(c.environ...); err != nil || got.Addr != c.want {
			t.Errorf("%v: listens on %q, %v, want %q", c.environ, got.Addr, err, c.want)
		}
	}
}

// TestPolicy: the numbers of the protocol hold together for every lease that may be set.
func TestPolicy(t *testing.T) {
	t.Parallel()
	for _, seconds := range []string{"3", "30", "600"} {
		c, _, err := load("EXPORTD_PROJECT_ID", "p", "EXPORTD_LEASE_SECONDS", seconds)
		if err != nil {
			t.Fatal(err)
		}
		p := c.Policy()
		if p.RenewEvery*3 > p.LeaseFor || p.NotifyAgain >= p.LeaseFor || p.SweepAfter <= p.LeaseFor+p.Skew || p.Skew < 2*time.Second {
			t.Errorf("with a lease of %s s: %+v", seconds, p)
		}
		if p.SnapshotLife >= time.Hour {
			t.Errorf("a snapshot counts as readable for %s; Firestore keeps an hour", p.SnapshotLife)
		}
	}
	c, _, _ := load("EXPORTD_PROJECT_ID", "p", "EXPORTD_PITR", "true")
	if life := c.Policy().SnapshotLife; life <= 6*24*time.Hour || life >= 7*24*time.Hour {
		t.Errorf("with point-in-time recovery a snapshot counts as readable for %s", life)
	}
}

// TestBounds: the bounds that a setting's text names are the ones it has.
func TestBounds(t *testing.T) {
	t.Parallel()
	bounds := regexp.MustCompile(`\b(\d+) to (\d+)\b`)
	found := 0
	for _, s := range config.Settings() {
		m := bounds.FindStringSubmatch(s.Doc)
		if m == nil {
			continue
		}
		found++
		lo, _ := strconv.ParseInt(m[1], 10, 64)
		hi, _ := strconv.ParseInt(m[2], 10, 64)
		for value, ok := range map[string]bool{
			m[1]: true, m[2]: true, strconv.FormatInt(lo-1, 10): false, strconv.FormatInt(hi+1, 10): false,
			m[1] + "x": false, "1.5": false, "99999999999999999999": false,
		} {
			_, faults, _ := load("EXPORTD_PROJECT_ID", "p", "EXPORTD_RECORD_DAYS", "3650", s.Var, value)
			wrong := false
			for _, f := range faults {
				wrong = wrong || strings.HasPrefix(f, s.Var+"=")
			}
			if wrong == ok {
				t.Errorf("%s=%s: faults %q; its text is %q", s.Var, value, faults, s.Doc)
			}
		}
	}
	if found < 10 {
		t.Errorf("%d settings name bounds: the pattern misses them", found)
	}
}

// TestFaults: everything that is wrong is said at once, each with its variable.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		environ, want []string
	}{
		"nothing given": {nil, []string{"EXPORTD_PROJECT_ID: missing"}},
		"all at once": {
			[]string{"EXPORTD_PITR", "perhaps", "EXPORTD_LOG_LEVEL", "loud", "EXPORTD_ADDR", "nowhere", "PUBSUB_EMULATOR_HOST", "x", "EXPORTD_KMS_KEY", "k"},
			[]string{`EXPORTD_PITR="perhaps"`, `EXPORTD_LOG_LEVEL="loud"`, `EXPORTD_ADDR="nowhere"`, `PUBSUB_EMULATOR_HOST="x"`, `EXPORTD_KMS_KEY="k"`, "EXPORTD_PROJECT_ID: missing"},
		},
		"misspelt": {[]string{"EXPORTD_PROJECT_ID", "p", "EXPORTD_PIRT", "true"}, []string{"EXPORTD_PIRT: no such setting"}},
		"emulators in production": {
			[]string{"EXPORTD_PROJECT_ID", "p", "EXPORTD_ENV", "production", "STORAGE_EMULATOR_HOST", "127.0.0.1:1"},
			[]string{"EXPORTD_ENV=production: does not go with FIRESTORE_EMULATOR_HOST"},
		},
		"http callbacks in production": {
			[]string{"EXPORTD_PROJECT_ID", "p", "EXPORTD_CALLBACK_ALLOW_HTTP", "true"}, []string{"EXPORTD_ENV=production: does not go with EXPORTD_CALLBACK_ALLOW_HTTP"},
		},
		"callbacks to this machine in production": {
			[]string{"EXPORTD_PROJECT_ID", "p", "EXPORTD_CALLBACK_ALLOW_CIDRS", "127.0.0.0/8"}, []string{"EXPORTD_ENV=production: does not go with EXPORTD_CALLBACK_ALLOW_HTTP"},
		},
		"any callback port in production": {
			[]string{"EXPORTD_PROJECT_ID", "p", "EXPORTD_CALLBACK_ALLOW_PORTS", "0"}, []string{"EXPORTD_ENV=production: does not go with EXPORTD_CALLBACK_ALLOW_HTTP"},
		},
		"a record that its file outlives": {
			[]string{"EXPORTD_PROJECT_ID", "p", "EXPORTD_FILE_DAYS", "30", "EXPORTD_RECORD_DAYS", "29"}, []string{"EXPORTD_RECORD_DAYS: less than EXPORTD_FILE_DAYS"},
		},
		"a port that is none":     {[]string{"EXPORTD_PROJECT_ID", "p", "PORT", "http"}, []string{`PORT="http"`}},
		"no keyset in production": {[]string{"EXPORTD_PROJECT_ID", "p", "EXPORTD_KEYSET_FILE", ""}, []string{"EXPORTD_KEYSET_FILE: missing"}},
		"a probe in clear":        {[]string{"EXPORTD_PROJECT_ID", "p", "EXPORTD_CALLBACK_PROBE_URL", "http://example.com"}, []string{`EXPORTD_CALLBACK_PROBE_URL="http://example.com"`}},
		"a key for no keyset": {
			[]string{"EXPORTD_ENV", "development", "EXPORTD_KEYSET_FILE", "", "EXPORTD_KMS_KEY", "projects/p/locations/l/keyRings/r/cryptoKeys/k"}, []string{"EXPORTD_KMS_KEY: without EXPORTD_KEYSET_FILE"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, faults, err := load(c.environ...)
			if err == nil || len(faults) != len(c.want) {
				t.Fatalf("faults = %q, want %d", faults, len(c.want))
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), "\n  "+want) {
					t.Errorf("%q is not in:\n%v", want, err)
				}
			}
		})
	}
}

// TestConsoleSignIn: what lets people in by name is whole, or refused at start with what is missing.
func TestConsoleSignIn(t *testing.T) {
	t.Parallel()
	const audience, issuer = "/projects/1234/global/backendServices/5678", "https://accounts.google.com"
	iap := []string{"EXPORTD_CONSOLE_IAP_AUDIENCE", audience, "EXPORTD_CONSOLE_VIEWERS", "@example.com, oncall of night ,a@example.com"}
	oidc := []string{"EXPORTD_CONSOLE_OIDC_ISSUER", issuer, "EXPORTD_CONSOLE_OIDC_CLIENT_ID", "c", "EXPORTD_CONSOLE_URL", "https://exports.example.com/", "EXPORTD_CONSOLE_ADMINS", "a@example.com"}
	with := func(environ []string, more ...string) []string {
		return append(append([]string{"EXPORTD_PROJECT_ID", "p"}, environ...), more...)
	}
	c, _, err := load(with(iap)...)
	if err != nil || c.SignIn.IAPAudience != audience || strings.Join(c.SignIn.Viewers, "|") != "@example.com|oncall of night|a@example.com" || c.SignIn.RoleClaim != "groups" {
		t.Errorf("by Identity-Aware Proxy: %+v, %v", c.SignIn, err)
	}
	if c, _, err = load(with(oidc)...); err != nil || c.SignIn.Issuer != issuer || c.SignIn.URL != "https://exports.example.com" {
		t.Errorf("by a provider: %+v, %v", c.SignIn, err)
	}
	if _, _, err := load(with(append(iap[:2:2], oidc...))...); err != nil {
		t.Errorf("by both: %v", err)
	}
	for _, tc := range []struct {
		environ []string
		says    string
	}{
		{with(iap[:2]), "one of them is needed"},
		{with(iap[2:]), "nobody is signed in by name"},
		{with(oidc[:2], "EXPORTD_CONSOLE_ADMINS", "a", "EXPORTD_CONSOLE_URL", "https://a.example"), "the provider knows no console"},
		{with(oidc[:4], "EXPORTD_CONSOLE_ADMINS", "a"), "nowhere to send browsers back to"},
		{with(oidc[2:4]), "there is no provider"},
		{with(oidc[4:6]), "nothing needs it"},
		{with(nil, "EXPORTD_CONSOLE_OIDC_SECRET_FILE", "x"), "there is no provider"},
		{with(nil, "EXPORTD_CONSOLE_CONTACT", "x"), "nobody is shown it"},
		{with(iap, "EXPORTD_CONSOLE", "none"), "does not go with"},
		{with(iap[2:], "EXPORTD_CONSOLE_IAP_AUDIENCE", "/projects/name/global/backendServices/exportd-console"), "with numbers and no names"},
		{with(oidc[2:], "EXPORTD_CONSOLE_OIDC_ISSUER", "http://provider.example"), "an https URL is wanted"},
		{with(oidc[2:], "EXPORTD_CONSOLE_OIDC_ISSUER", "http://127.0.0.1:9"), "does not go with http"},
		{with(append(oidc[:4:4], oidc[6:]...), "EXPORTD_CONSOLE_URL", "https://a.example/console"), "without a path"},
		{with(oidc[:6], "EXPORTD_CONSOLE_ADMINS", "a\u202e@example.com"), "addresses, @domains or groups"},
		{with(oidc[:6], "EXPORTD_CONSOLE_ADMINS", "@"), "addresses, @domains or groups"},
		{with(oidc, "EXPORTD_CONSOLE_CONTACT", strings.Repeat("x", 201)), "up to 200 characters"},
		{with(oidc, "EXPORTD_CONSOLE_CONTACT", "ask \xff"), "up to 200 characters"},
	} {
		if _, faults, _ := load(tc.environ...); !strings.Contains(faults.Error(), tc.says) {
			t.Errorf("%v = %v, want: %s", tc.environ[2:], faults, tc.says)
		}
	}
}
