package jobstore

import (
	"context"
	"fmt"

	"cloud.google.com/go/firestore"

	"exportd/jobs"
)

// SetPaused stops or resumes a queue, and records that; workers see it within their polling interval.
func (s *Store) SetPaused(ctx context.Context, q jobs.Queue, paused bool, actor, reason string) error {
	return s.change(ctx, s.leases().Doc("queue-"+string(q)), func(l *lease) bool {
		l.Kind, l.Paused, l.Actor, l.Reason, l.At = "queue", paused, actor, reason, s.cfg.Now().UTC()
		return true
	}, jobs.AuditOfPause(s.cfg.Now(), q, paused, actor, reason))
}

// Paused gives the pause switches of all queues.
func (s *Store) Paused(ctx context.Context) (map[jobs.Queue]jobs.Pause, error) {
	docs, err := s.client.GetAll(ctx, s.pauses())
	if err != nil {
		return nil, fmt.Errorf("ask which queues are paused: %w", classify(err))
	}
	return s.readSwitches(docs).Paused, nil
}

// pauses lists the documents of the queues' pause switches.
func (s *Store) pauses() []*firestore.DocumentRef {
	refs := make([]*firestore.DocumentRef, len(jobs.Queues))
	for i, q := range jobs.Queues {
		refs[i] = s.leases().Doc("queue-" + string(q))
	}
	return refs
}
