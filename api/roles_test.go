package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/jobs"
)

// granted is the judge of who may do what: which roles each operation of openapi.yaml is for. Open routes are
// for all. It is written by hand from the contract, not from the table of routes.
var granted = map[string]string{
	"GET /limits":     "read export ops view admin platform",
	"GET /workspaces": "read", "GET /channels": "read", "GET /vip-users": "read", "GET /vip-messages": "read", "GET /vip-labels/overview": "read",
	"GET /vip-users/export": "export", "GET /vip-messages/export": "export",
	"GET /exports": "read export", "GET /exports/{jobId}": "read export", "GET /exports/{jobId}/csv": "read export", "GET /exports/{jobId}/manifest": "read export", "GET /exports/{jobId}/events": "read export",
	"POST /exports/{jobId}/cancel": "export", "DELETE /exports/{jobId}": "export", "POST /exports/{jobId}/callback/test": "export",
	"GET /ops/*": "ops view", "POST /ops/*": "ops",
	"GET /admin/*": "admin platform", "POST /admin/*": "admin platform",
	"GET /files/{token}": "*", "HEAD /files/{token}": "*", "GET /healthz": "*", "GET /readyz": "*", "GET /openapi.json": "*", "GET /docs": "*", "GET /": "*", "GET /docs/": "*", "GET /docs/{file}": "*",
}

func rolesOf(t *testing.T, operation string) string {
	t.Helper()
	if roles, ok := granted[operation]; ok {
		return roles
	}
	for pattern, roles := range granted {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(operation, prefix) {
			return roles
		}
	}
	t.Errorf("%s: nobody has said who may do it", operation)
	return ""
}

// TestRoles asks every operation of openapi.yaml with every role, in the org that has the job, in another
// one, and of a key that is disabled or expired.
func TestRoles(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Nonces, c.PrivilegedV1 = nonces(), false })
	roles := append([]apikey.Scope{""}, apikey.AllScopes...)
	for _, org := range []string{"org1", "org2"} {
		for _, role := range roles {
			for _, state := range []string{"good", "dead", "late", "away"} {
				k := &apikey.Key{ID: "key_" + org + string(role) + state, OrgID: org, State: apikey.Active, Scopes: []apikey.Scope{role}, Secrets: []apikey.SigningSecret{{Secret: apikey.NewSecret(testSecret)}}}
				switch state {
				case "dead":
					k.State = apikey.Disabled
				case "late":
					k.ExpiresAt = noon
				case "away":
					k.IPRanges = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
				}
				b.keys.keys = append(b.keys.keys, k)
			}
		}
	}
	tried, misses := 0, 0
	miss := func(format string, args ...any) { misses++; t.Errorf(format, args...) }
	for path, item := range contract.doc.Paths.Map() {
		for method := range item.Operations() {
			allowed := rolesOf(t, method+" "+path)
			for _, org := range []string{"org1", "org2"} {
				for _, role := range roles {
					for state, refusal := range map[string]int{"good": 0, "dead": http.StatusUnauthorized, "late": http.StatusUnauthorized, "away": http.StatusForbidden} {
						job := b.jobs.set(jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org1", Kind: "vip-users", State: jobs.Queued, CreatedAt: noon})
						target := strings.NewReplacer("{jobId}", job.ID, "{keyId}", "key_one1", "{batchId}", "b", "{queue}", "exports", "{file}", "x").Replace(path)
						switch path {
						case "/channels":
							target += "?workspaceId=ws1"
						case "/vip-labels/overview":
							target += "?" + gateParams + windowParams
						case "/exports/{jobId}/events":
							b.jobs.set(jobs.Job{ID: job.ID, Schema: jobs.SchemaVersion, OrgID: "org1", Kind: "vip-users", State: jobs.Canceled, CreatedAt: noon})
						}
						if d := dataset.BuiltIn.Get(strings.TrimSuffix(path[1:], "/export")); d != nil {
							target += "?" + paramsOf(d)
						}
						body := ""
						if method == http.MethodPost && !strings.HasSuffix(path, "/callback/test") {
							body = `{"reason":"r"}`
						}
						if path == "/admin/keys" && method == http.MethodPost {
							body = `{"orgId":"org1","name":"n","scopes":["read"],"reason":"r"}`
						}
						if strings.HasSuffix(path, "/budget") {
							body = `{"rowsPerDay":null,"reason":"r"}`
						}
						got := b.do(requestV2(t, "key_"+org+string(role)+state, method, target, body)).Code
						tried++
						open := allowed == "*"
						may := open || slices.Contains(strings.Fields(allowed), string(role))
						// What is org1's and not theirs is not there for others; operators and the platform
						// have all orgs.
						foreign := org != "org1" && may && !open && role != apikey.ScopeOps && role != apikey.ScopeView && role != apikey.ScopePlatform &&
							(strings.Contains(path, "{jobId}") || strings.Contains(path, "{keyId}") || strings.Contains(target, "workspaceId=ws1"))
						name := fmt.Sprintf("%s %s by %s %q of %s", method, path, state, role, org)
						switch {
						case open && got >= 400 && got != http.StatusNotFound:
							miss("%s = %d, want it open", name, got)
						case open:
						case refusal != 0 && got != refusal:
							miss("%s = %d, want %d", name, got, refusal)
						case refusal != 0:
						case !may && got != http.StatusForbidden:
							miss("%s = %d, want 403", name, got)
						case foreign && got != http.StatusNotFound:
							miss("%s = %d, want 404", name, got)
						case path == "/admin/keys" && method == http.MethodPost && role == apikey.ScopeAdmin && org == "org2":
							if got != http.StatusForbidden {
								miss("%s = %d, want 403: a key for another org", name, got)
							}
						case may && !foreign && (got == http.StatusUnauthorized || got == http.StatusForbidden):
							miss("%s = %d, want it done", name, got)
						}
					}
				}
			}
		}
	}
	t.Logf("%d combinations of operation, role, org and state of the key: %d misses", tried, misses)
}

