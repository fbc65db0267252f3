package jobstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/internal/panics"
	"exportd/jobs"
)

// Stats asks for the state of the system.
func (s *Store) Stats(ctx context.Context) (jobs.Stats, error) {
	out := jobs.Stats{States: map[jobs.State]int64{}, ErrorCodes: map[jobs.Code]int64{}, DeadLetters: map[jobs.Queue]jobs.DeadLetters{}}
	states := make([]int64, len(jobs.States))
	codes := make([]int64, len(jobs.Codes))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, st := range jobs.States {
		g.Go(panics.Task(func() (err error) {
			if q := s.jobs().Where("state", "==", st); st.Ended() {
				states[i], err = s.countEnded(gctx, string(st), q)
			} else {
				states[i], err = s.count(gctx, q)
			}
			return err
		}))
	}
	for i, code := range jobs.Codes {
		g.Go(panics.Task(func() (err error) {
			codes[i], err = s.countEnded(gctx, string(code), s.jobs().Where("error.code", "==", code))
			return err
		}))
	}
	g.Go(panics.Task(func() error {
		alive, err := s.Alive(gctx)
		out.Workers = jobs.WorkerIDs(alive)
		return err
	}))
	g.Go(panics.Task(func() (err error) { out.Paused, err = s.Paused(gctx); return err }))
	g.Go(panics.Task(func() error {
		d, held, err := s.Partitions(gctx, jobs.MaxPartitions)
		if err == nil {
			out.Partitions = held[:d.Partitions]
		}
		return err
	}))
	g.Go(panics.Task(func() (err error) {
		out.OldestQueuedAt, err = s.oldest(gctx, s.jobs().Where("state", "==", jobs.Queued))
		return err
	}))
	pending := s.callbacks().Where("state", "==", jobs.CallbackPending)
	g.Go(panics.Task(func() (err error) {
		out.PendingCallbacks, err = s.count(gctx, pending.OrderBy("createdAt", firestore.Asc))
		return err
	}))
	g.Go(panics.Task(func() (err error) { out.OldestPendingAt, err = s.oldest(gctx, pending); return err }))
	g.Go(panics.Task(func() error {
		docs, err := s.leases().Where("kind", "==", "dead").Limit(10).Documents(gctx).GetAll()
		if err != nil {
			return classify(err)
		}
		for _, doc := range docs {
			queue := jobs.Queue(strings.TrimPrefix(doc.Ref.ID, "dead-"))
			if l := s.readLease(doc); slices.Contains(jobs.Queues, queue) {
				out.DeadLetters[queue] = jobs.DeadLetters{Count: l.Count, Reason: clip(l.Reason), At: l.At}
			}
		}
		return nil
	}))
	if err := g.Wait(); err != nil {
		return jobs.Stats{}, fmt.Errorf("count jobs: %w", err)
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

const (
	// freshEnded is up to how many ended jobs are counted at each look: ten reads, as 1,000 index entries are
	// one. Of more, a count may be as old as endedAge for each read that it took, at most oldestEnded: it
	// costs at most 1,800 reads an hour of a process then, whoever looks how often. What has ended changes by
	// little beside them; what waits and runs is counted at each look.
	freshEnded  = 10_000
	endedAge    = 2 * time.Second
	oldestEnded = 10 * time.Minute
)

// endedCounts remembers counts of ended jobs, by state and by code.
type endedCounts struct {
	mu sync.Mutex
	of map[string]endedCount
}

type endedCount struct {
	n  int64
	at time.Time
}

// valid reports whether a count need not be made again.
func (c endedCount) valid(now time.Time) bool {
	age := now.Sub(c.at)
	return c.n > freshEnded && age >= 0 && age < min(oldestEnded, time.Duration(c.n/1000)*endedAge)
}

// countEnded counts ended jobs, or remembers how many there were.
func (s *Store) countEnded(ctx context.Context, name string, q firestore.Query) (int64, error) {
	now := s.cfg.Now()
	s.ended.mu.Lock()
	known := s.ended.of[name]
	s.ended.mu.Unlock()
	if known.valid(now) {
		return known.n, nil
	}
	n, err := s.count(ctx, q)
	if err != nil {
		return 0, err
	}
	s.ended.mu.Lock()
	defer s.ended.mu.Unlock()
	s.ended.of[name] = endedCount{n, now}
	return n, nil
}

// NoteDead counts a message that no code could handle, for the operators' statistics.
func (s *Store) NoteDead(ctx context.Context, queue jobs.Queue, reason string) error {
	return s.change(ctx, s.leases().Doc("dead-"+string(queue)), func(l *lease) bool {
		l.Kind, l.Count, l.Reason, l.At = "dead", l.Count+1, clip(reason), s.cfg.Now().UTC()
		return true
	})
}

// oldest is when the first of what a query gives was made, zero if it gives nothing.
func (s *Store) oldest(ctx context.Context, q firestore.Query) (time.Time, error) {
	docs, err := q.OrderBy("createdAt", firestore.Asc).Limit(1).Select("createdAt").Documents(ctx).GetAll()
	if err != nil || len(docs) == 0 {
		return time.Time{}, classify(err)
	}
	raw, _ := docs[0].DataAt("createdAt")
	at, _ := raw.(time.Time)
	return at, nil
}
