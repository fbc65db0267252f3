package jobstore

import (
	"context"
	"fmt"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// sentAgain are the callbacks that a batch has sent again.
func (s *Store) sentAgain(b *jobs.Batch) firestore.Query {
	return s.callbacks().Where("batchId", "==", b.ID)
}

// givenUp are the states of those that are undelivered for good.
var givenUp = []jobs.CallbackState{jobs.CallbackExhausted, jobs.CallbackBlocked, jobs.CallbackGone, jobs.CallbackSuspended}

// callbackOutcome is BatchOutcome of callbacks: two counts and two reads.
func (s *Store) callbackOutcome(ctx context.Context, b *jobs.Batch) (o jobs.BatchOutcome, err error) {
	of := s.sentAgain(b)
	pending := of.Where("state", "==", jobs.CallbackPending)
	if o.Rerun, err = s.count(ctx, of); err == nil {
		o.Live, err = s.count(ctx, pending)
	}
	if err != nil {
		return o, fmt.Errorf("count callbacks of batch %s: %w", b.ID, err)
	}
	// Of those that are pending, the first attempt has ended where it is not asked for any more and has spent
	// a place of the schedule. In a fleet of two builds another may be under way: so each is looked at.
	failed := pending.Where("forced", "==", false).Where("schedule", ">=", 1).OrderBy("schedule", firestore.Desc)
	for _, q := range []firestore.Query{failed.Limit(failedShown), of.Where("state", "in", givenUp).Limit(1)} {
		err = each(ctx, q, func(doc *firestore.DocumentSnapshot) error {
			if cb := s.shownCallback(doc); o.Again == "" && cb.FailedAgain() {
				o.Again = cb.Failing()
			}
			return nil
		})
		if err != nil {
			return o, fmt.Errorf("list failed callbacks of batch %s: %w", b.ID, err)
		}
	}
	return o, nil
}

// failedShown is how many of those that may have failed are looked at: as many as a canary's first two stages
// have.
const failedShown = 11

// BatchCallbacks counts the callbacks that a batch has sent again by what they have come to.
func (s *Store) BatchCallbacks(ctx context.Context, b *jobs.Batch) (o jobs.CallbackOutcome, err error) {
	of := s.sentAgain(b)
	for _, q := range []struct {
		n      *int64
		states []jobs.CallbackState
	}{{&o.Delivered, []jobs.CallbackState{jobs.CallbackDelivered}}, {&o.UnderWay, []jobs.CallbackState{jobs.CallbackPending}}, {&o.GivenUp, givenUp}} {
		if *q.n, err = s.count(ctx, of.Where("state", "in", q.states)); err != nil {
			return o, fmt.Errorf("count callbacks of batch %s: %w", b.ID, err)
		}
	}
	return o, nil
}
