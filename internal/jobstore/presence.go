package jobstore

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// ShowAlive notes that a worker lives, for the operators' count, and what it does at a time, for quotes.
func (s *Store) ShowAlive(ctx context.Context, w jobs.Worker, ttl time.Duration) error {
	_, err := s.leases().Doc("worker-"+w.ID).Set(ctx, lease{
		Kind: "worker", Owner: w.ID, Until: s.cfg.Now().UTC().Add(ttl), JobSlots: w.Slots.Jobs, PartSlots: w.Slots.Parts,
	})
	return classify(err)
}

// ShowGone takes a worker's sign of life away.
func (s *Store) ShowGone(ctx context.Context, worker string) error {
	_, err := s.leases().Doc("worker-" + worker).Delete(ctx)
	return classify(err)
}

// Alive lists the workers that showed life in time, and removes those long gone.
func (s *Store) Alive(ctx context.Context) ([]jobs.Worker, error) {
	var alive []jobs.Worker
	err := each(ctx, s.leases().Where("kind", "==", "worker").Limit(1000), func(doc *firestore.DocumentSnapshot) error {
		l := s.readLease(doc)
		switch age := s.cfg.Now().Sub(l.Until); {
		case age < -maxLease, age > time.Hour: // nobody's sign of life
			_, err := doc.Ref.Delete(ctx)
			return classify(err)
		case age < 0 && l.Owner != "":
			alive = append(alive, jobs.Worker{ID: l.Owner, Slots: jobs.Slots{Jobs: l.JobSlots, Parts: l.PartSlots}})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask for live workers: %w", err)
	}
	return alive, nil
}
