package jobstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// lease is a document of ExportLeases: who has a role until when, a worker's sign of life, or a queue's
// pause.
type lease struct {
	Owner string    `firestore:"owner"`
	Until time.Time `firestore:"until"`
	Rev   string    `firestore:"rev"`

	Kind   string    `firestore:"kind"` // "role", "worker" or "queue"
	Paused bool      `firestore:"paused"`
	Actor  string    `firestore:"actor,omitempty"`
	Reason string    `firestore:"reason,omitempty"`
	At     time.Time `firestore:"at,omitempty"`
	Count  int64     `firestore:"count,omitempty"`
	// Partitions is into how many the shards are divided.
	Partitions int `firestore:"partitions,omitempty"`
	// Reads is the latest version of documents that the owner of a role reads; 0 is 1. A build that knows no
	// versions takes a role and leaves the field as it was: it says something only where ReadsRev is Rev.
	Reads    int    `firestore:"reads,omitempty"`
	ReadsRev string `firestore:"readsRev,omitempty"`
	// JobSlots and PartSlots are those of a worker; 0 of a build that does not tell.
	JobSlots  int `firestore:"jobSlots,omitempty"`
	PartSlots int `firestore:"partSlots,omitempty"`
}

// readLease reads one; of what is damaged it gives what can be true: a pause stays one although nobody can
// read why, a role of nobody is free.
func (s *Store) readLease(doc *firestore.DocumentSnapshot) (l lease) {
	if !doc.Exists() {
		return l
	}
	why := salvage(doc, &l)
	if l.ReadsRev != l.Rev {
		l.Reads = 0
	}
	if why == "" {
		why = l.check(doc.Ref.ID, s.cfg.Now())
	}
	if why != "" {
		s.damaged(telemetry.LeaseDocument, doc, why)
		l.Actor, l.Reason = clip(l.Actor), clip(l.Reason)
		l.Count = min(max(l.Count, 0), maxLeaseCount/2)
		l.Partitions = min(max(l.Partitions, 0), jobs.MaxPartitions)
		if len(l.Owner) > maxNote {
			l.Owner = ""
		}
		l.Reads = max(l.Reads, 0)
		if !l.slotsCan() {
			l.JobSlots, l.PartSlots = 0, 0
		}
		if l.Until.Sub(s.cfg.Now()) > maxLease {
			l.Until = time.Time{}
		}
		at := jobs.NewChecks(s.cfg.Now())
		if at.Happened("at", l.At); at.What() != "" {
			l.At = time.Time{}
		}
	}
	return l
}

// earlier reports whether the owner of a role is of a build before the versions that this one reads.
func (l *lease) earlier() bool { return max(l.Reads, 1) < jobs.SchemaVersion }

// slotsCan reports whether a worker can have the slots.
func (l *lease) slotsCan() bool {
	return min(l.JobSlots, l.PartSlots) >= 0 && max(l.JobSlots, l.PartSlots) <= jobs.MaxSlots
}

// maxLeaseCount is more than there are workers, or dead letters that anybody would count.
const maxLeaseCount = 1 << 40

// check says what is wrong with a document, "" if nothing is.
func (l *lease) check(id string, now time.Time) string {
	c := jobs.NewChecks(now)
	kind, _, _ := strings.Cut(id, "-")
	if id == "rescuers" {
		kind = "signal"
	}
	c.That(l.Kind == kind, "kind is not that of its id")
	c.That(len(l.Owner) <= maxNote, "owner is too long")
	c.That(l.Until.IsZero() || l.Until.Sub(now) <= maxLease, "until is further off than any lease")
	c.Text("rev", l.Rev)
	c.That(len(l.Actor) <= maxNote && len(l.Reason) <= maxReason, "actor or reason is too long")
	c.Happened("at", l.At)
	c.That(l.Count >= 0 && l.Count <= maxLeaseCount, "count is none")
	c.That(l.Partitions >= 0 && l.Partitions <= jobs.MaxPartitions, "partitions is none")
	c.That(l.Reads >= 0, "reads is none")
	c.Text("readsRev", l.ReadsRev)
	c.That(l.slotsCan(), "slots are none")
	return c.What()
}

// maxReason is more than the API takes: 500 characters of four bytes each.
const maxReason = 2500

// maxLease is more than any lease of this collection, and than clocks may differ by.
const maxLease = 24 * time.Hour

// rightClock compares the clock with the time of a read that began at begun.
func (s *Store) rightClock(begun, read time.Time) error {
	drift, now := s.cfg.Drift, s.cfg.Now()
	if drift <= 0 || read.IsZero() || !read.Before(begun.Add(-drift)) && !read.After(now.Add(drift)) {
		return nil
	}
	return fmt.Errorf("%w: it says %s, Firestore %s", jobs.ErrClock, now.UTC().Format(time.RFC3339), read.UTC().Format(time.RFC3339))
}

// Acquire takes or renews a role (such as "rescuer") for owner until now+ttl. False when somebody else has
// it; ErrClock when the clock is wrong. A role is also taken from the process of an earlier build, which does
// not look after all that there is.
func (s *Store) Acquire(ctx context.Context, role, owner string, ttl time.Duration) (bool, error) {
	now := s.cfg.Now().UTC()
	ref := s.leases().Doc("role-" + role)
	held := false
	err := s.changeIf(ctx, ref, s.rightClock, func(l *lease) bool {
		held = l.Owner != "" && l.Owner != owner && jobs.Held(l.Until, now, ttl, s.cfg.Policy.Skew) && !l.earlier()
		l.Kind, l.Owner, l.Until, l.Reads = "role", owner, now.Add(ttl), jobs.SchemaVersion
		return !held
	})
	return err == nil && !held, err
}

// Release gives a role up, so that another takes it at once.
func (s *Store) Release(ctx context.Context, role, owner string) error {
	return s.change(ctx, s.leases().Doc("role-"+role), func(l *lease) bool {
		mine := l.Owner == owner
		l.Owner, l.Until = "", time.Time{}
		return mine
	})
}

// change applies fn to a lease document by compare-and-set; fn says whether to write.
func (s *Store) change(ctx context.Context, ref *firestore.DocumentRef, fn func(*lease) bool, entries ...*jobs.AuditEntry) error {
	return s.changeIf(ctx, ref, func(time.Time, time.Time) error { return nil }, fn, entries...)
}

// changeIf changes nothing if may, which is told when its read began and its time, gives an error. Entries
// are written down with it.
func (s *Store) changeIf(ctx context.Context, ref *firestore.DocumentRef, may func(begun, read time.Time) error, fn func(*lease) bool, entries ...*jobs.AuditEntry) error {
	return retry(ctx, func() error {
		begun := s.cfg.Now()
		doc, err := ref.Get(ctx)
		if err = classify(err); err != nil && !errors.Is(err, jobs.ErrNotFound) {
			return fmt.Errorf("get %s: %w", ref.ID, err)
		}
		if doc != nil {
			if err := may(begun, doc.ReadTime); err != nil {
				return err
			}
		}
		var l lease
		exists := doc != nil && doc.Exists()
		if exists {
			l = s.readLease(doc)
		}
		if !fn(&l) {
			return nil
		}
		l.Rev = jobs.NewToken()
		l.ReadsRev = ""
		if l.Reads > 0 {
			l.ReadsRev = l.Rev
		}
		batch := s.newWrites()
		if exists {
			batch.Update(ref, fields(l), firestore.LastUpdateTime(doc.UpdateTime))
		} else {
			batch.Create(ref, l)
		}
		s.addAudit(batch, entries...)
		return s.commit(ctx, batch, s.hasRev(ref, l.Rev))
	})
}
