package console

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"exportd/api/client"
	"exportd/internal/apikey"
)

// keysPage shows the API keys that an admin may see.
type keysPage struct {
	Org  string
	Keys []client.APIKey
}

func (c *Console) keysPage(ctx context.Context, _ *principal, r *http.Request) (view, error) {
	p := keysPage{Org: r.URL.Query().Get("orgId")}
	params := client.ListKeysParams{}
	if p.Org != "" {
		params.OrgID = &p.Org
	}
	answer, err := c.api.ListKeysWithResponse(ctx, &params)
	if err != nil {
		return view{}, err
	}
	p.Keys = answer.JSON200.Keys
	return view{name: "keys", title: "Keys", data: p}, nil
}

// keyPage shows a key, who changed it, and what can be done to it.
type keyPage struct {
	Key   client.APIKey
	Audit []client.KeyChange
	// Fault is why nothing was done; Seen the time of the last change on the page, as the API takes it.
	Fault, Seen    string
	Rotate, Revoke keyForm
	Budget         budgetForm
	Own            bool // by which one is signed in
}

// keyForm is one that does something to a key as its page shows it: to one that somebody has Changed
// meanwhile, nothing is done, and the form is shown once more with what was chosen.
type keyForm struct {
	Once, Fault, Reason      string
	Changed, Webhook, Leaked bool
}

func (c *Console) keyPage(ctx context.Context, who *principal, r *http.Request) (view, error) {
	p, err := c.readKey(ctx, who, r.PathValue("id"))
	return view{name: "key", title: "A key", data: p}, err
}

func (c *Console) readKey(ctx context.Context, who *principal, id string) (keyPage, error) {
	answer, err := c.api.GetKeyWithResponse(ctx, id)
	if err != nil {
		return keyPage{}, err
	}
	k, audit := answer.JSON200.Key, answer.JSON200.Audit
	p := keyPage{Key: k, Audit: audit, Rotate: keyForm{Once: rand.Text()}, Budget: budgetOf(&k), Revoke: keyForm{Once: rand.Text()}, Own: k.KeyID == who.KeyID}
	if n := len(audit); n > 0 {
		p.Seen = audit[n-1].At.Format(time.RFC3339Nano)
	}
	return p, nil
}

// keyChange is what a form of a key's page asks for, of the key as the page showed it.
func keyChange(r *http.Request) map[string]any {
	var seen any
	if at := r.PostFormValue("seen"); at != "" {
		seen = at
	}
	return map[string]any{"reason": strings.TrimSpace(r.PostFormValue("reason")), "expected": map[string]any{"lastChangeAt": seen}}
}

// keyAgain shows a key's page once more where somebody has changed the key meanwhile, or a field is wrong,
// with what was chosen in one of its forms.
func (c *Console) keyAgain(w http.ResponseWriter, r *http.Request, who *principal, err error, form func(*keyPage) *keyForm) error {
	refused, ok := refusal(err)
	changed := ok && refused.Status == http.StatusConflict && !madeBefore(refused)
	if !changed && (!ok || refused.Status != http.StatusUnprocessableEntity) {
		return sentBefore(err)
	}
	p, err := c.readKey(c.asking(r, who), who, r.PathValue("id"))
	if err != nil {
		return err
	}
	f := form(&p)
	p.Fault = sentence(cmp.Or(refused.Message, faultTexts(refused.Faults)))
	f.Changed, f.Fault, f.Reason, f.Webhook, f.Leaked = changed, p.Fault, r.PostFormValue("reason"), r.PostFormValue("secret") == "webhook", r.PostFormValue("leaked") == "1"
	c.render(w, r, who, refused.Status, "key", "A key", p)
	return nil
}

// newKeyPage asks what a key is to be.
type newKeyPage struct {
	Once, Fault                     string
	Org, Name, Expires, IPs, Reason string
	Choice                          []right
}

// right is a right that a key may be given.
type right struct {
	Scope, Means string
	On           bool
}

var means = map[apikey.Scope]string{
	apikey.ScopeRead: "lists rows and reads jobs of its org", apikey.ScopeExport: "makes, reads, cancels and deletes exports of its org", apikey.ScopeView: "sees what operators see, of all orgs",
	apikey.ScopeOps: "operates: all orgs' jobs, and no file", apikey.ScopeAdmin: "makes and revokes keys of its org", apikey.ScopePlatform: "makes and revokes keys of all orgs",
}

// rightsFor are those that who asks may give.
func rightsFor(who *principal, on []string) (all []right) {
	for _, s := range apikey.AllScopes {
		if who.key.MayManage(who.key.OrgID, []apikey.Scope{s}) {
			all = append(all, right{Scope: string(s), Means: means[s], On: slices.Contains(on, string(s))})
		}
	}
	return all
}

