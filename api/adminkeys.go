package api

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/webhook"
	"exportd/jobs"
)

const (
	// defaultOverlap is how long a rotated secret goes on working if nobody says.
	defaultOverlap = 24 * time.Hour
	// maxKeyName and maxKeyList bound what a key's record holds.
	maxKeyName = 100
	maxKeyList = 50
	// maxBudget is above what a fleet reads in a day, and exact in JSON.
	maxBudget = 1_000_000_000_000
)

// keyView is a key as admins see it: nothing in it opens anything.
type keyView struct {
	KeyID         string         `json:"keyId"`
	OrgID         string         `json:"orgId"`
	Sandbox       bool           `json:"sandbox"`
	Name          string         `json:"name"`
	Scopes        []apikey.Scope `json:"scopes"`
	State         apikey.State   `json:"state"`
	CreatedAt     *time.Time     `json:"createdAt"`
	ExpiresAt     *time.Time     `json:"expiresAt"`
	LastUsedAt    *time.Time     `json:"lastUsedAt"`
	CallbackHosts []string       `json:"callbackHosts"`
	IPRanges      []string       `json:"ipRanges"`
	MinVersion    int            `json:"minSignatureVersion"`
	OneUse        bool           `json:"oneUse"`
	RowsPerDay    *int64         `json:"rowsPerDay"` // null: no limit
	ReadsPerDay   *int64         `json:"readsPerDay"`
	BudgetToday   *budgetView    `json:"budgetToday"` // null without a budget
	Secrets       []secretView   `json:"secrets"`
	Webhook       []secretView   `json:"webhookSecrets"`
}

type secretView struct {
	ExpiresAt *time.Time `json:"expiresAt"`
}

func secretViews(secrets []apikey.SigningSecret) []secretView {
	views := make([]secretView, len(secrets))
	for i, s := range secrets {
		views[i] = secretView{timeOrNil(s.ExpiresAt)}
	}
	return views
}

// auditView is a line of a key's history.
type auditView struct {
	At     time.Time     `json:"at"`
	Action apikey.Action `json:"action"`
	Actor  string        `json:"actor"`
	Reason string        `json:"reason"`
	Detail string        `json:"detail,omitempty"`
}

// keyView shows a key, and what it has spent of its budget.
func (s *Server) keyView(k *apikey.Key, today *budgetView) keyView {
	v := keyView{
		KeyID: k.ID, OrgID: jobs.OwnerOf(k.OrgID), Sandbox: jobs.InSandbox(k.OrgID), Name: k.Name, Scopes: orEmpty(k.Scopes), State: k.State, CreatedAt: timeOrNil(k.CreatedAt),
		ExpiresAt: timeOrNil(k.ExpiresAt), LastUsedAt: timeOrNil(k.LastUsedAt), CallbackHosts: orEmpty(k.CallbackHosts),
		IPRanges: []string{}, MinVersion: s.verifier.MinVersion(k), OneUse: k.OneUse, RowsPerDay: orNull(k.Budget.Rows), ReadsPerDay: orNull(k.Budget.Reads), BudgetToday: today, Secrets: secretViews(k.Secrets), Webhook: secretViews(k.WebhookSecrets),
	}
	for _, p := range k.IPRanges {
		v.IPRanges = append(v.IPRanges, p.String())
	}
	return v
}

// manageable gives a key that the caller may see and change. One of another org is not there, nor is one with
// rights that the caller cannot give.
func (s *Server) manageable(c *gin.Context, caller *apikey.Key) (*apikey.Key, []apikey.AuditEntry, error) {
	org := caller.OrgID
	if caller.Has(apikey.ScopePlatform) {
		org = ""
	}
	k, audit, err := s.admin.Get(c.Request.Context(), org, c.Param("keyId"))
	if err == nil && !caller.MayManage(k.OrgID, k.Scopes) {
		err = jobs.ErrNotFound
	}
	if err != nil {
		return nil, nil, unknownKey(err)
	}
	return k, audit, nil
}

