package api

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// fakeKeys keeps keys in memory.
type fakeKeys struct {
	mu    sync.Mutex
	keys  []*apikey.Key
	audit map[string][]apikey.AuditEntry
	err   error
}

func (f *fakeKeys) Lookup(_ context.Context, id string) (*apikey.Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.IndexFunc(f.keys, func(k *apikey.Key) bool { return k.ID == id }); i >= 0 {
		return f.keys[i], nil
	}
	return nil, jobs.ErrNotFound
}

// alter replaces a key by a changed copy, as a store does: keys are shared and never change.
func (f *fakeKeys) alter(id string, fn func(*apikey.Key)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, k := range f.keys {
		if k.ID == id {
			c := *k
			fn(&c)
			f.keys[i] = &c
		}
	}
}

func (f *fakeKeys) Create(_ context.Context, d apikey.Draft, by apikey.By) (*apikey.Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := &apikey.Key{ID: fmt.Sprintf("key_made%d", len(f.keys)), OrgID: d.ActsIn(), Name: d.Name, Scopes: d.Scopes, Budget: d.Budget, State: apikey.Active,
		ExpiresAt: d.ExpiresAt, CallbackHosts: d.CallbackHosts, IPRanges: d.IPRanges, MinVersion: d.MinVersion,
		Secrets: []apikey.SigningSecret{{Secret: apikey.NewSecret(testSecret)}}, OneUse: d.OneUse, WebhookSecrets: []apikey.SigningSecret{{Secret: apikey.NewSecret("whsec_test")}}}
	f.keys = append(f.keys, k)
	f.note(k.ID, apikey.ActionCreated, by)
	return k, f.err
}

func (f *fakeKeys) change(id string, fn func(*apikey.Key)) error {
	k, err := f.Lookup(context.Background(), id)
	if err == nil {
		fn(k)
	}
	return err
}

func (f *fakeKeys) Rotate(_ context.Context, id string, rotation apikey.Rotation, by apikey.By) (apikey.Secret, error) {
	secret, action := apikey.NewSecret("another-secret-not-to-be-logged"), apikey.ActionRotated
	if err := by.Of(f.audit[id]); err != nil {
		return secret, err
	}
	return secret, f.change(id, func(k *apikey.Key) {
		list := &k.Secrets
		if rotation.Purpose == apikey.ForCallbacks {
			list, action = &k.WebhookSecrets, apikey.ActionWebhookRotated
		}
		next := []apikey.SigningSecret{{Secret: secret}}
		if len(*list) > 0 {
			old := (*list)[0]
			old.ExpiresAt = noon.Add(rotation.Overlap)
			next = append(next, old)
		}
		*list = next
		f.note(id, action, by)
	})
}

func (f *fakeKeys) SetBudget(_ context.Context, id string, to apikey.BudgetChange, by apikey.By) (jobs.Budget, error) {
	var out jobs.Budget
	var refused error
	err := f.change(id, func(k *apikey.Key) {
		if out, refused = to.Of(k.Budget); refused == nil {
			k.Budget = out
			f.note(id, apikey.ActionBudget, by)
		}
	})
	return out, cmp.Or(err, refused)
}

func (f *fakeKeys) SetState(_ context.Context, id string, state apikey.State, by apikey.By) error {
	if err := by.Of(f.audit[id]); err != nil {
		return err
	}
	return f.change(id, func(k *apikey.Key) { k.State = state; f.note(id, apikey.ActionRevoked, by) })
}

func (f *fakeKeys) note(id string, action apikey.Action, by apikey.By) {
	if f.audit == nil {
		f.audit = map[string][]apikey.AuditEntry{}
	}
	f.audit[id] = append(f.audit[id], apikey.AuditEntry{At: noon, Action: action, Actor: by.Actor, Reason: by.Reason})
}

func (f *fakeKeys) Get(ctx context.Context, org, id string) (*apikey.Key, []apikey.AuditEntry, error) {
	k, err := f.Lookup(ctx, id)
	if err == nil && org != "" && jobs.OwnerOf(k.OrgID) != org {
		return nil, nil, jobs.ErrNotFound
	}
	return k, f.audit[id], err
}

func (f *fakeKeys) List(_ context.Context, org string) ([]*apikey.Key, error) {
	return slices.DeleteFunc(slices.Clone(f.keys), func(k *apikey.Key) bool { return org != "" && k.OrgID != org }), f.err
}

// as sends a body with a key.
func as(t *testing.T, b *bench, key, method, target, body string) (int, map[string]any) {
	t.Helper()
	r := request(t, key, method, target)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	w := b.do(r)
	return w.Code, decode(t, w)
}

