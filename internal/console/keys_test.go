package console_test

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"exportd/internal/apikey"
	"exportd/internal/console"
	"exportd/jobs"
)

// note notes who changed a key, and why, each time later.
func (d *desk) note(id string, action apikey.Action, by apikey.By) {
	if d.history == nil {
		d.history = map[string][]apikey.AuditEntry{}
	}
	at := d.now.Add(time.Duration(len(d.history[id])) * time.Microsecond)
	d.history[id] = append(d.history[id], apikey.AuditEntry{At: at, Action: action, Actor: by.Actor, Reason: by.Reason})
}

func (a admin) Create(_ context.Context, draft apikey.Draft, by apikey.By) (*apikey.Key, error) {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	k := &apikey.Key{
		ID: fmt.Sprintf("key_made%d", len(a.d.keys)), OrgID: draft.OrgID, Name: draft.Name, Scopes: draft.Scopes, State: apikey.Active, CreatedAt: a.d.now, ExpiresAt: draft.ExpiresAt, IPRanges: draft.IPRanges,
		Secrets: []apikey.SigningSecret{{Secret: apikey.RandomSecret(apikey.ForRequests)}}, WebhookSecrets: []apikey.SigningSecret{{Secret: apikey.RandomSecret(apikey.ForCallbacks)}},
	}
	a.d.keys[k.ID] = k
	a.d.note(k.ID, apikey.ActionCreated, by)
	return k, nil
}

func (a admin) Rotate(_ context.Context, id string, r apikey.Rotation, by apikey.By) (apikey.Secret, error) {
	secret := apikey.RandomSecret(r.Purpose)
	var err error
	a.d.change(id, func(k *apikey.Key) {
		if err = by.Of(a.d.history[id]); err != nil {
			return
		}
		old := k.Secrets[0]
		old.ExpiresAt = a.d.now.Add(r.Overlap)
		k.Secrets = []apikey.SigningSecret{{Secret: secret}, old}
		a.d.note(id, apikey.ActionRotated, by)
	})
	return secret, err
}

func (a admin) SetBudget(_ context.Context, id string, to apikey.BudgetChange, by apikey.By) (jobs.Budget, error) {
	var budget jobs.Budget
	var err error
	a.d.change(id, func(k *apikey.Key) {
		if k.State == apikey.Disabled {
			err = apikey.ErrDisabled
		} else if budget, err = to.Of(k.Budget); err == nil {
			k.Budget = budget
			a.d.note(id, apikey.ActionBudget, by)
		}
	})
	return budget, err
}

func (a admin) SetState(_ context.Context, id string, state apikey.State, by apikey.By) error {
	var err error
	a.d.change(id, func(k *apikey.Key) {
		if err = by.Of(a.d.history[id]); err == nil {
			k.State = state
			a.d.note(id, apikey.ActionRevoked, by)
		}
	})
	return err
}

func (a admin) Get(_ context.Context, org, id string) (*apikey.Key, []apikey.AuditEntry, error) {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	if k := a.d.keys[id]; k != nil && (org == "" || k.OrgID == org) {
		return k, a.d.history[id], nil
	}
	return nil, nil, jobs.ErrNotFound
}

var shownSecret = regexp.MustCompile(`<code id="secret">([0-9a-f]{64})</code>`)

// fields are what a form of a page, by where it is sent, has in it.
func fields(body, action string) url.Values {
	_, form, _ := strings.Cut(body, `action="`+action+`"`)
	form, _, _ = strings.Cut(form, "</form>")
	all := url.Values{}
	for _, m := range regexp.MustCompile(`<input [^>]*name="([^"]+)"[^>]*>`).FindAllStringSubmatch(form, -1) {
		if choice := strings.Contains(m[0], `type="radio"`) || strings.Contains(m[0], `type="checkbox"`); choice && !strings.Contains(m[0], " checked") {
			continue
		}
		value := regexp.MustCompile(` value="([^"]*)"`).FindStringSubmatch(m[0])
		if value != nil {
			all.Set(m[1], html.UnescapeString(value[1]))
		}
	}
	return all
}

