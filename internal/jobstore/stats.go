package jobstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/jobs"
)

// Stats is the state of the whole system, counted from indexes.
type Stats struct {
	States     map[jobs.State]int64
	ErrorCodes map[jobs.Code]int64 // of failed jobs; codes that none has are left out
	// OldestQueuedAt is when the job that has waited longest was accepted; zero if none waits.
	OldestQueuedAt time.Time
	Workers        []string
	Paused         map[jobs.Queue]Pause
	DeadLetters    map[jobs.Queue]DeadLetters
	// Partitions are who does what is due, for all shards. One without an owner is looked after by
	// nobody, and should have been taken within half a minute.
	Partitions []Partition
}

// DeadLetters are the messages of a lane that no code could handle.
type DeadLetters struct {
	Count  int64
	Reason string // of the last
	At     time.Time
}

// Stats asks for the state of the system.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	out := Stats{States: map[jobs.State]int64{}, ErrorCodes: map[jobs.Code]int64{}, DeadLetters: map[jobs.Queue]DeadLetters{}}
	states := make([]int64, len(jobs.States))
	codes := make([]int64, len(jobs.Codes))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, st := range jobs.States {
		g.Go(func() (err error) {
			states[i], err = s.count(gctx, s.jobs().Where("state", "==", st))
			return err
		})
	}
	for i, code := range jobs.Codes {
		g.Go(func() (err error) {
			codes[i], err = s.count(gctx, s.jobs().Where("error.code", "==", code))
			return err
		})
	}
	g.Go(func() (err error) { out.Workers, err = s.Alive(gctx); return err })
	g.Go(func() (err error) { out.Paused, err = s.Paused(gctx); return err })
	g.Go(func() error {
		d, held, err := s.Partitions(gctx, MaxPartitions)
		if err == nil {
			out.Partitions = held[:d.Partitions]
		}
		return err
	})
	g.Go(func() error {
		docs, err := s.jobs().Where("state", "==", jobs.Queued).OrderBy("createdAt", firestore.Asc).Limit(1).Select("createdAt").Documents(gctx).GetAll()
		if err != nil || len(docs) == 0 {
			return classify(err)
		}
		at, _ := docs[0].DataAt("createdAt")
		out.OldestQueuedAt, _ = at.(time.Time)
		return nil
	})
	g.Go(func() error {
		docs, err := s.leases().Where("kind", "==", "dead").Limit(10).Documents(gctx).GetAll()
		if err != nil {
			return classify(err)
		}
		for _, doc := range docs {
			lane := jobs.Queue(strings.TrimPrefix(doc.Ref.ID, "dead-"))
			if l := s.readLease(doc); slices.Contains(jobs.Queues, lane) {
				out.DeadLetters[lane] = DeadLetters{l.Count, clip(l.Reason), l.At}
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return Stats{}, fmt.Errorf("count jobs: %w", err)
	}
	for i, st := range jobs.States {
		out.States[st] = states[i]
	}
	for i, code := range jobs.Codes {
		if codes[i] > 0 {
			out.ErrorCodes[code] = codes[i]
		}
	}
	return out, nil
}