// TestPrivileged: version 1 signs the date alone, so what operators and admins do is not done by it, unless a
// setting says otherwise, which is told where they look.
func TestPrivileged(t *testing.T) {
	t.Parallel()
	strict := newBench(t, func(c *Config) { c.Nonces, c.PrivilegedV1 = nonces(), false })
	for _, key := range []string{"key_ops1", "key_adm1", "key_admn"} {
		w := strict.do(request(t, key, "GET", "/limits"))
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "requires x-signature-version 2") {
			t.Errorf("%s by version 1 = %d %s, want 401", key, w.Code, w.Body)
		}
		if w := strict.do(requestV2(t, key, "GET", "/limits", "")); w.Code != http.StatusOK || fmt.Sprint(decode(t, w)["signature"]) != "map[minVersion:2 version:2 warning:<nil>]" {
			t.Errorf("%s by version 2 = %d %s", key, w.Code, w.Body)
		}
	}
	wantStatus(t, strict.do(request(t, "key_one1", "GET", "/limits")), http.StatusOK)
	lax := newBench(t, func(c *Config) { c.PrivilegedV1 = true })
	if w := lax.do(request(t, "key_adm1", "GET", "/limits")); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "EXPORTD_PRIVILEGED_V1") {
		t.Errorf("with the setting = %d %s, want a warning", w.Code, w.Body)
	}
}

// TestAdminOfOrg: an admin has the keys of its org that give no more than it has.
func TestAdminOfOrg(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_ = b.keys.change("key_one1", func(k *apikey.Key) { k.Name = "mine" })
	for name, tc := range map[string]struct {
		key, method, target, body string
		want                      int
	}{
		"own key":                  {"key_adm1", "POST", "/admin/keys", `{"orgId":"org1","name":"n","scopes":["read","admin"],"reason":"r"}`, 201},
		"for another org":          {"key_adm1", "POST", "/admin/keys", `{"orgId":"org2","name":"n","scopes":["read"],"reason":"r"}`, 403},
		"an operator":              {"key_adm1", "POST", "/admin/keys", `{"orgId":"org1","name":"n","scopes":["ops"],"reason":"r"}`, 403},
		"a platform key":           {"key_adm1", "POST", "/admin/keys", `{"orgId":"org1","name":"n","scopes":["read","platform"],"reason":"r"}`, 403},
		"list of another org":      {"key_adm1", "GET", "/admin/keys?orgId=org2", "", 403},
		"foreign key":              {"key_adm1", "GET", "/admin/keys/key_two2", "", 404},
		"rotate foreign":           {"key_adm1", "POST", "/admin/keys/key_two2/rotate", `{"reason":"r"}`, 404},
		"revoke foreign":           {"key_adm1", "POST", "/admin/keys/key_two2/revoke", `{"reason":"r"}`, 404},
		"budget of foreign":        {"key_adm1", "POST", "/admin/keys/key_two2/budget", `{"rowsPerDay":1,"reason":"r"}`, 404},
		"rotate own":               {"key_adm1", "POST", "/admin/keys/key_one1/rotate", `{"reason":"r"}`, 200},
		"platform: another org":    {"key_admn", "POST", "/admin/keys", `{"orgId":"org2","name":"n","scopes":["ops","platform"],"reason":"r"}`, 201},
		"platform: foreign key":    {"key_admn", "GET", "/admin/keys/key_two2", "", 200},
		"platform: rotate foreign": {"key_admn", "POST", "/admin/keys/key_two2/rotate", `{"reason":"r"}`, 200},
	} {
		if code, got := as(t, b, tc.key, tc.method, tc.target, tc.body); code != tc.want {
			t.Errorf("%s = %d %v, want %d", name, code, got, tc.want)
		}
	}
	// An operator's key that happens to be of the admin's org gives more than the admin has.
	b.keys.keys = append(b.keys.keys, &apikey.Key{ID: "key_opsorg1", OrgID: "org1", State: apikey.Active, Scopes: []apikey.Scope{apikey.ScopeOps}})
	if code, _ := as(t, b, "key_adm1", "POST", "/admin/keys/key_opsorg1/rotate", `{"reason":"r"}`); code != http.StatusNotFound {
		t.Errorf("an admin rotates an operator's key: %d, want 404", code)
	}
	_, got := as(t, b, "key_adm1", "GET", "/admin/keys", "")
	for _, k := range got["keys"].([]any) {
		if k := k.(map[string]any); k["orgId"] != "org1" || strings.Contains(fmt.Sprint(k["scopes"]), "ops") {
			t.Errorf("an admin of org1 sees %v", k)
		}
	}
}

