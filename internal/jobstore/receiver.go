package jobstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// remembered reads a document; one that is damaged or has expired starts over. What is sent to a receiver
// that was suspended fails again and suspends it again.
func (s *Store) remembered(doc *firestore.DocumentSnapshot) jobs.Receiver {
	if !doc.Exists() {
		return jobs.Receiver{}
	}
	var r jobs.Receiver
	why := salvage(doc, &r)
	if why == "" {
		why = r.Check(s.cfg.Now())
	}
	if why == "" && receiverID(r.OrgID, r.Address) != doc.Ref.ID {
		why = "orgId and address are not those of its id"
	}
	if why != "" {
		s.damaged(telemetry.ReceiverDocument, doc, why)
		return jobs.Receiver{}
	}
	if r.Expired(s.cfg.Now()) {
		return jobs.Receiver{}
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

// Receivers gives what is remembered of an org's addresses, in their order; the zero value stands for one of
// which nothing is.
func (s *Store) Receivers(ctx context.Context, orgID string, addresses ...string) ([]jobs.Receiver, error) {
	refs := make([]*firestore.DocumentRef, len(addresses))
	for i, a := range addresses {
		refs[i] = s.receiver(orgID, a)
	}
	docs, err := s.client.GetAll(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("get callback receivers: %w", classify(err))
	}
	out := make([]jobs.Receiver, len(docs))
	for i, doc := range docs {
		out[i] = s.remembered(doc)
	}
	return out, nil
}

// ChangeReceiver applies fn to what is remembered of an address, by compare-and-set; fn may run more than
// once. A receiver without failures is forgotten.
func (s *Store) ChangeReceiver(ctx context.Context, orgID, address, origin string, fn func(r *jobs.Receiver)) error {
	ref := s.receiver(orgID, address)
	return retry(ctx, func() error {
		docs, err := s.client.GetAll(ctx, []*firestore.DocumentRef{ref})
		if err != nil {
			return fmt.Errorf("get callback receiver: %w", classify(err))
		}
		doc := docs[0]
		r := s.remembered(doc)
		fn(&r)
		r.OrgID, r.Address, r.Origin, r.Rev, r.ExpiresAt = orgID, address, origin, jobs.NewToken(), r.Expiry()
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
func (s *Store) SuspendedReceivers(ctx context.Context) ([]jobs.Receiver, error) {
	var out []jobs.Receiver
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

// UnsuspendReceiver is the way back from a suspension: whatever is remembered of the origin and of URLs below
// it is forgotten, and the deliveries that ended because of it begin their schedule again. It says how many;
// they are notified by the rescuer. Called again, it goes on with what is left. It is recorded before
// anything is done, and how many when all is.
func (s *Store) UnsuspendReceiver(ctx context.Context, orgID, origin, actor, reason string) (resumed int, err error) {
	entry := jobs.AuditOfReceiver(s.cfg.Now(), orgID, origin, actor, reason)
	if err := s.Record(ctx, entry); err != nil {
		return 0, err
	}
	resumed, err = s.resume(ctx, orgID, origin, actor, reason)
	if err != nil {
		return resumed, err
	}
	return resumed, s.Recorded(ctx, entry.ID, int64(resumed))
}

func (s *Store) resume(ctx context.Context, orgID, origin, actor, reason string) (resumed int, err error) {
	known := s.receivers().Where("orgId", "==", orgID).Where("origin", "==", origin)
	if err := s.deleteAll(ctx, known); err != nil {
		return 0, fmt.Errorf("forget failures of a receiver: %w", err)
	}
	var token string
	for {
		page, next, err := s.ListCallbacks(ctx, jobs.CallbackList{OrgID: orgID, Origin: origin, State: jobs.CallbackSuspended, PageToken: token})
		if err != nil {
			return resumed, err
		}
		for _, cb := range page {
			_, err := s.UpdateCallback(ctx, cb.ID, actor, func(tx *jobs.CallbackTx) error { return tx.Unsuspend(reason) })
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