// freer refuses that a bound key makes or rotates a key with rights like its own that is bound by less.
func freer(k, caller *apikey.Key) error {
	if !k.Privileged() || k.ID == caller.ID || k.BoundLike(caller) {
		return nil
	}
	return refuse(http.StatusForbidden, "this key is bound to addresses, an end, one use or a version: keys of admins and operators that it makes or rotates must be bound at least so")
}

// listKeys shows the keys of the caller's org; to the platform those of any, or of all.
func (s *Server) listKeys(c *gin.Context, caller *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	org := p.text("orgId", false)
	if err := p.finish(); err != nil {
		return err
	}
	if !caller.Has(apikey.ScopePlatform) {
		if org != "" && org != caller.OrgID {
			return refuse(http.StatusForbidden, "the scope admin is for the keys of its own org; the scope platform is for all")
		}
		org = caller.OrgID
	}
	keys, err := s.admin.List(c.Request.Context(), org)
	if err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(k *apikey.Key) bool { return !caller.MayManage(k.OrgID, k.Scopes) })
	today, err := s.budgetsToday(c.Request.Context(), keys...)
	if err != nil {
		return err
	}
	views := make([]keyView, len(keys))
	for i, k := range keys {
		views[i] = s.keyView(k, today[k.ID])
	}
	writeJSON(c, http.StatusOK, map[string]any{"keys": views})
	return nil
}

// getKey shows a key and who changed it.
func (s *Server) getKey(c *gin.Context, caller *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	k, audit, err := s.manageable(c, caller)
	if err != nil {
		return err
	}
	lines := make([]auditView, len(audit))
	for i, e := range audit {
		lines[i] = auditView{e.At.UTC(), e.Action, e.Actor, e.Reason, e.Detail}
	}
	today, err := s.budgetsToday(c.Request.Context(), k)
	if err != nil {
		return err
	}
	writeJSON(c, http.StatusOK, map[string]any{"key": s.keyView(k, today[k.ID]), "audit": lines})
	return nil
}

// draft reads what a new key is to be.
func (s *Server) draft(b *body) apikey.Draft {
	d := apikey.Draft{Sandbox: b.boolean("sandbox"), OrgID: b.text("orgId", true), Name: b.text("name", true), CallbackHosts: b.list("callbackHosts")}
	if d.OrgID != "" && !apikey.ValidOrg(d.OrgID) {
		b.fault("orgId", typeOnly, map[string]any{"value": d.OrgID}, "must be 1 to 128 visible ASCII characters other than /, and not . or ..")
	}
	if jobs.InSandbox(d.OrgID) {
		b.fault("orgId", typeOnly, map[string]any{"value": d.OrgID}, "must be that of the org whose sandbox it is, with sandbox=true")
	} else if d.Sandbox && d.OrgID != "" && !apikey.ValidOrg(jobs.SandboxOf(d.OrgID)) {
		b.fault("orgId", typeMax, map[string]any{"value": d.OrgID}, "is too long for an org with a sandbox: at most 120 characters")
	}
	if utf8.RuneCountInString(d.Name) > maxKeyName {
		b.fault("name", typeMax, map[string]any{"value": d.Name, "limit": maxKeyName}, "length must be less than or equal to %d characters long", maxKeyName)
	}
	for _, scope := range b.list("scopes") {
		if !slices.Contains(anyScope, apikey.Scope(scope)) {
			b.fault("scopes", typeOnly, map[string]any{"value": scope}, "must be of read, export, ops, view, admin, platform")
			break
		}
		if d.Sandbox && scope != string(apikey.ScopeRead) && scope != string(apikey.ScopeExport) {
			b.fault("scopes", typeOnly, map[string]any{"value": scope}, "must be of read, export for a sandbox key")
			break
		}
		d.Scopes = append(d.Scopes, apikey.Scope(scope))
	}
	if b.fields["scopes"] == nil {
		b.fault("scopes", typeRequired, nil, "is required")
	}
	d.ExpiresAt, _, _ = b.date("expiresAt", false)
	if !d.ExpiresAt.IsZero() && !d.ExpiresAt.After(s.now()) {
		b.fault("expiresAt", typeGreater, map[string]any{"value": b.values.Get("expiresAt"), "limit": "now"}, "must be in the future")
	}
	if _, err := webhook.ParseHostList(d.CallbackHosts); err != nil {
		b.fault("callbackHosts", typeOnly, map[string]any{"value": strings.Join(d.CallbackHosts, ",")}, "must be host names, as hooks.example.com or *.example.com")
	}
	for _, text := range b.list("ipRanges") {
		p, err := apikey.ParseIPRange(text)
		if err != nil {
			b.fault("ipRanges", typeOnly, map[string]any{"value": text}, "must be ranges of addresses, as 203.0.113.0/24")
			break
		}
		d.IPRanges = append(d.IPRanges, p)
	}
	d.MinVersion = b.integer("minSignatureVersion", 1, 2, 1)
	d.OneUse = b.boolean("oneUse")
	d.Budget = b.budget(d.Sandbox)
	return d
}

