package jobstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
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

// maxWhy is more than any reason that is written has.
const maxWhy = 200

// check says what is wrong with a document, "" if nothing is.
func (r *Receiver) check(id string, now time.Time) string {
	c := jobs.NewChecks(now)
	c.That(jobs.ValidOrg(r.OrgID), "orgId is none")
	c.That(receiverID(r.OrgID, r.Address) == id, "orgId and address are not those of its id")
	c.That(r.Address != "" && r.Origin == jobs.OriginOf(r.Address), "origin is not that of the address")
	c.That(r.Exhausted >= 0 && r.Exhausted <= 1_000_000, "exhausted is none")
	c.That(!r.FailingSince.IsZero() || r.Suspended, "it neither fails nor is suspended")
	c.Happened("failingSince", r.FailingSince)
	c.Happened("lastFailure", r.LastFailure)
	c.Happened("suspendedAt", r.SuspendedAt)
	c.That(r.Suspended == !r.SuspendedAt.IsZero(), "suspended and suspendedAt contradict each other")
	c.That(len(r.Why) <= maxWhy, "why is too long")
	c.Text("rev", r.Rev)
	// No ExpiresAt is of an earlier version; the lives may have been others in it.
	c.That(r.ExpiresAt.IsZero() || r.ExpiresAt.Sub(now) <= 2*suspendedLife, "expiresAt is further off than any life")
	return c.What()
}

// remembered reads a document; one that is damaged or has expired starts over. What is sent to a
// receiver that was suspended fails again and suspends it again.
func (s *Store) remembered(doc *firestore.DocumentSnapshot) Receiver {
	if !doc.Exists() {
		return Receiver{}
	}
	var r Receiver
	why := salvage(doc, &r)
	if why == "" {
		why = r.check(doc.Ref.ID, s.cfg.Now())
	}
	if why != "" {
		s.damaged(telemetry.ReceiverDocument, doc, why)
		return Receiver{}
	}
	if r.expired(s.cfg.Now()) {
		return Receiver{}
	}
	return r
}

func (s *Store) receivers() *firestore.CollectionRef {
	return s.client.Collection("ExportCallbackReceivers")
}

func (s *Store) receiver(orgID, address string) *firestore.DocumentRef {
	return s.receivers().Doc(receiverID(orgID, address))
}

func receiverID(orgID, address string) string {
	sum := sha256.Sum256([]byte(orgID + "\x00" + address))
	return hex.EncodeToString(sum[:])
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
		return s.commit(ctx, batch, s.hasRev(ref, r.Rev))
	})
}

// SuspendedReceivers lists the addresses to which nothing is sent at present, at most 1,000.
func (s *Store) SuspendedReceivers(ctx context.Context) ([]Receiver, error) {
	var out []Receiver
	err := each(ctx, s.receivers().Where("suspended", "==", true).Limit(1000), func(doc *firestore.DocumentSnapshot) error {
		if r := s.remembered(doc); r.Suspended {
			out = append(out, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list suspended receivers: %w", err)
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
			case errors.Is(err, jobs.ErrInvalid), errors.Is(err, jobs.ErrUnknownSchema): // the rescuer's, or another version's
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