// TestBoundAdmin: a key that is bound makes and rotates none with its rights that is freer.
func TestBoundAdmin(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Nonces = nonces() })
	_ = b.keys.change("key_adm1", func(k *apikey.Key) {
		k.IPRanges, k.OneUse, k.ExpiresAt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, true, noon.Add(time.Hour)
	})
	b.keys.keys = append(b.keys.keys, &apikey.Key{ID: "key_free", OrgID: "org1", State: apikey.Active, Scopes: []apikey.Scope{apikey.ScopeAdmin}})
	for i, tc := range []struct {
		target, body string
		want         int
	}{
		{"/admin/keys", `{"orgId":"org1","name":"n","scopes":["admin"],"reason":"r"}`, 403},
		{"/admin/keys", `{"orgId":"org1","name":"n","scopes":["admin"],"oneUse":true,"ipRanges":["192.0.2.0/24"],"reason":"r"}`, 403},
		{"/admin/keys", `{"orgId":"org1","name":"n","scopes":["admin"],"oneUse":true,"ipRanges":["192.0.0.0/16"],"expiresAt":"2026-06-15T12:30:00Z","reason":"r"}`, 403},
		{"/admin/keys", `{"orgId":"org1","name":"n","scopes":["admin"],"oneUse":true,"ipRanges":["192.0.2.7"],"expiresAt":"2026-06-15T12:30:00Z","reason":"r"}`, 201},
		{"/admin/keys", `{"orgId":"org1","name":"n","scopes":["read"],"reason":"r"}`, 201},
		{"/admin/keys/key_free/rotate", `{"reason":"r"}`, 403},
		{"/admin/keys/key_adm1/rotate", `{"reason":"r"}`, 200},
	} {
		date := noon.Add(time.Duration(i) * time.Millisecond).Format("2006-01-02T15:04:05.000Z")
		r := withBody(withHeader(request(t, "key_adm1", "POST", tc.target), "x-date", date, "x-signature", apikey.Sign(testSecret, date)), tc.body)
		r.RemoteAddr = "192.0.2.1:1234"
		if w := b.do(r); w.Code != tc.want {
			t.Errorf("%s %s = %d %s, want %d", tc.target, tc.body, w.Code, w.Body, tc.want)
		}
	}
}

// TestReplayMatrix is what somebody can do who overhears one request: each kind of request, with its headers
// put on each operation, at once and when its date is too old. What version 1 forces is left: the rights of a
// key that may only use what its org has, for a minute.
func TestReplayMatrix(t *testing.T) {
	t.Parallel()
	captured := map[string]string{"read": "key_read", "export": "key_hook", "ops": "key_ops1", "admin": "key_adm1", "platform": "key_admn"}
	tried, left := 0, map[string]int{}
	for _, version := range []int{1, 2} {
		for _, late := range []bool{false, true} {
			for role, key := range captured {
				clock := noon
				b := newBench(t, func(c *Config) {
					c.Nonces, c.PrivilegedV1, c.Now = nonces(), false, func() time.Time { return clock }
				})
				original := request(t, key, "GET", "/limits")
				if version == 2 {
					original = requestV2(t, key, "GET", "/limits", "")
				}
				if w := b.do(original); w.Code != http.StatusOK && (version == 2 || role == "read" || role == "export") {
					t.Fatalf("the request that is overheard, of %s by version %d = %d", role, version, w.Code)
				}
				if late {
					clock = noon.Add(61 * time.Second)
				}
				for _, path := range slices.Sorted(maps.Keys(contract.doc.Paths.Map())) {
					for method := range contract.doc.Paths.Value(path).Operations() {
						if rolesOf(t, method+" "+path) == "*" {
							continue
						}
						job := b.jobs.set(jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org1", Kind: "vip-users", State: jobs.Canceled, CreatedAt: noon})
						target := strings.NewReplacer("{jobId}", job.ID, "{keyId}", "key_one1", "{batchId}", "b", "{queue}", "exports").Replace(path)
						r := withBody(request(t, key, method, target), `{"reason":"r"}`)
						r.Header = original.Header.Clone()
						got := b.do(r).Code
						tried++
						if got != http.StatusUnauthorized && got != http.StatusForbidden {
							left[fmt.Sprintf("version %d, %s, late %v", version, role, late)]++
							if version == 2 || late || role != "read" && role != "export" {
								t.Errorf("%s %s with the headers of a %s's request of version %d = %d", method, path, role, version, got)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d replays; left to whoever overhears a request, in operations:", tried)
	for _, what := range slices.SortedFunc(maps.Keys(left), cmp.Compare) {
		t.Logf("  %s: %d", what, left[what])
	}
}