// with is a form that is filled in.
func with(form url.Values, pairs ...string) url.Values {
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

// A key is made, its secret shown once and works; a new one replaces it; revoked, it and its sessions are out
// at once. Who did it is in its history, and no secret in a log, a link or a page besides.
func TestKeys(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	d := open(t, withPeople, func(_ *desk, cfg *console.Config) { cfg.Logger = zap.New(core) })
	p := d.byProvider("admin@example.com")
	made := p.get("/console/keys/new?orgId=org7")
	form := url.Values{"csrf": {p.token()}, "once": {onceField.FindStringSubmatch(made.body)[1]}, "orgId": {"org7"}, "name": {"billing <b>"}, "scopes": {"ops", "read"}, "expires": {"2027-01-31"}, "ipRanges": {"127.0.0.0/8, ::1"}, "reason": {"a new service"}}
	for field, bad := range map[string]string{"orgId": "a/b", "name": "", "scopes": "root", "expires": "2020-01-01", "ipRanges": "x", "reason": ""} {
		wrong := url.Values{}
		for name, v := range form {
			wrong[name] = v
		}
		wrong.Set(field, bad)
		wrong.Set("once", "wrong"+field)
		if a := p.post("/console/keys", wrong); a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, `role="alert"`) || field != "reason" && !strings.Contains(a.body, `value="a new service"`) {
			t.Errorf("%s=%q = %d %s", field, bad, a.status, a.body)
		}
	}
	a := p.post("/console/keys", form)
	m := shownSecret.FindStringSubmatch(a.body)
	if a.status != http.StatusOK || m == nil || !strings.Contains(a.body, "whsec_") || a.header.Get("Cache-Control") != "no-store" || strings.Contains(a.body, "billing <b>") {
		t.Fatalf("make a key = %d %v %s", a.status, a.header, a.body)
	}
	id := regexp.MustCompile(`key_made\d+`).FindString(a.body)
	if k, err := d.lookup(t.Context(), id); err != nil || k.OrgID != "org7" || len(k.IPRanges) != 2 || k.ExpiresAt.Format("2006-01-02") != "2027-01-31" || !k.Has(apikey.ScopeOps) || k.Has(apikey.ScopeAdmin) {
		t.Errorf("the key is %+v, %v", k, err)
	}
	if a := p.post("/console/keys", form); a.status != http.StatusConflict || !strings.Contains(a.body, "shown once") || shownSecret.MatchString(a.body) {
		t.Errorf("the form again = %d %s", a.status, a.body)
	}
	in := func(secret string) (*person, int) {
		v := d.visitor()
		return v, v.post("/console/sign-in", url.Values{"key": {id}, "secret": {secret}}).status
	}
	session, status := in(m[1])
	if status != http.StatusSeeOther {
		t.Errorf("sign in by the new key = %d", status)
	}
	seen := []string{m[1]}
	d.change(id, func(k *apikey.Key) { k.OrgID = jobs.SandboxOf(k.OrgID) })
	if own := p.get("/console/keys/" + id).body; !strings.Contains(own, "org7 (its sandbox") || !strings.Contains(own, "none: no limit") {
		t.Errorf("the page of a sandbox key is %s", own)
	}
	d.change(id, func(k *apikey.Key) { k.OrgID = jobs.OwnerOf(k.OrgID) })
	d.changeBudgets(t, p, id)
	page := p.get("/console/keys/" + id)
	rotate, revoke := "/console/keys/"+id+"/rotate", "/console/keys/"+id+"/revoke"
	old := fields(page.body, rotate)
	gone := fields(page.body, revoke)
	a = p.post(rotate, with(fields(page.body, rotate), "leaked", "1", "reason", "it leaked"))
	n := shownSecret.FindStringSubmatch(a.body)
	if a.status != http.StatusOK || n == nil || n[1] == m[1] {
		t.Fatalf("rotate = %d %s", a.status, a.body)
	}
	seen = append(seen, n[1])
	if _, leaked := in(m[1]); leaked != http.StatusUnauthorized {
		t.Errorf("the secret that leaked = %d", leaked)
	}
	// Another admin, whose page is of before: the secret that was just made does not end.
	old.Set("once", "another")
	a = p.post(rotate, with(old, "secret", "webhook", "leaked", "1", "reason", "it leaked, I say"))
	if a.status != http.StatusConflict || !strings.Contains(a.body, "Somebody has changed the key meanwhile") || !strings.Contains(a.body, `value="it leaked, I say"`) ||
		!strings.Contains(a.body, `value="webhook" checked`) || !strings.Contains(a.body, `value="1" checked`) {
		t.Errorf("rotate from an old page = %d %s", a.status, a.body)
	}
	if a := p.post(revoke, with(gone, "reason", "it leaked")); a.status != http.StatusConflict || !strings.Contains(a.body, "Somebody has changed the key meanwhile") {
		t.Errorf("revoke from an old page = %d %s", a.status, a.body)
	}
	if a := session.get("/console/jobs"); a.status != http.StatusSeeOther {
		t.Errorf("the session by the secret that leaked = %d", a.status)
	}
	session, _ = in(n[1])
	page = p.get("/console/keys/" + id)
	if a := p.post(revoke, with(fields(page.body, revoke), "reason", "  ")); a.status != http.StatusUnprocessableEntity || strings.Contains(a.body, "Somebody has changed") || fields(a.body, revoke).Get("once") == "" {
		t.Errorf("revoke without a reason = %d %s", a.status, a.body)
	}
	if a := session.get("/console/jobs"); a.status != http.StatusOK {
		t.Errorf("before it is revoked = %d", a.status)
	}
	if a := p.post(revoke, with(fields(page.body, revoke), "once", "yet another", "reason", "the service is gone")); a.status != http.StatusSeeOther || a.header.Get("Location") != "/console/keys/"+id+"?said=revoked" {
		t.Errorf("revoke = %d %s", a.status, a.body)
	}
	if a := session.get("/console/jobs"); a.status != http.StatusSeeOther {
		t.Errorf("the session of a revoked key = %d", a.status)
	}
	page = p.get("/console/keys/" + id + "?said=revoked")
	for _, want := range []string{"admin@example.com", "a new service", "it leaked", "the service is gone", "is revoked", "disabled"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the key's page does not show %q", want)
		}
	}
	for _, s := range seen {
		for _, path := range []string{"/console/keys", "/console/keys/" + id, "/console/audit"} {
			if strings.Contains(p.get(path).body, s) {
				t.Errorf("%s shows a secret", path)
			}
		}
		for _, line := range logs.All() {
			if strings.Contains(fmt.Sprint(line.Message, line.ContextMap()), s) {
				t.Error("a secret is in the log")
			}
		}
	}
	// An admin of an org is offered, and gets, what is of its org.
	small := d.signedIn("key_admin1")
	if a := small.get("/console/keys/new"); strings.Contains(a.body, `value="ops"`) || !strings.Contains(a.body, `value="org1"`) {
		t.Errorf("an org's admin is offered %s", a.body)
	}
	if a := small.post("/console/keys", url.Values{"csrf": {small.token()}, "once": {"x"}, "orgId": {"org2"}, "name": {"n"}, "scopes": {"read"}, "reason": {"r"}}); a.status != http.StatusForbidden || !strings.Contains(a.body, "own org") {
		t.Errorf("a key of another org = %d %s", a.status, a.body)
	}
	if a := small.get("/console/keys/" + id); a.status != http.StatusNotFound {
		t.Errorf("a key of another org is shown: %d", a.status)
	}
	if a := small.get("/console/keys/key_admin1"); strings.Contains(a.body, "/revoke") || !strings.Contains(a.body, "cannot revoke itself") {
		t.Errorf("its own key can be revoked: %s", a.body)
	}
}