func (c *Console) newKey(_ context.Context, who *principal, r *http.Request) (view, error) {
	if !who.mayAdmin() {
		return view{}, &client.Error{Status: http.StatusForbidden, Message: "keys are for the scopes admin and platform"}
	}
	p := newKeyPage{Once: rand.Text(), Org: r.URL.Query().Get("orgId"), Choice: rightsFor(who, nil)}
	if !who.key.Has(apikey.ScopePlatform) {
		p.Org = who.key.OrgID
	}
	return view{name: "key-new", title: "Make a key", data: p}, nil
}

// secretPage shows secrets, the one time that they can be.
type secretPage struct {
	KeyID, Name     string
	Secret, Webhook string
	Until           any // when the secret that was in use ends
}

// makeKey makes what the form says, and shows the secrets in its answer: no page has them again.
func (c *Console) makeKey(w http.ResponseWriter, r *http.Request, who *principal) error {
	scopes := r.PostForm["scopes"]
	p := newKeyPage{
		Once: rand.Text(), Org: strings.TrimSpace(r.PostFormValue("orgId")), Name: strings.TrimSpace(r.PostFormValue("name")), Expires: r.PostFormValue("expires"),
		IPs: r.PostFormValue("ipRanges"), Reason: strings.TrimSpace(r.PostFormValue("reason")), Choice: rightsFor(who, scopes),
	}
	fields := map[string]any{"orgId": p.Org, "name": p.Name, "scopes": append([]string{}, scopes...), "reason": p.Reason}
	if p.Expires != "" {
		fields["expiresAt"] = p.Expires + "T00:00:00.000Z"
	}
	if ranges := strings.FieldsFunc(p.IPs, func(r rune) bool { return r == ',' || r == ' ' }); len(ranges) > 0 {
		fields["ipRanges"] = ranges
	}
	answer, err := c.api.CreateKeyWithBodyWithResponse(c.asking(r, who), asJSON, body(fields), c.once(r, "key"))
	if refused, ok := refusal(err); ok && (refused.Status == http.StatusUnprocessableEntity || refused.Status == http.StatusForbidden && who.mayAdmin()) {
		if p.Fault = sentence(faultTexts(refused.Faults)); len(refused.Faults) == 0 {
			p.Fault = sentence(refused.Message)
		}
		c.render(w, r, who, refused.Status, "key-new", "Make a key", p)
		return nil
	}
	if err != nil {
		return sentBefore(err)
	}
	made := answer.JSON201
	c.render(w, r, who, http.StatusOK, "key-secret", "A new key", secretPage{KeyID: made.Key.KeyID, Name: made.Key.Name, Secret: made.Secret, Webhook: made.WebhookSecret})
	return nil
}

// madeBefore reports whether a form was sent twice.
func madeBefore(refused *client.Error) bool {
	return refused.Status == http.StatusConflict && strings.Contains(refused.Message, "made before")
}

// sentBefore says of a form that was sent twice what that means here.
func sentBefore(err error) error {
	if refused, ok := refusal(err); ok && madeBefore(refused) {
		return &client.Error{Status: http.StatusConflict, Message: "this form was sent before: what came of it was shown once, and is not shown again", RequestID: refused.RequestID}
	}
	return err
}

func (c *Console) rotateKey(w http.ResponseWriter, r *http.Request, who *principal) error {
	id := r.PathValue("id")
	fields := keyChange(r)
	fields["secret"] = "signing"
	if r.PostFormValue("secret") == "webhook" {
		fields["secret"] = "webhook"
	}
	if r.PostFormValue("leaked") == "1" {
		fields["overlapSeconds"] = 0
	}
	answer, err := c.api.RotateKeyWithBodyWithResponse(c.asking(r, who), id, asJSON, body(fields), c.once(r, "rotate "+id))
	if err != nil {
		return c.keyAgain(w, r, who, err, func(p *keyPage) *keyForm { return &p.Rotate })
	}
	p := secretPage{KeyID: id, Until: answer.JSON200.OldSecretExpiresAt}
	if fields["secret"] == "webhook" {
		p.Webhook = answer.JSON200.Secret
	} else {
		p.Secret = answer.JSON200.Secret
	}
	c.render(w, r, who, http.StatusOK, "key-secret", "A new secret", p)
	return nil
}

func (c *Console) revokeKey(w http.ResponseWriter, r *http.Request, who *principal) error {
	id := r.PathValue("id")
	_, err := c.api.RevokeKeyWithBodyWithResponse(c.asking(r, who), id, asJSON, body(keyChange(r)), c.once(r, "revoke "+id))
	if err != nil {
		return c.keyAgain(w, r, who, err, func(p *keyPage) *keyForm { return &p.Revoke })
	}
	http.Redirect(w, r, home+"/keys/"+url.PathEscape(id)+"?said=revoked", http.StatusSeeOther)
	return nil
}
