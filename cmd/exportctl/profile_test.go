package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"exportd/api/client"
	"exportd/internal/apikey"
)

// home is a folder with a config file of two profiles, the first the default.
func home(t *testing.T) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "exportctl", "config.json")
	err := writeConfig(configFile{Default: "one", Profiles: map[string]profile{
		"one": {URL: "https://one.example.com", Key: "key_one_1", Secret: "secret-one", Workspace: "ws_1"},
		"two": {URL: "https://two.example.com", Key: "key_two_2", Secret: "secret-two", OpsKey: "key_ops_2", OpsSecret: "secret-ops"},
	}}, path)
	if err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func TestProfileOrder(t *testing.T) {
	t.Parallel()
	dir, _ := home(t)
	env := map[string]string{"EXPORTCTL_URL": "https://env.example.com", "EXPORTCTL_KEY": "key_env_1", "EXPORTCTL_SECRET": "s"}
	for name, test := range map[string]struct {
		vars map[string]string
		flag string
		want string
	}{
		"flag first":      {with(env, "EXPORTCTL_PROFILE", "one"), "two", "https://two.example.com"},
		"then variable":   {with(env, "EXPORTCTL_PROFILE", "two"), "", "https://two.example.com"},
		"then the three":  {env, "", "https://env.example.com"},
		"then default":    {nil, "", "https://one.example.com"},
		"unknown profile": {nil, "three", "no profile"},
		"csv profile":     {nil, "excel", "no profile"},
		"incomplete":      {map[string]string{"EXPORTCTL_URL": "https://env.example.com", "EXPORTCTL_KEY": "k"}, "", "EXPORTCTL_SECRET is not"},
	} {
		a := &app{environment: call{vars: with(test.vars, "XDG_CONFIG_HOME", dir)}.environment(nil, nil), profileName: test.flag}
		p, err := a.profile()
		got := p.URL
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

func with(vars map[string]string, name, value string) map[string]string {
	out := map[string]string{name: value}
	for k, v := range vars {
		out[k] = v
	}
	return out
}

func TestConfigThatOthersCanRead(t *testing.T) {
	t.Parallel()
	dir, path := home(t)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("config has mode %v (%v), want 0600", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	r := call{vars: map[string]string{"XDG_CONFIG_HOME": dir}}.run(t.Context(), "profiles", "list")
	r.want(t, exitUsage).says(t, "others may read it (mode 0640)", "chmod 600 "+path)
	if err := os.WriteFile(path, []byte(`{"profilse": {}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	call{vars: map[string]string{"XDG_CONFIG_HOME": dir}}.run(t.Context(), "profiles", "list").want(t, exitUsage).says(t, "is not a config file", "profilse")
}

func TestProfilesCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctl := func(c call, args ...string) result {
		c.vars = map[string]string{"XDG_CONFIG_HOME": dir}
		return c.run(t.Context(), append([]string{"profiles"}, args...)...)
	}
	ctl(call{}, "add", "prod").want(t, exitUsage).says(t, "--url and --key are required")
	ctl(call{stdin: "s3cret\n"}, "add", "a/b", "--url", "https://x.example.com", "--key", "key_1").want(t, exitUsage)
	ctl(call{stdin: "s3cret\n"}, "add", "prod", "--url", "ftp://x.example.com", "--key", "key_1").want(t, exitUsage).says(t, "BaseURL")
	ctl(call{stdin: ""}, "add", "prod", "--url", "https://x.example.com", "--key", "key_1").want(t, exitUsage).says(t, "is empty")
	ctl(call{stdin: "s3cret\n"}, "add", "prod", "--url", "https://x.example.com", "--key", "key_1", "--ops-key", "key_2").want(t, exitUsage).says(t, "1 line, for 2 secrets")
	ctl(call{stdin: "s3cret\nops3cret\n"}, "add", "prod", "--url", "https://x.example.com", "--key", "key_1", "--ops-key", "key_2").want(t, exitOK)
	r := ctl(call{terminal: true}, "add", "test", "--url", "https://t.example.com", "--key", "key_3").want(t, exitOK).says(t, "Secret of key_3: ")
	if strings.Contains(r.stderr+r.stdout, "typed-secret") {
		t.Error("the secret is shown")
	}
	ctl(call{}, "use", "test").want(t, exitOK)
	ctl(call{stdin: "s3cret\n"}, "add", "v3", "--url", "https://x.example.com", "--key", "key_1", "--signature-version", "3").want(t, exitUsage).says(t, "neither 1 nor 2")
	r = ctl(call{}, "list").want(t, exitOK).shows(t, "*  test", "https://x.example.com", "key_2")
	if strings.Contains(r.stdout, "s3cret") {
		t.Error("list shows secrets")
	}
	var list struct {
		Profiles []struct {
			Name string
			Used bool
		}
	}
	decode(t, ctl(call{}, "list", "--json").want(t, exitOK).stdout, &list)
	if len(list.Profiles) != 2 || !list.Profiles[1].Used {
		t.Errorf("profiles list --json = %+v", list)
	}
	ctl(call{}, "remove", "test").want(t, exitOK)
	ctl(call{}, "remove", "test").want(t, exitUsage).says(t, `no profile "test"`)
	// Nothing is left that says which service.
	ctl(call{}, "list").want(t, exitOK).shows(t, "prod")
}

func TestSign(t *testing.T) {
	t.Parallel()
	dir, _ := home(t)
	c := call{vars: map[string]string{"XDG_CONFIG_HOME": dir}, now: func() time.Time { return time.Unix(1_700_000_000, 0) }}
	signature := client.Sign("secret-one", "2023-11-14T22:13:20.000Z")
	want := "-H x-api-key:key_one_1 -H x-date:2023-11-14T22:13:20.000Z -H x-signature:" + signature
	if r := c.run(t.Context(), "sign").want(t, exitOK); r.stdout != want+"\n" {
		t.Errorf("sign = %q, want %q", r.stdout, want)
	}
	if r := c.run(t.Context(), "sign", "--url").want(t, exitOK); r.stdout != want+" https://one.example.com\n" {
		t.Errorf("sign --url = %q", r.stdout)
	}
	c.run(t.Context(), "sign", "--json").want(t, exitOK).shows(t, `"x-signature":"`+signature+`"`)
	c.vars = with(c.vars, "EXPORTCTL_URL", "https://x.example.com")
	c.vars["EXPORTCTL_KEY"], c.vars["EXPORTCTL_SECRET"], c.vars["EXPORTCTL_SIGNATURE_VERSION"] = "key_1", "s", "2"
	c.run(t.Context(), "sign").want(t, exitUsage).says(t, "its URL is missing")
	c.run(t.Context(), "sign", "--signature-version", "1").want(t, exitOK).shows(t, "x-signature:")
	c.vars["EXPORTCTL_SIGNATURE_VERSION"] = "3"
	c.run(t.Context(), "sign").want(t, exitUsage).says(t, "not 1 or 2")
	delete(c.vars, "EXPORTCTL_SIGNATURE_VERSION")
	for args, says := range map[string]string{
		"sign --signature-version 1 /workspaces":                             "for any request",
		"sign --data x":                                                      "for any request",
		"sign --signature-version 3 /x":                                      "neither 1 nor 2",
		"sign --signature-version 2 workspaces":                              "neither a URL nor a path",
		"sign --signature-version 2 /x#y":                                    "neither a URL nor a path",
		"sign --signature-version 2 https://u@x.example.com/":                "neither a URL nor a path",
		"sign --signature-version 2 /x /y":                                   "takes one URL",
		"sign --signature-version 2 --data @/nowhere/body.json /exports/a/b": "",
	} {
		r := c.run(t.Context(), strings.Fields(args)...).says(t, says)
		if r.code == exitOK || r.stdout != "" {
			t.Errorf("%s = %d, %q", args, r.code, r.stdout)
		}
	}
	c.run(t.Context(), "--profile", "two", "sign", "--ops").want(t, exitOK).shows(t, "x-api-key:key_ops_2")
}

// What is printed for version 2 is the signature of the documentation, of the request as curl sends it.
func TestSignVersion2(t *testing.T) {
	t.Parallel()
	c := call{stdin: `{"a":1}`, now: func() time.Time { return time.Unix(1_700_000_000, 0) }, vars: map[string]string{
		"EXPORTCTL_URL": "https://Exports.example.com:443/", "EXPORTCTL_KEY": "key_1", "EXPORTCTL_SECRET": "test-secret-0123456789abcdef", "EXPORTCTL_SIGNATURE_VERSION": "2",
	}}
	r := c.run(t.Context(), "sign", "--url", "--data", "@-", "/v1/jobs?x=a%20b&limit=10").want(t, exitOK)
	words := strings.Fields(r.stdout)
	if len(words) != 13 || words[12] != "https://Exports.example.com:443/v1/jobs?x=a%20b&limit=10" {
		t.Fatalf("sign = %q", r.stdout)
	}
	headers := map[string]string{}
	for i := 1; i < 12; i += 2 {
		name, value, _ := strings.Cut(words[i], ":")
		headers[name] = value
	}
	want := apikey.SignV2("test-secret-0123456789abcdef", apikey.Request{
		Method: "POST", Host: "exports.example.com", Path: "/v1/jobs", Query: "limit=10&x=a%20b", Body: []byte(`{"a":1}`),
	}, "key_1", "2023-11-14T22:13:20.000Z", headers["x-nonce"])
	if headers["x-signature"] != want || len(headers["x-nonce"]) < 22 || headers["x-signature-version"] != "2" {
		t.Errorf("sign = %v, want x-signature %s", headers, want)
	}
	if got := c.run(t.Context(), "sign", "/v1/jobs").want(t, exitOK).stdout; strings.Contains(got, headers["x-nonce"]) {
		t.Error("a nonce was used twice")
	}
	c.stdin = strings.Repeat("x", maxSignedBody+1)
	c.run(t.Context(), "sign", "--data", "@-", "/v1/jobs").want(t, exitFailed).says(t, "over 64 KiB")
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"nope":                                  `exportctl has no command "nope"`,
		"job list":                              "did you mean: exportctl jobs",
		"jobs nope":                             "exportctl jobs --help",
		"jobs get":                              "job id is missing",
		"jobs get a b":                          `takes one job id, and got "b" too`,
		"jobs list x":                           `takes no argument, and got "x"`,
		"jobs list --nope":                      "unknown flag: --nope",
		"jobs list -n 0":                        "--limit is 1 or more",
		"jobs list -n abc":                      `--limit is a whole number, not "abc"`,
		"keys rotate a --overlap x":             `--overlap is a time like 90s, 15m or 2h, not "x"`,
		"opps":                                  "did you mean: exportctl ops",
		"export vip-user":                       "did you mean: exportctl export vip-users",
		"export vipusers -o x.csv":              "did you mean: exportctl export vip-users",
		"expor vip-users -o x.csv":              "did you mean: exportctl export",
		"ops causes X-0a1b2c3d4e5f --nope":      "unknown flag: --nope",
		"jobs show":                             "job id is missing",
		"ops queues pause exports":              "--reason is missing",
		"ops rerun a --dry-run":                 "are for --filter",
		"ops rerun --filter a=b,a=c":            "has a twice",
		"ops callback redeliver":                "neither a job nor a --filter",
		"ops callback redeliver a":              "--reason is missing",
		"ops callback redeliver a --filter b=c": "give one of them",
		"ops callback redeliver a --dry-run":    "is for --filter",
		"ops receivers resume https://a.example --reason x": "--org is missing",
		"ops receivers resume --reason x":                   "origin (scheme, host and port) is missing",
		"keys create --scope read --reason r":               "--org and --scope are required",
		"keys create --org o --scope read":                  "--reason is missing",
		"keys rotate a":                                     "--reason is missing",
		"keys revoke a":                                     "--reason is missing",
		"keys get":                                          "key id is missing",
		"keys rotate":                                       "key id is missing",
		"keys rotate a --reason r --overlap 10ms":           "whole seconds",
		"keys rotate a --reason r --overlap -1s":            "whole seconds",
		"keys revoke a b":                                   `takes one key id, and got "b" too`,
	} {
		r := call{}.run(t.Context(), strings.Fields(args)...)
		r.want(t, exitUsage).says(t, says)
	}
	// What is missing is said at once, and without asking the service.
	vars := map[string]string{"EXPORTCTL_URL": "http://127.0.0.1:1", "EXPORTCTL_KEY": "key_1", "EXPORTCTL_SECRET": "s"}
	for args, says := range map[string]string{
		"export vip-users":                         "--workspace and --medium are missing",
		"export vip-users -w a":                    "--medium is missing",
		"export vip-messages --json":               `{"error":{"message":"--workspace, --medium, --from and --to are missing","hint":"Give them here, or for good: exportctl profiles add --help","exitCode":2}}`,
		"messages -w a -m b --from 2026-01-01":     "--to is missing",
		"labels -w a -m b":                         "--from and --to are missing",
		"rows vip-users --json --limit x --offset": `{"error":{"message":"`,
	} {
		call{vars: vars}.run(t.Context(), strings.Fields(args)...).want(t, exitUsage).says(t, says)
	}
	// The help has all exit codes.
	call{}.run(t.Context(), "--help").want(t, exitOK).shows(t, "Exit codes:", "0  done", "1  failed", "2  called wrong", "3  the job", "4  no such", "5  the key", "6  rate limited", "130 interrupted")
	// Without a service there is a way to one.
	t.Run("no service", func(t *testing.T) {
		call{}.run(t.Context(), "--profile", filepath.Join(t.TempDir(), "demo.json"), "jobs", "list").want(t, exitFailed).says(t, "exportctl: read profile: open ", "no such file")
		call{}.run(t.Context(), "jobs", "list").want(t, exitUsage).says(t, "no service to talk to", "exportd-dev run")
	})
}
