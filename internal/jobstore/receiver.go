package jobstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// What is remembered of an address that nobody calls any more ends at some time: callers choose
// addresses, and a new one for each request would fill the collection for good.
const (
	// receiverLife after the last failure is ten times as long as a callback is tried, and six
	// times the failures that suspend: whoever fails that seldom begins anew.
	receiverLife = 30 * 24 * time.Hour
	// suspendedLife after the last failure, a suspension is over. If the address still fails, it
	// is suspended again: a URL that answers 410 at the first try.
	suspendedLife = 180 * 24 * time.Hour
)

// Receiver is what is remembered of a destination of callbacks that fails. There is no
// document for one that works, so there are few.
type Receiver struct {
	OrgID string `firestore:"orgId"`
	// Address is an origin (scheme, host and port), or a whole URL that answered 410. A
	// URL's query may hold a token: not for logs.
	Address string `firestore:"address"`
	// Origin is that of Address.
	Origin string `firestore:"origin"`

	Exhausted    int       `firestore:"exhausted"`    // deliveries given up in a row
	FailingSince time.Time `firestore:"failingSince"` // first failure since the last success
	LastFailure  time.Time `firestore:"lastFailure"`

	Suspended   bool      `firestore:"suspended"`
	SuspendedAt time.Time `firestore:"suspendedAt,omitempty"`
	Why         string    `firestore:"why,omitempty"`
	// ExpiresAt is for Firestore's TTL policy, and for PurgePointers where there is none. Either
	// may be late by days: one that has expired is read as nothing.
	ExpiresAt time.Time `firestore:"expiresAt"`
	Rev       string    `firestore:"rev"`
}

// expired is false for documents of an earlier version, which have no ExpiresAt: their next
// failure gives them one.
func (r *Receiver) expired(now time.Time) bool {
	return !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt)
}

func (r *Receiver) expiry() time.Time {
	if r.Suspended {
		return r.LastFailure.Add(suspendedLife)
	}
	return r.LastFailure.Add(receiverLife)
}

// remembered reads a document; one that is damaged or has expired starts over.
func (s *Store) remembered(doc *firestore.DocumentSnapshot) Receiver {
	var r Receiver
	if !doc.Exists() || decode(doc, &r) != nil || r.expired(s.cfg.Now()) {
		return Receiver{}
	}
	return r
}

func (s *Store) receivers() *firestore.CollectionRef {
	return s.client.Collection("ExportCallbackReceivers")
}

func (s *Store) receiver(orgID, address string) *firestore.DocumentRef {
	sum := sha256.Sum256([]byte(orgID + "\x00" + address))
	return s.receivers().Doc(hex.EncodeToString(sum[:]))
}

// Receivers gives what is remembered of an org's addresses, in their order; the zero
// value stands for one of which nothing is.
func (s *Store) Receivers(ctx context.Context, orgID string, addresses ...string) ([]Receiver, error) {
	refs := make([]*firestore.DocumentRef, len(addresses))
	for i, a := range addresses {
		refs[i] = s.receiver(orgID, a)
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("get callback receivers: %w", classify(err))
	}
	out := make([]Receiver, len(docs))
	for i, doc := range docs {
		out[i] = s.remembered(doc)
	}
	return out, nil
}

// ChangeReceiver applies fn to what is remembered of an address, by compare-and-set; fn
// may run more than once. A receiver without failures is forgotten.
func (s *Store) ChangeReceiver(ctx context.Context, orgID, address, origin string, fn func(r *Receiver)) error {
	ref := s.receiver(orgID, address)
	return retry(ctx, func() error {
		docs, err := s.client.GetAll(ctx, []*firestore.DocumentRef{ref})
		if err != nil {
			return fmt.Errorf("get callback receiver: %w", classify(err))
		}
		doc := docs[0]
		r := s.remembered(doc)
		fn(&r)
		r.OrgID, r.Address, r.Origin, r.Rev, r.ExpiresAt = orgID, address, origin, jobs.NewToken(), r.expiry()
		batch := s.newWrites()
		switch gone := r.FailingSince.IsZero() && !r.Suspended; {
		case gone && !doc.Exists():
			return nil
		case gone:
			batch.Delete(ref, firestore.LastUpdateTime(doc.UpdateTime))
		case doc.Exists():
			batch.Update(ref, fields(&r), firestore.LastUpdateTime(doc.UpdateTime))
		default:
			batch.Create(ref, r)
		}
		return commit(ctx, batch, s.carries(ref, r.Rev))
	})
}

// SuspendedReceivers lists the addresses to which nothing is sent at present, at most 1,000.
func (s *Store) SuspendedReceivers(ctx context.Context) ([]Receiver, error) {
	docs, err := s.receivers().Where("suspended", "==", true).Limit(1000).Documents(ctx).GetAll()
	if err != nil {
		return nil, fmt.Errorf("list suspended receivers: %w", classify(err))
	}
	out := make([]Receiver, 0, len(docs))
	for _, doc := range docs {
		if r := s.remembered(doc); r.Suspended {
			out = append(out, r)
		}
	}
	return out, nil
}

// ResumeReceiver is the way back from a suspension: whatever is remembered of the origin
// and of URLs below it is forgotten, and the deliveries that ended because of it begin
// their schedule again. It says how many; they are rung by the rescuer. Called again, it goes
// on with what is left.
func (s *Store) ResumeReceiver(ctx context.Context, orgID, origin, actor, reason string) (resumed int, err error) {
	known := s.receivers().Where("orgId", "==", orgID).Where("origin", "==", origin)
	if err := s.deleteAll(ctx, known); err != nil {
		return 0, fmt.Errorf("forget failures of a receiver: %w", err)
	}
	var token string
	for {
		page, next, err := s.ListCallbacks(ctx, CallbackList{OrgID: orgID, Origin: origin, State: jobs.CallbackSuspended, PageToken: token})
		if err != nil {
			return resumed, err
		}
		for _, cb := range page {
			_, err := s.UpdateCallback(ctx, cb.ID, actor, func(tx *jobs.CallbackTx) error { return tx.Resume(reason) })
			switch {
			case err == nil:
				resumed++
			case !errors.Is(err, jobs.ErrTransition) && !errors.Is(err, jobs.ErrNotFound):
				return resumed, err
			}
		}
		if next == "" {
			return resumed, nil
		}
		token = next
	}
}
