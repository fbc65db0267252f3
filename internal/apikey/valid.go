package apikey

import (
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// What a record may hold: several times what the API writes, so that records made by hand pass. 10,000
// records are cached.
const (
	maxName   = 1500 // bytes
	maxItems  = 200  // of a list
	maxItem   = 300  // bytes of an item: host names have 253 at most
	maxURL    = 2048
	maxSealed = 8 << 10
	maxSecret = 1 << 10
	maxReason = 2500 // of 500 characters
)

// Damaged is the state of a record that makes no sense. No request of its key is taken.
const Damaged State = "damaged"

// check says what is wrong with a record, as a jobs.ErrInvalid that quotes no value.
func (r *record) check(id string) error {
	c := jobs.NewChecks(time.Time{})
	c.That(r.State == "" || State(r.State) == Active || State(r.State) == Disabled, "state is neither active nor disabled")
	c.That(len(r.Name) <= maxName, "name is too long")
	c.That(len(r.DefaultCallbackURL) <= maxURL, "defaultCallbackUrl is too long")
	c.That(len(r.Secret) <= maxSecret && len(r.WebhookSecret) <= maxSecret && len(r.WebhookSealed) <= maxSealed, "a secret is too long")
	for name, list := range map[string][]string{"scopes": r.Scopes, "callbackHosts": r.CallbackHosts, "ipRanges": r.IPRanges} {
		c.That(len(list) <= maxItems, name+" has too many items")
		for _, item := range list {
			c.That(len(item) <= maxItem, "an item of "+name+" is too long")
		}
	}
	for name, list := range map[string][]sealedSecret{"secrets": r.Secrets, "webhookSecrets": r.WebhookSecrets} {
		for _, s := range list {
			c.That(len(s.ID) <= maxItem && len(s.Sealed) <= maxSealed && len(s.Plain) <= maxSecret, "a secret of "+name+" is too long")
			c.That(len(s.Sealed) > 0 || s.Plain != "", "a secret of "+name+" is empty")
		}
	}
	c.That(len(r.Audit) <= 2*maxAudit, "audit has too many lines")
	for _, e := range r.Audit {
		c.That(len(e.Action) <= maxItem && len(e.Actor) <= maxName && len(e.Reason) <= maxReason && len(e.Detail) <= maxItem, "a line of audit is too long")
	}
	if what := c.What(); what != "" {
		return fmt.Errorf("key %s: %s: %w", id, what, jobs.ErrInvalid)
	}
	return nil
}

// believe drops times that cannot have been: a last use in 2200 would keep every later one from being noted.
func (k *Key) believe(now time.Time) {
	for _, t := range []*time.Time{&k.CreatedAt, &k.LastUsedAt} {
		if t.After(now.Add(maxAhead)) {
			*t = time.Time{}
		}
	}
}

// maxAhead is by how much what has happened may be ahead of now, as in package jobs.
const maxAhead = 24 * time.Hour

// shownDamaged is what admins see of a record that makes no sense, so that they can find it. Whose it is and
// what it gives is believed where it can be read, else it is the platform's to see.
func shownDamaged(doc *firestore.DocumentSnapshot) *Key {
	k := &Key{ID: doc.Ref.ID, State: Damaged, Scopes: []Scope{ScopePlatform}}
	// One by one: Data panics at a value of a type that it does not know, in whatever field.
	at, _ := doc.DataAt("orgId")
	if org, _ := at.(string); ValidOrg(org) {
		k.OrgID = org
	}
	raw, err := doc.DataAt("scopes")
	_, missing := errors.AsType[*firestore.FieldNotFoundError](err)
	ok := !missing
	list, isList := raw.([]any)
	if ok && (!isList || len(list) > maxItems) {
		return k
	}
	scopes := []Scope{}
	for _, item := range list {
		s, isText := item.(string)
		if !isText || len(s) > maxItem {
			return k
		}
		scopes = append(scopes, Scope(s))
	}
	if k.Scopes = scopes; !ok {
		k.Scopes = defaultScopes
	}
	return k
}

// damaged tells of a record that makes no sense.
func (s *Store) damaged(doc *firestore.DocumentSnapshot, err error) {
	s.damage.Note(telemetry.KeyDocument, Collection+"/"+doc.Ref.ID, doc.UpdateTime, err.Error())
}

// shown is a key as admins see it.
func (s *Store) shown(doc *firestore.DocumentSnapshot) (*Key, error) {
	k, err := decode(doc, s.sealer)
	switch {
	case err == nil:
		k.believe(s.now())
	case !errors.Is(err, errSealed):
		s.damaged(doc, err)
		return shownDamaged(doc), nil
	}
	return k, err
}
