package apikey

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/jobs"
)

// MaxOverlap is the longest that a rotated secret goes on working.
const MaxOverlap = 7 * 24 * time.Hour

// maxListed bounds List: an org has a handful of keys.
const maxListed = 1000

var (
	// ErrDisabled: a disabled key has no use for a new secret.
	ErrDisabled = errors.New("key is disabled")
	// ErrRotated: the key was rotated since the caller looked at it.
	ErrRotated = errors.New("key was rotated meanwhile")
	// ErrChanged: the key was changed since whoever changes it has seen it.
	ErrChanged = errors.New("key was changed meanwhile")
	// ErrBudgetChanged: the key's budget is neither what the caller took it for nor what it is to become.
	ErrBudgetChanged = errors.New("key's budget was changed meanwhile")
)

// Rotation is how a key gets a new secret.
type Rotation struct {
	Purpose Purpose
	// Overlap is how long the secret in use works on; 0 ends it now, for one that has leaked.
	Overlap time.Duration
	// Seen, if not nil, is the history on which the caller decided: of rotations that were decided on the
	// same one, one is done, and the secret of each that is done works.
	Seen []AuditEntry
}

// last is when an action was last noted.
func last(audit []AuditEntry, action Action) (at time.Time) {
	for _, e := range audit {
		if e.Action == action {
			at = e.At
		}
	}
	return at
}

// Draft is a key to be made.
type Draft struct {
	// Sandbox makes one that acts in the sandbox of OrgID; of the scopes it may have read and export.
	Sandbox       bool
	OrgID, Name   string
	Scopes        []Scope
	ExpiresAt     time.Time // zero: never
	CallbackHosts []string
	IPRanges      []netip.Prefix
	MinVersion    int
	OneUse        bool
	Budget        jobs.Budget
}

// ActsIn is the org that the key acts in.
func (d Draft) ActsIn() string {
	if d.Sandbox {
		return jobs.SandboxOf(d.OrgID)
	}
	return d.OrgID
}

