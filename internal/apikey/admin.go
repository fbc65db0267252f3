package apikey

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/jobs"
)

// MaxOverlap is the longest that a rotated secret goes on working.
const MaxOverlap = 7 * 24 * time.Hour

// maxListed bounds List: an org has a handful of keys.
const maxListed = 1000

// Draft is a key to be made.
type Draft struct {
	OrgID, Name   string
	Scopes        []Scope
	ExpiresAt     time.Time // zero: never
	CallbackHosts []string
	IPRanges      []netip.Prefix
	MinVersion    int
}

// Create makes a key with a secret of 256 random bits and a webhook secret. The returned
// Key holds both: the one time that they can be shown.
func (s *Store) Create(ctx context.Context, d Draft) (*Key, error) {
	if !ValidOrg(d.OrgID) {
		return nil, fmt.Errorf("create key: org id: %w", jobs.ErrInvalid)
	}
	var webhook [32]byte
	_, _ = rand.Read(webhook[:]) // never fails: crypto/rand ends the process rather
	k := &Key{
		ID: "key_" + strings.ToLower(rand.Text()), OrgID: d.OrgID, Name: d.Name, Scopes: d.Scopes, State: Active, CreatedAt: s.now(),
		ExpiresAt: d.ExpiresAt, CallbackHosts: d.CallbackHosts, IPRanges: d.IPRanges, MinVersion: d.MinVersion, Secrets: []SigningSecret{{Secret: randomSecret()}},
		WebhookSecret: NewSecret("whsec_" + base64.StdEncoding.EncodeToString(webhook[:])),
	}
	r := record{
		OrgID: k.OrgID, Name: k.Name, State: string(k.State), CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, CallbackHosts: k.CallbackHosts, MinVersion: k.MinVersion,
		Secrets:       []sealedSecret{{ID: newSecretID(), Plain: k.Secrets[0].Secret.Reveal()}},
		WebhookSecret: k.WebhookSecret.Reveal(), Scopes: make([]string, len(k.Scopes)),
	}
	for i, scope := range k.Scopes {
		r.Scopes[i] = string(scope)
	}
	for _, p := range k.IPRanges {
		r.IPRanges = append(r.IPRanges, p.String())
	}
	if s.sealer != nil {
		if err := r.sealAll(k.ID, s.sealer); err != nil {
			return nil, err
		}
	}
	if _, err := s.doc(k.ID).Create(ctx, r); err != nil {
		return nil, fmt.Errorf("create key: %w", classify(err))
	}
	s.Forget(k.ID)
	return k, nil
}

// Rotate gives a key a new secret and returns it; the one in use works on for overlap, any
// older one ends now. An overlap of 0 ends both: for a secret that has leaked.
func (s *Store) Rotate(ctx context.Context, id string, overlap time.Duration) (Secret, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Secret{}, fmt.Errorf("rotate key: an overlap of %s is not within 0 and %s", overlap, MaxOverlap)
	}
	secret := randomSecret()
	err := s.change(ctx, id, func(r *record) error {
		now := s.now()
		old := r.Secrets
		if r.Secret != "" { // no keyset, and never rotated
			old, r.Secret = append(old, sealedSecret{ID: newSecretID(), Plain: r.Secret}), ""
		}
		r.Secrets = []sealedSecret{{ID: newSecretID(), Plain: secret.Reveal()}}
		if overlap > 0 && len(old) > 0 {
			last := old[0]
			if until := now.Add(overlap); last.ExpiresAt.IsZero() || until.Before(last.ExpiresAt) {
				last.ExpiresAt = until
			}
			r.Secrets = append(r.Secrets, last)
		}
		return nil
	})
	if err != nil {
		return Secret{}, fmt.Errorf("rotate key: %w", err)
	}
	return secret, nil
}

// change updates the secrets of a record in a transaction, sealed if there is a keyset.
func (s *Store) change(ctx context.Context, id string, fn func(*record) error) error {
	if !ValidID(id) {
		return jobs.ErrNotFound
	}
	err := s.client.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
		doc, err := tx.Get(s.doc(id))
		if err != nil {
			return err
		}
		var r record
		if err := doc.DataTo(&r); err != nil {
			return fmt.Errorf("key %s has a field of a wrong type: %w", id, jobs.ErrInvalid)
		}
		if err := fn(&r); err != nil {
			return err
		}
		if s.sealer != nil {
			if err := r.sealAll(id, s.sealer); err != nil {
				return err
			}
		}
		return tx.Update(s.doc(id), r.updates())
	})
	s.Forget(id)
	return classify(err)
}

// SetState disables a key or makes it active again. Other processes notice within the
// cache's TTL.
func (s *Store) SetState(ctx context.Context, id string, state State) error {
	if !ValidID(id) {
		return fmt.Errorf("set state of key: %w", jobs.ErrNotFound)
	}
	if state != Active && state != Disabled {
		return fmt.Errorf("set state of key to %q: %w", state, jobs.ErrInvalid)
	}
	_, err := s.doc(id).Update(ctx, []firestore.Update{{Path: "state", Value: string(state)}})
	s.Forget(id)
	if err != nil {
		return fmt.Errorf("set state of key: %w", classify(err))
	}
	return nil
}

// List returns the keys of an org by id, of all orgs if it is empty. Records that make no
// sense are left out.
func (s *Store) List(ctx context.Context, orgID string) ([]*Key, error) {
	q := s.client.Collection(Collection).Query
	if orgID != "" {
		q = q.Where("orgId", "==", orgID)
	}
	docs, err := q.Limit(maxListed).Documents(ctx).GetAll()
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", classify(err))
	}
	var keys []*Key
	for _, doc := range docs {
		if k, err := decode(doc, s.sealer); err == nil {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

func (s *Store) doc(id string) *firestore.DocumentRef { return s.client.Collection(Collection).Doc(id) }

// randomSecret is the one way to make secrets: with x-date and x-signature at hand, one
// that a person made up could be guessed offline.
func randomSecret() Secret {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return NewSecret(hex.EncodeToString(b[:]))
}

func newSecretID() string { return "sec_" + strings.ToLower(rand.Text()) }

// classify turns Firestore's codes into the errors of package jobs.
func classify(err error) error {
	if errors.Is(err, context.DeadlineExceeded) { // ours, which has no code
		return errors.Join(jobs.ErrUnavailable, err)
	}
	switch status.Code(err) {
	case codes.OK:
		return err
	case codes.NotFound:
		return fmt.Errorf("%w: %w", jobs.ErrNotFound, err)
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Aborted:
		return errors.Join(jobs.ErrUnavailable, err)
	}
	return err
}