func TestAdminKeys(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	code, got := as(t, b, "key_admn", "POST", "/admin/keys", `{"orgId":"org9","name":"billing","scopes":["read","export"],"expiresAt":"2027-01-01",
		"callbackHosts":["hooks.example.com"],"ipRanges":["192.0.2.0/24","2001:db8::/32"],"minSignatureVersion":2,"oneUse":true,"rowsPerDay":5000,"reason":"they asked"}`)
	if code != http.StatusCreated || got["secret"] != testSecret || got["webhookSecret"] != "whsec_test" {
		t.Fatalf("create = %d %v", code, got)
	}
	id := got["key"].(map[string]any)["keyId"].(string)
	code, got = as(t, b, "key_admn", "GET", "/admin/keys?orgId=org9", "")
	want := `[map[budgetToday:map[readsLeft:<nil> readsPerDay:<nil> readsSpent:0 renewsAt:2026-06-16T00:00:00Z rowsLeft:5000 rowsPerDay:5000 rowsSpent:0] callbackHosts:[hooks.example.com] createdAt:<nil> expiresAt:2027-01-01T00:00:00Z ipRanges:[192.0.2.0/24 2001:db8::/32] keyId:` + id +
		` lastUsedAt:<nil> minSignatureVersion:2 name:billing oneUse:true orgId:org9 readsPerDay:<nil> rowsPerDay:5000 sandbox:false scopes:[read export] secrets:[map[expiresAt:<nil>]] state:active webhookSecrets:[map[expiresAt:<nil>]]]]`
	if code != http.StatusOK || fmt.Sprint(got["keys"]) != want {
		t.Errorf("list = %d %v, want %s", code, got["keys"], want)
	}
	for _, secret := range []string{`"overlapSeconds":3600`, `"overlapSeconds":3600,"secret":"signing"`, `"overlapSeconds":3600,"secret":"webhook"`} {
		code, got = as(t, b, "key_admn", "POST", "/admin/keys/"+id+"/rotate", `{"reason":"monthly",`+secret+`}`)
		if code != http.StatusOK || got["secret"] != "another-secret-not-to-be-logged" || got["oldSecretExpiresAt"] != "2026-06-15T13:00:00Z" {
			t.Errorf("rotate %s = %d %v", secret, code, got)
		}
	}
	const now, before, never = `"2026-06-15T12:00:00Z"`, `"2026-06-15T11:59:59Z"`, `null`
	for _, path := range []string{"/rotate", "/revoke"} {
		for at, want := range map[string]int{before: http.StatusConflict, never: http.StatusConflict, `"yesterday"`: http.StatusUnprocessableEntity} {
			if code, got = as(t, b, "key_admn", "POST", "/admin/keys/"+id+path, `{"reason":"from an old page","expected":{"lastChangeAt":`+at+`}}`); code != want {
				t.Errorf("%s of a key that was last changed at %s = %d %v, want %d", path, at, code, got, want)
			}
		}
	}
	if code, got = as(t, b, "key_admn", "POST", "/admin/keys/"+id+"/rotate", `{"reason":"monthly","expected":{"lastChangeAt":`+now+`}}`); code != http.StatusOK {
		t.Errorf("rotate as seen = %d %v", code, got)
	}
	if code, got = as(t, b, "key_admn", "POST", "/admin/keys/"+id+"/revoke", `{"reason":"they left","expected":{"lastChangeAt":`+now+`}}`); code != http.StatusOK || got["state"] != "disabled" {
		t.Errorf("revoke = %d %v", code, got)
	}
	if code, got = as(t, b, "key_admn", "POST", "/admin/keys/"+id+"/revoke", `{"reason":"they left","expected":{"lastChangeAt":`+before+`}}`); code != http.StatusOK {
		t.Errorf("revoke what is revoked, after an answer that was lost = %d %v", code, got)
	}
	code, got = as(t, b, "key_admn", "GET", "/admin/keys/"+id, "")
	shown := fmt.Sprint(got["audit"])
	for _, line := range []string{"action:created", "reason:they asked", "action:rotated", "action:webhook_rotated", "reason:monthly", "action:revoked", "reason:they left", "actor:api key key_admn", "at:2026-06-15T12:00:00Z"} {
		if code != http.StatusOK || !strings.Contains(shown, line) {
			t.Errorf("get = %d %v, want %s", code, shown, line)
		}
	}
	if code, got = as(t, b, id, "GET", "/workspaces", ""); code != http.StatusUnauthorized {
		t.Errorf("with the revoked key = %d %v", code, got)
	}
	if code, got = as(t, b, "key_admn", "POST", "/admin/keys/key_admn/revoke", `{"reason":"r"}`); code != http.StatusConflict {
		t.Errorf("an admin key revokes itself = %d %v", code, got)
	}
	for what, method := range map[string]string{"/rotate": "POST", "/revoke": "POST", "": "GET"} {
		body := ""
		if method == "POST" {
			body = `{"reason":"r"}`
		}
		if code, got = as(t, b, "key_admn", method, "/admin/keys/key_nobody"+what, body); code != http.StatusNotFound || got["message"] != "API key not found" {
			t.Errorf("%s %s of an unknown key = %d %v", method, what, code, got)
		}
	}
	log := b.log.String()
	for _, secret := range []string{testSecret, "another-secret-not-to-be-logged", "whsec_"} {
		if strings.Contains(log+shown, secret) {
			t.Errorf("log or history holds %q", secret)
		}
	}
	if strings.Count(log, `"target_key_id":"`+id+`"`) != 7 {
		t.Errorf("the log does not tell which key was made, rotated and revoked: %s", log)
	}
}