// budget reads what the exports of a key may come to in a day.
func (p *params) budget(sandbox bool) (out jobs.Budget) {
	for _, f := range []struct {
		name  string
		limit *int64
	}{{"rowsPerDay", &out.Rows}, {"readsPerDay", &out.Reads}} {
		if *f.limit = int64(p.integer(f.name, 1, maxBudget, 0)); *f.limit > 0 && sandbox {
			p.fault(f.name, typeOnly, map[string]any{"value": p.values.Get(f.name)}, "is not for sandbox keys: their rows are made up and read nothing")
		}
	}
	return out
}

// changer is how an admin appears in a key's history.
func changer(caller *apikey.Key, reason string) apikey.By {
	return apikey.By{Actor: actor(caller), Reason: reason}
}

// changer reads why somebody changes a key, and, if they say so, on which state of it they have decided.
func (b *body) changer(caller *apikey.Key) apikey.By {
	by := changer(caller, b.reason(true))
	if _, said := b.fields["expected"]; said {
		by.Seen = &time.Time{}
		b.object("expected", func(p *params) { *by.Seen, _, _ = p.date("lastChangeAt", false) })
	}
	return by
}

// createKey makes a key. Its secrets are in this answer and can never be shown again.
func (s *Server) createKey(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	d, reason := s.draft(b), b.reason(true)
	if err := b.finish(); err != nil {
		return err
	}
	if !caller.MayManage(d.OrgID, d.Scopes) {
		return refuse(http.StatusForbidden, "the scope admin makes keys of its own org, with the scopes read, export and admin; the scope platform makes all")
	}
	planned := &apikey.Key{Scopes: d.Scopes, IPRanges: d.IPRanges, ExpiresAt: d.ExpiresAt, OneUse: d.OneUse, MinVersion: d.MinVersion}
	if err := freer(planned, caller); err != nil {
		return err
	}
	k, err := s.admin.Create(c.Request.Context(), d, changer(caller, reason))
	if err != nil {
		return err
	}
	observe(c).targetKeyID = k.ID
	writeJSON(c, http.StatusCreated, map[string]any{
		"key": s.keyView(k, viewOfBudget(k.Budget, jobs.NewBudgetDay(k.ID, s.now()))), "secret": k.Secrets[0].Secret.Reveal(), "webhookSecret": k.WebhookSecrets[0].Secret.Reveal(),
	})
	return nil
}