// Create makes a key with a secret of 256 random bits and a webhook secret. The returned Key holds both: the
// one time that they can be shown.
func (s *Store) Create(ctx context.Context, d Draft, by By) (*Key, error) {
	if jobs.InSandbox(d.OrgID) {
		return nil, fmt.Errorf("create key: %q is the id of a sandbox, which has keys by the org that it is of: %w", d.OrgID, jobs.ErrInvalid)
	}
	if d.OrgID = d.ActsIn(); !ValidOrg(d.OrgID) {
		return nil, fmt.Errorf("create key: org id: %w", jobs.ErrInvalid)
	}
	k := &Key{
		ID: "key_" + strings.ToLower(rand.Text()), OrgID: d.OrgID, Name: d.Name, Scopes: d.Scopes, State: Active, CreatedAt: s.now(),
		ExpiresAt: d.ExpiresAt, CallbackHosts: d.CallbackHosts, IPRanges: d.IPRanges, MinVersion: d.MinVersion, OneUse: d.OneUse, Budget: d.Budget,
		Secrets: []SigningSecret{{Secret: RandomSecret(ForRequests)}}, WebhookSecrets: []SigningSecret{{Secret: RandomSecret(ForCallbacks)}},
	}
	r := record{
		OrgID: k.OrgID, Name: k.Name, State: string(k.State), CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, CallbackHosts: k.CallbackHosts, MinVersion: k.MinVersion, OneUse: k.OneUse, RowsPerDay: k.Budget.Rows, ReadsPerDay: k.Budget.Reads,
		Secrets:        []sealedSecret{{ID: newSecretID(), Plain: k.Secrets[0].Secret.Reveal()}},
		WebhookSecrets: []sealedSecret{{ID: newSecretID(), Plain: k.WebhookSecrets[0].Secret.Reveal()}},
		Scopes:         make([]string, len(k.Scopes)),
	}
	r.note(by, ActionCreated, "", s.now())
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

// Rotate gives a key a new secret and returns it; any older one than that in use ends now. ErrDisabled,
// ErrChanged, ErrRotated, jobs.ErrNotFound.
func (s *Store) Rotate(ctx context.Context, id string, rotation Rotation, by By) (Secret, error) {
	if rotation.Overlap < 0 || rotation.Overlap > MaxOverlap {
		return Secret{}, fmt.Errorf("rotate key: an overlap of %s is not within 0 and %s", rotation.Overlap, MaxOverlap)
	}
	secret, action := RandomSecret(rotation.Purpose), ActionRotated
	if rotation.Purpose == ForCallbacks {
		action = ActionWebhookRotated
	}
	err := s.change(ctx, id, action, by, func(r *record) (string, error) {
		if State(r.State) == Disabled {
			return "", ErrDisabled
		}
		if rotation.Seen != nil && !last(r.Audit, action).Equal(last(rotation.Seen, action)) {
			return "", ErrRotated
		}
		list := &r.Secrets
		if rotation.Purpose == ForCallbacks {
			list = &r.WebhookSecrets
		}
		*list = replaced(*list, secret, s.now(), rotation.Overlap)
		return "", nil
	})
	if err != nil {
		return Secret{}, fmt.Errorf("rotate key: %w", err)
	}
	return secret, nil
}

// replaced is a list of secrets with a new one in front, behind it the one that was in use, which ends after
// overlap if not before.
func replaced(old []sealedSecret, secret Secret, now time.Time, overlap time.Duration) []sealedSecret {
	list := []sealedSecret{{ID: newSecretID(), Plain: secret.Reveal()}}
	if overlap > 0 && len(old) > 0 {
		last := old[0]
		if until := now.Add(overlap); last.ExpiresAt.IsZero() || until.Before(last.ExpiresAt) {
			last.ExpiresAt = until
		}
		list = append(list, last)
	}
	return list
}

// change updates a record by fn, which may say in words what it has changed, and notes who did what, in one
// transaction. Where there is a keyset, the secrets are sealed. ErrChanged.
func (s *Store) change(ctx context.Context, id string, action Action, by By, fn func(*record) (string, error)) error {
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
		if err := r.check(id); err != nil {
			return err
		}
		if err := by.Of(r.Audit); err != nil {
			return err
		}
		r.list()
		if err := r.adopt(id, s.sealer); err != nil {
			return err
		}
		detail, err := fn(&r)
		if err != nil {
			return err
		}
		r.note(by, action, detail, s.now())
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

// SetState disables a key or makes it active again. Other processes notice at once where they watch the key,
// else within the cache's TTL. ErrChanged, jobs.ErrNotFound.
func (s *Store) SetState(ctx context.Context, id string, state State, by By) error {
	action := ActionRevoked
	switch state {
	case Disabled:
	case Active:
		action = ActionEnabled
	default:
		return fmt.Errorf("set state of key to %q: %w", state, jobs.ErrInvalid)
	}
	if err := s.change(ctx, id, action, by, func(r *record) (string, error) { r.State = string(state); return "", nil }); err != nil {
		return fmt.Errorf("set state of key: %w", err)
	}
	return nil
}

// BudgetChange is what a key's budget becomes: nil is as it was, 0 without limit.
type BudgetChange struct {
	Rows, Reads *int64
	// Seen, if not nil, is the budget on which the caller decided: none that is another is changed.
	Seen *jobs.Budget
}

// Of is what a budget becomes by the change. ErrBudgetChanged; not where it is that already, as after an
// answer that was lost.
func (c BudgetChange) Of(has jobs.Budget) (jobs.Budget, error) {
	to := has
	if c.Rows != nil {
		to.Rows = *c.Rows
	}
	if c.Reads != nil {
		to.Reads = *c.Reads
	}
	if c.Seen != nil && *c.Seen != has && to != has {
		return has, ErrBudgetChanged
	}
	return to, nil
}

// SetBudget changes what the exports of a key may come to in a day, and gives that. What the key has spent of
// the day stays spent. Other processes notice as they do a change of its state. ErrDisabled,
// ErrBudgetChanged, jobs.ErrNotFound.
func (s *Store) SetBudget(ctx context.Context, id string, to BudgetChange, by By) (jobs.Budget, error) {
	var budget jobs.Budget
	err := s.change(ctx, id, ActionBudget, by, func(r *record) (string, error) {
		if State(r.State) == Disabled {
			return "", ErrDisabled
		}
		var err error
		if budget, err = to.Of(jobs.Budget{Rows: r.RowsPerDay, Reads: r.ReadsPerDay}); err != nil {
			return "", err
		}
		var changed []string
		for _, f := range []struct {
			name string
			to   int64
			has  *int64
		}{{"rowsPerDay", budget.Rows, &r.RowsPerDay}, {"readsPerDay", budget.Reads, &r.ReadsPerDay}} {
			if f.to != *f.has {
				changed = append(changed, fmt.Sprintf("%s %s, was %s", f.name, limitText(f.to), limitText(*f.has)))
				*f.has = f.to
			}
		}
		return strings.Join(changed, "; "), nil
	})
	if err != nil {
		return jobs.Budget{}, fmt.Errorf("set budget of key: %w", err)
	}
	return budget, nil
}

func limitText(n int64) string {
	if n == 0 {
		return "without limit"
	}
	return strconv.FormatInt(n, 10)
}

// withSandbox are the ids that the keys of an org are of.
func withSandbox(orgID string) []string { return []string{orgID, jobs.SandboxOf(orgID)} }

// List returns the keys of an org and of its sandbox by id, of all orgs if it is empty. Of records that make
// no sense it says that they are Damaged; those that another keyset sealed are left out.
func (s *Store) List(ctx context.Context, orgID string) ([]*Key, error) {
	q := s.client.Collection(Collection).Query
	if orgID != "" {
		q = q.Where("orgId", "in", withSandbox(orgID))
	}
	it := q.Limit(maxListed).Documents(ctx) // one in memory at a time: a record may have a megabyte
	defer it.Stop()
	var keys []*Key
	for {
		doc, err := it.Next()
		if err == iterator.Done {
			return keys, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list keys: %w", classify(err))
		}
		if k, err := s.shown(doc); err == nil {
			keys = append(keys, k)
		}
	}
}

func (s *Store) doc(id string) *firestore.DocumentRef { return s.client.Collection(Collection).Doc(id) }

// RandomSecret is the one way to make secrets: with x-date and x-signature at hand, one that a person made up
// could be guessed offline.
func RandomSecret(purpose Purpose) Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather
	if purpose == ForCallbacks {
		return NewSecret("whsec_" + base64.StdEncoding.EncodeToString(b[:]))
	}
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
