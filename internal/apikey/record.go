package apikey

import (
	"fmt"
	"slices"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// record is a key's document. Secrets are sealed; Secret and WebhookSecret are what
// records hold that were made by hand or without a keyset.
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
	CallbackHosts      []string       `firestore:"callbackHosts,omitempty"`
	DefaultCallbackURL string         `firestore:"defaultCallbackUrl,omitempty"`
	MinVersion         int            `firestore:"minSignatureVersion,omitempty"`
	IPRanges           []string       `firestore:"ipRanges,omitempty"`
	LastUsedAt         time.Time      `firestore:"lastUsedAt,omitempty"`
}

// sealedSecret is one of at most two secrets that sign requests, newest first.
type sealedSecret struct {
	ID string `firestore:"id"` // part of what it is sealed for
	// Sealed, or Plain where there is no keyset.
	Sealed    []byte    `firestore:"sealed,omitempty"`
	Plain     string    `firestore:"plain,omitempty"`
	NotBefore time.Time `firestore:"notBefore,omitempty"`
	ExpiresAt time.Time `firestore:"expiresAt,omitempty"`
}

// webhookName is what a webhook secret is sealed for.
const webhookName = "webhookSecret"

// decode makes a Key of a document. Errors are jobs.ErrInvalid and quote no value.
func decode(doc *firestore.DocumentSnapshot, sealer *Sealer) (*Key, error) {
	var r record
	if err := doc.DataTo(&r); err != nil {
		return nil, fmt.Errorf("key %s has a field of a wrong type: %w", doc.Ref.ID, jobs.ErrInvalid)
	}
	if !ValidOrg(r.OrgID) {
		return nil, fmt.Errorf("key %s has no usable orgId: %w", doc.Ref.ID, jobs.ErrInvalid)
	}
	if r.MinVersion < 0 || r.MinVersion > 2 {
		return nil, fmt.Errorf("key %s has minSignatureVersion %d, not 1 or 2: %w", doc.Ref.ID, r.MinVersion, jobs.ErrInvalid)
	}
	k := &Key{
		ID: doc.Ref.ID, OrgID: r.OrgID, Name: r.Name, State: State(r.State), CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt,
		Scopes: defaultScopes, CallbackHosts: r.CallbackHosts, DefaultCallbackURL: r.DefaultCallbackURL, MinVersion: r.MinVersion, LastUsedAt: r.LastUsedAt,
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
	if _, ok := doc.Data()["scopes"]; ok {
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
	all := r.Secrets
	if r.Secret != "" {
		all = append(slices.Clone(all), sealedSecret{Plain: r.Secret})
	}
	if len(all) == 0 || len(all) > maxSecrets {
		return fmt.Errorf("key %s has %d secrets, not one or two: %w", k.ID, len(all), jobs.ErrInvalid)
	}
	var err error
	for _, s := range all {
		secret := NewSecret(s.Plain)
		if s.Plain == "" {
			if secret, err = sealer.open(k.ID, s.ID, s.Sealed); err != nil {
				return fmt.Errorf("%w: %w", jobs.ErrInvalid, err)
			}
		}
		k.Secrets = append(k.Secrets, SigningSecret{secret, s.NotBefore, s.ExpiresAt})
	}
	k.WebhookSecret = NewSecret(r.WebhookSecret)
	if len(r.WebhookSealed) > 0 {
		if k.WebhookSecret, err = sealer.open(k.ID, webhookName, r.WebhookSealed); err != nil {
			return fmt.Errorf("%w: %w", jobs.ErrInvalid, err)
		}
	}
	return nil
}

// isPlain reports whether something in the record ought to be sealed.
func (r record) isPlain() bool {
	return r.Secret != "" || r.WebhookSecret != "" || slices.ContainsFunc(r.Secrets, func(s sealedSecret) bool { return s.Plain != "" })
}

// sealAll replaces every plain secret of a record by its sealed form.
func (r *record) sealAll(id string, sealer *Sealer) error {
	if r.Secret != "" {
		r.Secrets = append(slices.Clone(r.Secrets), sealedSecret{ID: newSecretID(), Plain: r.Secret})
		r.Secret = ""
	}
	var err error
	for i := range r.Secrets {
		s := &r.Secrets[i]
		if s.Plain == "" {
			continue
		}
		if s.Sealed, err = sealer.seal(id, s.ID, NewSecret(s.Plain)); err != nil {
			return err
		}
		s.Plain = ""
	}
	if r.WebhookSecret != "" {
		if r.WebhookSealed, err = sealer.seal(id, webhookName, NewSecret(r.WebhookSecret)); err != nil {
			return err
		}
		r.WebhookSecret = ""
	}
	return nil
}

// updates are the fields that sealing and rotation change; others stay as they are, also
// those that this version does not know.
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
	return ups
}