func TestAdminKeyFaults(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	long := strings.Repeat("x", maxKeyName+1)
	for body, want := range map[string]string{
		`{}`: "scopes orgId name reason",
		`{"orgId":"o","name":"n","scopes":["read"],"reason":7}`:                                          "reason",
		`{"orgId":"a/b","name":"n","scopes":["read"],"reason":"r"}`:                                      "orgId",
		`{"orgId":"o","name":"` + long + `","scopes":["read"],"reason":"r"}`:                             "name",
		`{"orgId":"o","name":"n","scopes":["root"],"reason":"r"}`:                                        "scopes",
		`{"orgId":"o","name":"n","scopes":"read","reason":"r"}`:                                          "scopes",
		`{"orgId":"o","name":"n","scopes":[],"reason":"r","expiresAt":"2020-01-01"}`:                     "expiresAt",
		`{"orgId":"o","name":"n","scopes":[],"reason":"r","ipRanges":["10.0.0.1/8"]}`:                    "ipRanges",
		`{"orgId":"o","name":"n","scopes":[],"reason":"r","ipRanges":["everywhere"]}`:                    "ipRanges",
		`{"orgId":"o","name":"n","scopes":[],"reason":"r","callbackHosts":["http://x/"]}`:                "callbackHosts",
		`{"orgId":"o","name":"n","scopes":[],"reason":"r","minSignatureVersion":3}`:                      "minSignatureVersion",
		`{"orgId":"o","name":"n","scopes":[],"reason":"r","oneUse":"often"}`:                             "oneUse",
		`{"orgId":"o","name":"n","scopes":[],"reason":"r","secret":"mine"}`:                              "secret",
		`{"orgId":"o","name":"n","scopes":[],"reason":"r","state":"active","keyId":"k","orgid":"other"}`: "state keyId orgid",
	} {
		wantFaults(t, b, "/admin/keys", body, want)
	}
	for body, want := range map[string]string{
		`{}`:                                  "reason",
		`{"reason":"r","secret":"both"}`:      "secret",
		`{"reason":"r","secret":["webhook"]}`: "secret",
	} {
		wantFaults(t, b, "/admin/keys/key_two2/rotate", body, want)
	}
	wantFaults(t, b, "/admin/keys/key_two2/revoke", ``, "reason")
	wantFaults(t, b, "/admin/keys/key_two2/revoke", `{"reason":"r","overlapSeconds":0}`, "overlapSeconds")
}

// wantFaults posts a body as admin, which is refused for the named fields.
func wantFaults(t *testing.T, b *bench, target, body, want string) {
	t.Helper()
	code, got := as(t, b, "key_admn", "POST", target, body)
	var paths []string
	faults, _ := got["error"].([]any)
	for _, f := range faults {
		paths = append(paths, f.(map[string]any)["path"].([]any)[0].(string))
	}
	wants := strings.Fields(want)
	slices.Sort(wants)
	slices.Sort(paths)
	if code != http.StatusUnprocessableEntity || !slices.Equal(paths, wants) {
		t.Errorf("%s %s = %d, faults at %v, want %v", target, body, code, paths, wants)
	}
}

// A key's address ranges are judged after its signature, behind trusted proxies only.
func TestKeyAddresses(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")} })
	_ = b.keys.change("key_one1", func(k *apikey.Key) { k.IPRanges = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} })
	for _, tc := range []struct {
		remote, forwarded string
		signed            bool
		want              int
	}{
		{"198.51.100.1:1", "", true, 200},
		{"[::ffff:198.51.100.1]:1", "", true, 200},
		{"192.0.2.1:1", "", true, 403},
		{"192.0.2.1:1", "198.51.100.1", true, 403},
		{"169.254.1.1:1", "198.51.100.1", true, 200},
		{"169.254.1.1:1", "198.51.100.1, 192.0.2.1", true, 403},
		{"192.0.2.1:1", "", false, 401},
	} {
		r := request(t, "key_one1", "GET", "/workspaces")
		r.RemoteAddr = tc.remote
		if tc.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tc.forwarded)
		}
		if !tc.signed {
			r.Header.Set("X-Signature", strings.Repeat("0", 64))
		}
		if w := b.do(r); w.Code != tc.want {
			t.Errorf("from %s for %s = %d, want %d", tc.remote, tc.forwarded, w.Code, tc.want)
		}
	}
}