// changeBudgets gives a key budgets by its form, beside another admin who does so meanwhile, and takes them
// away.
func (d *desk) changeBudgets(t *testing.T, p *person, id string) {
	t.Helper()
	own := "/console/keys/" + id
	change := func(page reply, rows, reads string) reply {
		form := fields(page.body, own+"/budget")
		form.Set("rowsPerDay", rows)
		form.Set("readsPerDay", reads)
		form.Set("reason", "it grows")
		return p.post(own+"/budget", form)
	}
	before := p.get(own)
	a := change(before, "5,000", "1")
	if a.status != http.StatusSeeOther || !strings.Contains(p.get(a.header.Get("Location")).body, "The budget is changed") {
		t.Errorf("change the budget = %d %v", a.status, a.header)
	}
	page := p.get(own)
	if !strings.Contains(page.body, "<dd>5,000 rows, 1 read</dd>") || !strings.Contains(page.body, "0 rows, 0 reads; left: 5,000 rows, 1 read, until") || !strings.Contains(page.body, `value="5000"`) || strings.Contains(page.body, "(its sandbox") {
		t.Errorf("the page of a key with a budget is %s", page.body)
	}
	if a := change(before, "7", "7"); a.status != http.StatusSeeOther || a.header.Get("Location") != own {
		t.Errorf("the form that was sent before = %d %v", a.status, a.header)
	}
	wrong := change(page, "many", "")
	if wrong.status != http.StatusUnprocessableEntity || !strings.Contains(wrong.body, "Must be a number.") || !strings.Contains(wrong.body, `value="many"`) || !strings.Contains(wrong.body, `value="it grows"`) {
		t.Errorf("a budget of many rows = %d %s", wrong.status, wrong.body)
	}
	// Another admin, while the form with the wrong number is open.
	d.change(id, func(k *apikey.Key) { k.Budget = jobs.Budget{Reads: 99} })
	meanwhile := change(wrong, "6", "")
	if k, err := d.lookup(t.Context(), id); meanwhile.status != http.StatusConflict || err != nil || k.Budget != (jobs.Budget{Reads: 99}) || !strings.Contains(meanwhile.body, "Somebody has changed the budget meanwhile") || !strings.Contains(meanwhile.body, "It is now: 99 reads.") || !strings.Contains(meanwhile.body, `value="6"`) {
		t.Errorf("a budget that somebody has changed meanwhile = %d, it is %v, %v, and the page %s", meanwhile.status, k, err, meanwhile.body)
	}
	if a := change(meanwhile, "6", ""); a.status != http.StatusSeeOther {
		t.Errorf("once more, having been told = %d %s", a.status, a.body)
	}
	if k, err := d.lookup(t.Context(), id); err != nil || k.Budget != (jobs.Budget{Rows: 6}) {
		t.Errorf("the budget is %v, %v", k, err)
	}
	if change(p.get(own), "", ""); !strings.Contains(p.get(own).body, "none: no limit") {
		t.Error("the budget stays")
	}
	page = p.get(own)
	d.change(id, func(k *apikey.Key) { k.State = apikey.Disabled })
	if a := change(page, "6", ""); a.status != http.StatusConflict || !strings.Contains(a.body, "The key is revoked: make a new one. Nothing was done.") {
		t.Errorf("a budget of a key that was revoked meanwhile = %d %s", a.status, a.body)
	}
	d.change(id, func(k *apikey.Key) { k.State = apikey.Active })
}
