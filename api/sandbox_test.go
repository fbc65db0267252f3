package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// sandboxBench has a key of the sandbox of org1, and a clock that is put forward by hand.
func sandboxBench(t *testing.T) (*bench, *atomic.Int64) {
	ahead := new(atomic.Int64)
	b := newBench(t, func(c *Config) {
		c.Now = func() time.Time { return noon.Add(time.Duration(ahead.Load())) }
		c.Quotas = jobs.Limits{RunningJobs: 1, QueuedJobs: 2}
	})
	b.keys.keys = append(b.keys.keys, &apikey.Key{
		ID: "key_sand", OrgID: jobs.SandboxOf("org1"), State: apikey.Active, Scopes: []apikey.Scope{apikey.ScopeRead, apikey.ScopeExport},
		Secrets: []apikey.SigningSecret{{Secret: apikey.NewSecret(testSecret)}},
	})
	return b, ahead
}

// TestScenarioHeader: who may name a scenario, and what becomes of it.
func TestScenarioHeader(t *testing.T) {
	t.Parallel()
	b, _ := sandboxBench(t)
	const target = "/vip-users/export?workspaceId=any&mediumId=one"
	for _, c := range []struct {
		key    string
		header []string
		status int
		says   string
	}{
		{"key_one1", []string{headerScenario, "slow"}, 422, `is for sandbox keys, and this key is none`},
		{"key_sand", []string{headerScenario, "fast"}, 422, "must be one of [succeed, slow, stuck"},
		{"key_sand", []string{headerScenario, ""}, 422, "must be one of"},
		{"key_sand", []string{headerScenario, "slow", headerScenario, "stuck"}, 422, "must be one of"},
		{"key_sand", []string{headerScenario, "slow"}, 202, "slow"},
		{"key_sand", nil, 202, "succeed"}, // of the same signature, but another request
	} {
		w := b.do(request(t, c.key, http.MethodGet, target, c.header...))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s %q = %d %s, want %d and %s", c.key, c.header, w.Code, w.Body, c.status, c.says)
		}
		if c.status != 202 {
			continue
		}
		sub := b.jobs.submitted[len(b.jobs.submitted)-1]
		if sub.OrgID != "sandbox~org1" || sub.Params[jobs.ParamScenario] != c.says || !strings.HasSuffix(sub.IdempotencyKey, " "+c.says) {
			t.Errorf("submitted %+v", sub)
		}
		got := decode(t, w)
		if params := got["params"].(map[string]any); got["testScenario"] != c.says || params[jobs.ParamScenario] != nil {
			t.Errorf("job = %v", got)
		}
	}
	if w := b.do(request(t, "key_sand", http.MethodGet, "/limits")); !strings.Contains(w.Body.String(), `"limit":20}`) || !strings.Contains(w.Body.String(), `"limit":4}`) {
		t.Errorf("limits = %s", w.Body)
	}
	if w := b.get(t, "/vip-users/export?workspaceId=ws1&mediumId=ch1"); w.Code != 202 || decode(t, w)["testScenario"] != nil {
		t.Errorf("a real export = %d %s", w.Code, w.Body)
	}
}

// TestStagedRefusals: a request is refused once, taken when it has waited, and a minute later refused anew.
func TestStagedRefusals(t *testing.T) {
	t.Parallel()
	for scenario, status := range map[jobs.Scenario]int{jobs.ScenarioRateLimit: 429, jobs.ScenarioUnavailable: 503} {
		b, ahead := sandboxBench(t)
		for i, c := range []struct {
			at   time.Duration
			code int
		}{{0, status}, {time.Second, status}, {2 * time.Second, 202}, {time.Minute, 202}} {
			ahead.Store(int64(c.at))
			w := b.do(request(t, "key_sand", http.MethodGet, "/vip-users/export?workspaceId=w&mediumId=m", headerScenario, string(scenario)))
			if w.Code != c.code || c.code == status && w.Header().Get("Retry-After") != "2" {
				t.Errorf("%s, request %d = %d %v %s, want %d", scenario, i, w.Code, w.Header(), w.Body, c.code)
			}
		}
	}
	b, _ := sandboxBench(t)
	b.do(request(t, "key_sand", http.MethodGet, "/vip-users/export?workspaceId=w&mediumId=m", headerScenario, "unavailable"))
	if log := b.log.String(); !strings.Contains(log, `"status":503`) || strings.Contains(log, `"level":"error"`) {
		t.Errorf("what a scenario asks for is told of as an error: %s", log)
	}
	b.jobs.err = errors.New("a real one")
	b.do(request(t, "key_sand", http.MethodGet, "/vip-users/export?workspaceId=w&mediumId=m"))
	if log := b.log.String(); !strings.Contains(log, `"level":"error"`) {
		t.Errorf("a real error in a sandbox is not told of: %s", log)
	}
	r, err := newRefusedOnce()
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Duration]bool{stagedWait - 1: false, stagedWait: true, stagedFor: true} {
		r.pass("request", noon)
		if got := r.pass("request", noon.Add(at)); got != want {
			t.Errorf("a request that was refused is taken %s later: %t, want %t", at, got, want)
		}
	}
}

// TestSandboxKeys: what admins make and see of keys of a sandbox.
func TestSandboxKeys(t *testing.T) {
	t.Parallel()
	b, _ := sandboxBench(t)
	for body, want := range map[string]string{
		`{"orgId":"org1","sandbox":true,"name":"n","scopes":["read","export"],"reason":"r"}`:                    "201 sandbox:true",
		`{"orgId":"org1","sandbox":true,"name":"n","scopes":["read","admin"],"reason":"r"}`:                     `422 must be of read, export for a sandbox key`,
		`{"orgId":"sandbox~org1","name":"n","scopes":["read"],"reason":"r"}`:                                    `422 must be that of the org`,
		`{"orgId":"` + strings.Repeat("o", 121) + `","sandbox":true,"name":"n","scopes":["read"],"reason":"r"}`: `422 is too long`,
		`{"orgId":"org2","sandbox":true,"name":"n","scopes":["read"],"reason":"r"}`:                             "403 own org",
	} {
		code, got := as(t, b, "key_adm1", "POST", "/admin/keys", body)
		status, says, _ := strings.Cut(want, " ")
		if fmt.Sprint(code) != status || !strings.Contains(fmt.Sprint(got), says) {
			t.Errorf("%s = %d %v, want %s", body, code, got, want)
		}
	}
	code, got := as(t, b, "key_adm1", "GET", "/admin/keys/key_sand", "")
	if key, _ := got["key"].(map[string]any); code != 200 || key["orgId"] != "org1" || key["sandbox"] != true {
		t.Errorf("get = %d %v", code, got)
	}
}
