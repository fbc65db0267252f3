package apikey

import (
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// record is a key's document. Secrets are sealed. Secret and WebhookSecret are what records hold that were
// made by hand, WebhookSealed what this program made of the latter before webhook secrets could be rotated.
type record struct {
	OrgID              string         `firestore:"orgId"`
	Name               string         `firestore:"name"`
	Scopes             []string       `firestore:"scopes"`
	State              string         `firestore:"state"`
	CreatedAt          time.Time      `firestore:"createdAt,omitempty"`
	ExpiresAt          time.Time      `firestore:"expiresAt,omitempty"`
	Secret             string         `firestore:"secret,omitempty"`
	WebhookSecret      string         `firestore:"webhookSecret,omitempty"`
	Secrets            []sealedSecret `firestore:"secrets,omitempty"`
	WebhookSealed      []byte         `firestore:"webhookSecretSealed,omitempty"`
	WebhookSecrets     []sealedSecret `firestore:"webhookSecrets,omitempty"`
	CallbackHosts      []string       `firestore:"callbackHosts,omitempty"`
	DefaultCallbackURL string         `firestore:"defaultCallbackUrl,omitempty"`
	MinVersion         int            `firestore:"minSignatureVersion,omitempty"`
	OneUse             bool           `firestore:"oneUse,omitempty"`
	RowsPerDay         int64          `firestore:"rowsPerDay,omitempty"`
	ReadsPerDay        int64          `firestore:"readsPerDay,omitempty"`
	IPRanges           []string       `firestore:"ipRanges,omitempty"`
	LastUsedAt         time.Time      `firestore:"lastUsedAt,omitempty"`
	Audit              []AuditEntry   `firestore:"audit,omitempty"` // oldest first
}

// sealedSecret is one of at most two secrets of a purpose, newest first.
type sealedSecret struct {
	ID string `firestore:"id"` // part of what it is sealed for, as is the purpose
	// Sealed, or Plain where there is no keyset.
	Sealed    []byte    `firestore:"sealed,omitempty"`
	Plain     string    `firestore:"plain,omitempty"`
	NotBefore time.Time `firestore:"notBefore,omitempty"`
	ExpiresAt time.Time `firestore:"expiresAt,omitempty"`
}

// webhookName is what a record's WebhookSealed is sealed for; webhookPrefix stands before the ids of
// WebhookSecrets, so that one of them is of no use in the list that signs requests.
const (
	webhookName   = "webhookSecret"
	webhookPrefix = "webhook/"
)

// decode makes a Key of a document. Errors are jobs.ErrInvalid and quote no value.
func decode(doc *firestore.DocumentSnapshot, sealer *Sealer) (*Key, error) {
	var r record
	if err := doc.DataTo(&r); err != nil {
		return nil, fmt.Errorf("key %s has a field of a wrong type: %w", doc.Ref.ID, jobs.ErrInvalid)
	}
	if err := r.check(doc.Ref.ID); err != nil {
		return nil, err
	}
	if !ValidOrg(r.OrgID) {
		return nil, fmt.Errorf("key %s has no usable orgId: %w", doc.Ref.ID, jobs.ErrInvalid)
	}
	if r.MinVersion < 0 || r.MinVersion > 2 {
		return nil, fmt.Errorf("key %s has minSignatureVersion %d, not 1 or 2: %w", doc.Ref.ID, r.MinVersion, jobs.ErrInvalid)
	}
	if r.RowsPerDay < 0 || r.ReadsPerDay < 0 {
		return nil, fmt.Errorf("key %s has a budget below 0: %w", doc.Ref.ID, jobs.ErrInvalid)
	}
	if jobs.InSandbox(r.OrgID) && slices.ContainsFunc(r.Scopes, func(s string) bool { return !slices.Contains(defaultScopes, Scope(s)) }) {
		return nil, fmt.Errorf("key %s is of a sandbox and has other scopes than read and export: %w", doc.Ref.ID, jobs.ErrInvalid)
	}
	k := &Key{
		ID: doc.Ref.ID, OrgID: r.OrgID, Name: r.Name, State: State(r.State), CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt,
		Scopes: defaultScopes, CallbackHosts: r.CallbackHosts, DefaultCallbackURL: r.DefaultCallbackURL, MinVersion: r.MinVersion, OneUse: r.OneUse, Budget: jobs.Budget{Rows: r.RowsPerDay, Reads: r.ReadsPerDay}, LastUsedAt: r.LastUsedAt,
		plain: r.isPlain(),
	}
	for _, text := range r.IPRanges {
		p, err := ParseIPRange(text)
		if err != nil {
			return nil, fmt.Errorf("key %s has an ipRange that is none: %w", doc.Ref.ID, err)
		}
		k.IPRanges = append(k.IPRanges, p)
	}
	if err := k.setSecrets(r, sealer); err != nil {
		return nil, err
	}
	if _, err := doc.DataAt("scopes"); err == nil {
		k.Scopes = make([]Scope, len(r.Scopes))
		for i, s := range r.Scopes {
			k.Scopes[i] = Scope(s)
		}
	}
	if k.State == "" {
		k.State = Active
	}
	return k, nil
}

func (k *Key) setSecrets(r record, sealer *Sealer) error {
	r.list()
	if len(r.Secrets) == 0 || len(r.Secrets) > maxSecrets {
		return fmt.Errorf("key %s has %d secrets, not one or two: %w", k.ID, len(r.Secrets), jobs.ErrInvalid)
	}
	if err := r.adopt(k.ID, sealer); err != nil {
		return err
	}
	if len(r.WebhookSecrets) > maxSecrets {
		return fmt.Errorf("key %s has %d webhook secrets, not two at most: %w", k.ID, len(r.WebhookSecrets), jobs.ErrInvalid)
	}
	var err error
	if k.Secrets, err = sealer.openAll(k.ID, "", r.Secrets); err != nil {
		return err
	}
	k.WebhookSecrets, err = sealer.openAll(k.ID, webhookPrefix, r.WebhookSecrets)
	return err
}

// openAll gives the secrets of a list.
func (s *Sealer) openAll(id, prefix string, list []sealedSecret) (out []SigningSecret, err error) {
	for _, sealed := range list {
		secret := NewSecret(sealed.Plain)
		if sealed.Plain == "" {
			if secret, err = s.open(id, prefix+sealed.ID, sealed.Sealed); err != nil {
				return nil, fmt.Errorf("%w: %w", jobs.ErrInvalid, err)
			}
		}
		out = append(out, SigningSecret{secret, sealed.NotBefore, sealed.ExpiresAt})
	}
	return out, nil
}

// isPlain reports whether something in the record ought to be sealed.
func (r record) isPlain() bool {
	plain := func(s sealedSecret) bool { return s.Plain != "" }
	return r.Secret != "" || r.WebhookSecret != "" || slices.ContainsFunc(r.Secrets, plain) || slices.ContainsFunc(r.WebhookSecrets, plain)
}

// list moves secrets that are fields of their own into the lists, as their oldest.
func (r *record) list() {
	for _, f := range []struct {
		text *string
		to   *[]sealedSecret
	}{{&r.Secret, &r.Secrets}, {&r.WebhookSecret, &r.WebhookSecrets}} {
		if *f.text != "" {
			*f.to, *f.text = append(slices.Clone(*f.to), sealedSecret{ID: newSecretID(), Plain: *f.text}), ""
		}
	}
}

// adopt opens a webhook secret that was sealed for a field of its own and moves it into the list, to be
// sealed again there.
func (r *record) adopt(id string, sealer *Sealer) error {
	if len(r.WebhookSealed) == 0 {
		return nil
	}
	secret, err := sealer.open(id, webhookName, r.WebhookSealed)
	if err != nil {
		return fmt.Errorf("%w: %w", jobs.ErrInvalid, err)
	}
	r.WebhookSecrets = append(slices.Clone(r.WebhookSecrets), sealedSecret{ID: newSecretID(), Plain: secret.Reveal()})
	r.WebhookSealed = nil
	return nil
}

// sealAll replaces every plain secret of a record by its sealed form.
func (r *record) sealAll(id string, sealer *Sealer) error {
	r.list()
	if err := r.adopt(id, sealer); err != nil {
		return err
	}
	for prefix, list := range map[string][]sealedSecret{"": r.Secrets, webhookPrefix: r.WebhookSecrets} {
		for i := range list {
			s := &list[i]
			if s.Plain == "" {
				continue
			}
			var err error
			if s.Sealed, err = sealer.seal(id, prefix+s.ID, NewSecret(s.Plain)); err != nil {
				return err
			}
			s.Plain = ""
		}
	}
	return nil
}

// updates are the fields that sealing and admins change; others stay as they are, also those that this
// version does not know.
func (r record) updates() []firestore.Update {
	ups := []firestore.Update{{Path: "secrets", Value: r.Secrets}}
	orDelete := func(path string, value any, empty bool) {
		if empty {
			value = firestore.Delete
		}
		ups = append(ups, firestore.Update{Path: path, Value: value})
	}
	orDelete("secret", r.Secret, r.Secret == "")
	orDelete("webhookSecret", r.WebhookSecret, r.WebhookSecret == "")
	orDelete("webhookSecretSealed", r.WebhookSealed, len(r.WebhookSealed) == 0)
	orDelete("webhookSecrets", r.WebhookSecrets, len(r.WebhookSecrets) == 0)
	orDelete("state", r.State, r.State == "")
	orDelete("rowsPerDay", r.RowsPerDay, r.RowsPerDay == 0)
	orDelete("readsPerDay", r.ReadsPerDay, r.ReadsPerDay == 0)
	orDelete("audit", r.Audit, len(r.Audit) == 0)
	return ups
}
