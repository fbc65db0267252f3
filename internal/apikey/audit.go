package apikey

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"

	"exportd/jobs"
)

// By says who changes a key, why, and on what they have decided.
type By struct {
	Actor, Reason string
	// Seen, if not nil, is the time of the last line of the key's history that they have seen, zero for none:
	// a key that somebody has changed since is not changed.
	Seen *time.Time
}

// Of is ErrChanged where a key with this history is not the one that they have seen.
func (b By) Of(history []AuditEntry) error {
	var last time.Time
	if n := len(history); n > 0 {
		last = history[n-1].At
	}
	if b.Seen != nil && !b.Seen.Equal(last) {
		return ErrChanged
	}
	return nil
}

// Action is what was done to a key.
type Action string

// What is noted in a key's record.
const (
	ActionCreated        Action = "created"
	ActionRotated        Action = "rotated"
	ActionWebhookRotated Action = "webhook_rotated"
	ActionRevoked        Action = "revoked"
	ActionEnabled        Action = "enabled"
	ActionBudget         Action = "budget_changed"
)

// AuditEntry is a line of a key's history. It holds nothing secret.
type AuditEntry struct {
	At     time.Time `firestore:"at"`
	Action Action    `firestore:"action"`
	Actor  string    `firestore:"actor"`
	Reason string    `firestore:"reason"`
	// Detail is what was changed, where the action does not say it. It is lost where a build that does not
	// know it changes the key.
	Detail string `firestore:"detail,omitempty"`
}

// maxAudit bounds the history in a record: a year of weekly rotations, and with the longest reasons a tenth
// of what a document may hold.
const maxAudit = 50

// note adds a line to the history; the first one, of who made the key, is never dropped.
func (r *record) note(by By, action Action, detail string, now time.Time) {
	r.Audit = append(r.Audit, AuditEntry{At: now, Action: action, Actor: by.Actor, Reason: by.Reason, Detail: detail})
	if n := len(r.Audit) - maxAudit; n > 0 {
		r.Audit = append(r.Audit[:1:1], r.Audit[1+n:]...)
	}
}

// Get returns a key of an org and its history, oldest first; of any org if orgID is empty. jobs.ErrNotFound
// if there is none. Another org's record is not read: neither time nor an error of a damaged one tells that
// it is there.
func (s *Store) Get(ctx context.Context, orgID, id string) (*Key, []AuditEntry, error) {
	if !ValidID(id) {
		return nil, nil, fmt.Errorf("get key: %w", jobs.ErrNotFound)
	}
	doc, err := s.record(ctx, orgID, id)
	if err != nil {
		return nil, nil, fmt.Errorf("get key: %w", classify(err))
	}
	k, err := s.shown(doc)
	if err != nil || k.State == Damaged {
		return k, nil, err
	}
	var r struct {
		Audit []AuditEntry `firestore:"audit"`
	}
	if err := doc.DataTo(&r); err != nil {
		return nil, nil, fmt.Errorf("key %s has a field of a wrong type: %w", id, jobs.ErrInvalid)
	}
	return k, r.Audit, nil
}

// record reads the record of a key of an org, or of any.
func (s *Store) record(ctx context.Context, orgID, id string) (*firestore.DocumentSnapshot, error) {
	if orgID == "" {
		return s.doc(id).Get(ctx)
	}
	it := s.client.Collection(Collection).Where("orgId", "in", withSandbox(orgID)).Where(firestore.DocumentID, "==", s.doc(id)).Limit(1).Documents(ctx)
	defer it.Stop()
	doc, err := it.Next()
	if err == iterator.Done {
		return nil, jobs.ErrNotFound
	}
	return doc, err
}