// rotateKey gives a key a new secret, in this answer only.
func (s *Server) rotateKey(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	longest := int(apikey.MaxOverlap / time.Second)
	overlap := time.Duration(b.integer("overlapSeconds", 0, longest, int(defaultOverlap/time.Second))) * time.Second
	purpose := enum(&b.params, "secret", apikey.ForRequests, apikey.ForCallbacks)
	by := b.changer(caller)
	if err := b.finish(); err != nil {
		return err
	}
	k, audit, err := s.manageable(c, caller)
	if err != nil {
		return err
	}
	if err := freer(k, caller); err != nil {
		return err
	}
	id := k.ID
	secret, err := s.admin.Rotate(c.Request.Context(), id, apikey.Rotation{
		Purpose: cmp.Or(purpose, apikey.ForRequests), Overlap: overlap, Seen: append([]apikey.AuditEntry{}, audit...),
	}, by)
	if err != nil {
		return unknownKey(err)
	}
	observe(c).targetKeyID = id
	writeJSON(c, http.StatusOK, map[string]any{"keyId": id, "secret": secret.Reveal(), "oldSecretExpiresAt": s.now().Add(overlap).UTC().Truncate(time.Second)})
	return nil
}

// setKeyBudget changes what the exports of a key may come to in a day; what is left out stays, and null is
// without limit. What the key has spent of today stays spent.
func (s *Server) setKeyBudget(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	var to apikey.BudgetChange
	budget := b.budget(false)
	if _, said := b.fields["expected"]; said {
		to.Seen = &jobs.Budget{}
		b.object("expected", func(p *params) { *to.Seen = p.budget(false) })
	}
	for name, f := range map[string]struct {
		limit int64
		to    **int64
	}{"rowsPerDay": {budget.Rows, &to.Rows}, "readsPerDay": {budget.Reads, &to.Reads}} {
		if _, said := b.fields[name]; said {
			*f.to = &f.limit
		}
	}
	if to.Rows == nil && to.Reads == nil {
		b.fault("rowsPerDay", typeRequired, nil, "or readsPerDay is required: how many of a day, or null for no limit")
	}
	reason := b.reason(true)
	if err := b.finish(); err != nil {
		return err
	}
	k, _, err := s.manageable(c, caller)
	if err != nil {
		return err
	}
	if jobs.InSandbox(k.OrgID) {
		return refuse(http.StatusConflict, "a sandbox key has no budget: its rows are made up and read nothing")
	}
	days, err := s.jobs.BudgetDays(c.Request.Context(), []string{k.ID}) // before: what is done is not told by an error
	if err != nil {
		return err
	}
	changed := *k
	if changed.Budget, err = s.admin.SetBudget(c.Request.Context(), k.ID, to, changer(caller, reason)); err != nil {
		return unknownKey(err)
	}
	observe(c).targetKeyID = k.ID
	writeJSON(c, http.StatusOK, map[string]any{"key": s.keyView(&changed, viewOfBudget(changed.Budget, days[0]))})
	return nil
}

// revokeKey disables a key. Other processes notice at once where they watch it, else within 10 s.
func (s *Server) revokeKey(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	by := b.changer(caller)
	if err := b.finish(); err != nil {
		return err
	}
	k, _, err := s.manageable(c, caller)
	if err != nil {
		return err
	}
	id := k.ID
	if id == caller.ID {
		return refuse(http.StatusConflict, "a key cannot revoke itself: use another admin key")
	}
	if k.State == apikey.Disabled {
		by.Seen = nil // it is as asked for, such as after an answer that was lost
	}
	if err := s.admin.SetState(c.Request.Context(), id, apikey.Disabled, by); err != nil {
		return unknownKey(err)
	}
	observe(c).targetKeyID = id
	writeJSON(c, http.StatusOK, map[string]any{"keyId": id, "state": apikey.Disabled})
	return nil
}

// unknownKey says so, where the table of errors would speak of a job.
func unknownKey(err error) error {
	if errors.Is(err, jobs.ErrNotFound) {
		return refuse(http.StatusNotFound, "API key not found")
	}
	if errors.Is(err, jobs.ErrInvalid) {
		return refuse(http.StatusConflict, "the record of the key is damaged, no request of it is taken: make a new key; an operator can mend or delete the document in ApiKeys")
	}
	return err
}
