package inmemory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"exportd/jobs"
)

// JobKey is the Due.Key of a job.
func (s *Store) JobKey(id string) string { return "jobs/" + id }

// candidates lists the documents of a class that have a wakeAt in some shards.
func (s *Store) candidates(kind jobs.DueKind, shards []int) (out []jobs.Due) {
	add := func(shard int, at time.Time, key string, d jobs.Due) {
		if version, retired := s.retired[key]; retired && version == s.versions[key] {
			return
		}
		if !at.IsZero() && slices.Contains(shards, shard) {
			d.At, d.Key, d.Version = at, key, s.version(key)
			out = append(out, d)
		}
	}
	switch kind {
	case jobs.DueJobs, jobs.DueEnded:
		for id, j := range s.jobs {
			shard := j.Shard
			if kind == jobs.DueEnded {
				shard -= jobs.EndedShard(0)
			}
			add(shard, j.WakeAt, s.JobKey(id), jobs.Due{Message: jobs.Message{JobID: id}})
		}
	case jobs.DueParts:
		for jobID, parts := range s.parts {
			for id, p := range parts {
				add(p.Shard, p.WakeAt, partKey(jobID, id), jobs.Due{Message: jobs.Message{JobID: jobID, PlanEpoch: p.PlanEpoch, Part: p.Index}})
			}
		}
	case jobs.DueCallbacks:
		for id, cb := range s.callbacks {
			add(cb.Shard, cb.WakeAt, callbackKey(id), jobs.Due{Message: jobs.Message{JobID: cb.JobID, CallbackID: id}})
		}
	case jobs.DuePlaces:
		for doc, p := range s.places {
			add(p.Shard, p.WakeAt, placeDocKey(doc), jobs.Due{Place: doc.PlaceKey})
		}
	}
	return out
}

// Due gives what is due of a class in some shards, longest due first.
func (s *Store) Due(_ context.Context, kind jobs.DueKind, shards []int, now time.Time, limit int, after *jobs.DueCursor) (jobs.DuePage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := func(a, b jobs.Due) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Key, b.Key)) }
	due := slices.DeleteFunc(s.candidates(kind, shards), func(d jobs.Due) bool {
		return d.At.After(now) || after != nil && order(d, jobs.Due{At: after.At, Key: after.Key}) <= 0
	})
	slices.SortFunc(due, order)
	if len(due) < limit {
		return jobs.DuePage{Docs: due}, nil
	}
	last := due[limit-1]
	return jobs.DuePage{Docs: due[:limit], Next: &jobs.DueCursor{At: last.At, Key: last.Key}}, nil
}

// Retire takes a document out of what is due, unless somebody has changed it meanwhile.
func (s *Store) Retire(_ context.Context, d jobs.Due) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.Key == "" || !s.version(d.Key).Equal(d.Version) {
		return nil
	}
	s.retired[d.Key] = s.versions[d.Key]
	return nil
}

// WakePlace does what is due for a place and gives the jobs to notify.
func (s *Store) WakePlace(_ context.Context, d jobs.Due) (notify []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.place(d.Place)
	doc := placeDoc{d.Place, p.Slot()}
	if placeDocKey(doc) != d.Key {
		return nil, nil // of a turn that is over, which nobody is due to look at
	}
	j, held := s.jobs[p.JobID]
	waiting := len(s.of(d.Place.OrgID, jobs.Queued)) > 0
	if p.Wake(s.now(), s.cfg.Policy, held && j.State == jobs.Running && j.Place == p.Number, waiting) {
		notify = s.next(d.Place.OrgID)
	}
	s.places[doc] = *p
	s.wrote(d.Key)
	return notify, nil
}

// Suspects names what nobody would look at for longer than a transition lets it sleep, all of a stretch at
// once.
func (s *Store) Suspects(_ context.Context, a jobs.Audit, _ string) (found []jobs.Message, batches []string, next string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	switch a {
	case jobs.AuditRunning, jobs.AuditQueued, jobs.AuditJobs:
		want := map[jobs.Audit]jobs.State{jobs.AuditRunning: jobs.Running, jobs.AuditQueued: jobs.Queued}[a]
		for _, j := range s.sorted(func(j *jobs.Job) bool { return want == "" || j.State == want }) {
			if jobs.NewTx(s.cfg.Policy, now, "", &j, nil).Overdue() {
				found = append(found, jobs.Message{JobID: j.ID})
			}
		}
	case jobs.AuditPending, jobs.AuditCallbacks:
		for _, cb := range s.deliveries() {
			if (&jobs.CallbackTx{Policy: s.cfg.Policy, Now: now, Callback: &cb}).Overdue() {
				found = append(found, jobs.Message{JobID: cb.JobID, CallbackID: cb.ID})
			}
		}
	case jobs.AuditBatches:
		for id, b := range s.batches {
			if b.FinishedAt.IsZero() && b.PausedAt.IsZero() && (b.WakeAt.IsZero() || b.WakeAt.After(now.Add(time.Hour))) {
				batches = append(batches, id)
			}
		}
	}
	return found, batches, "", nil
}

// Purge deletes the records of those of some jobs that are due for it. What hangs on them lapses, and goes
// with them here, as nothing else would delete it; a timeline and deliveries stay until then.
func (s *Store) Purge(_ context.Context, of []*jobs.Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range of {
		job, ok := s.jobs[j.ID]
		if !ok {
			continue
		}
		duty, err := jobs.NewTx(s.cfg.Policy, s.now(), "", &job, nil).Wake()
		if err != nil || duty != jobs.Purge {
			continue // somebody has run it again
		}
		delete(s.jobs, j.ID)
		s.wrote(s.JobKey(j.ID))
		delete(s.versions, s.JobKey(j.ID))
	}
	s.deleteLapsed()
	return nil
}

// deleteLapsed is what the database does by itself.
func (s *Store) deleteLapsed() {
	for id, parts := range s.parts {
		maps.DeleteFunc(parts, func(_ string, p jobs.Part) bool { return s.lapsed(p.LapsesAt) })
		if len(parts) == 0 {
			delete(s.parts, id)
		}
	}
	maps.DeleteFunc(s.callbacks, func(_ string, cb jobs.Callback) bool { return s.lapsed(cb.LapsesAt) })
	for id, events := range s.events {
		if s.events[id] = slices.DeleteFunc(events, func(e jobs.Event) bool { return s.lapsed(e.LapsesAt) }); len(s.events[id]) == 0 {
			delete(s.events, id)
		}
	}
}

// PurgePointers deletes idempotency keys, and what is remembered of receivers, whose life is over.
func (s *Store) PurgePointers(_ context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.pointers, func(_ string, p pointer) bool { return !p.expiresAt.After(now) })
	maps.DeleteFunc(s.receivers, func(_ receiverKey, r jobs.Receiver) bool { return r.Expired(now) })
	return nil
}

// Partitions gives the division and who holds its first n partitions.
func (s *Store) Partitions(_ context.Context, n int) (jobs.Division, []jobs.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]jobs.Partition, min(n, jobs.MaxPartitions))
	for i := range out {
		out[i].Index = i
		if p, ok := s.partitions[i]; ok && jobs.Held(p.Until, s.now(), jobs.RoleTTL, s.cfg.Policy.Skew) {
			out[i] = p
		}
	}
	return s.division, out, nil
}

// HoldPartition takes or renews a partition.
func (s *Store) HoldPartition(_ context.Context, index int, owner string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.partitions[index]; ok && p.Owner != owner && jobs.Held(p.Until, s.now(), jobs.RoleTTL, s.cfg.Policy.Skew) {
		return false, nil
	}
	s.partitions[index] = jobs.Partition{Index: index, Owner: owner, Until: s.now().Add(jobs.RoleTTL)}
	return true, nil
}

// LeavePartition gives a partition up, and tells the others.
func (s *Store) LeavePartition(ctx context.Context, index int, owner string) error {
	s.mu.Lock()
	if s.partitions[index].Owner == owner {
		delete(s.partitions, index)
	}
	s.mu.Unlock()
	return s.Divide(ctx, func(*jobs.Division) {})
}

const switches = "switches"

// Divide changes the division; whoever watches the switches is told.
func (s *Store) Divide(_ context.Context, fn func(*jobs.Division)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(&s.division)
	s.division.ChangedAt = s.now()
	s.wrote(switches)
	return nil
}

// SetPaused stops or resumes a queue.
func (s *Store) SetPaused(_ context.Context, q jobs.Queue, paused bool, actor, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused[q] = jobs.Pause{Paused: paused, Actor: actor, Reason: reason, At: s.now()}
	s.record(jobs.AuditOfPause(s.now(), q, paused, actor, reason))
	s.wrote(switches)
	return nil
}

// Switches are what workers are told of at once.
func (s *Store) Switches(context.Context) (jobs.Switches, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return jobs.Switches{Paused: maps.Clone(s.paused), Division: s.division}, nil
}

// WatchSwitches calls fn with the switches as they are and again after each change.
func (s *Store) WatchSwitches(ctx context.Context, fn func(jobs.Switches)) error {
	for seen := int64(-1); ; {
		s.mu.Lock()
		changed, version := s.changed, s.versions[switches]
		now := jobs.Switches{Paused: maps.Clone(s.paused), Division: s.division}
		s.mu.Unlock()
		if version != seen {
			seen = version
			fn(now)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// presence is a worker's sign of life.
type presence struct {
	jobs.Worker
	until time.Time
}

// Alive lists the workers that showed life in time.
func (s *Store) Alive(context.Context) (out []jobs.Worker, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.alive {
		if s.now().Before(p.until) {
			out = append(out, p.Worker)
		}
	}
	slices.SortFunc(out, func(a, b jobs.Worker) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// ShowAlive notes that a worker lives.
func (s *Store) ShowAlive(_ context.Context, w jobs.Worker, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive[w.ID] = presence{w, s.now().Add(ttl)}
	return nil
}

// ShowGone takes a worker's sign of life away.
func (s *Store) ShowGone(_ context.Context, worker string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.alive, worker)
	return nil
}

// NoteDead counts a message that no code could handle.
func (s *Store) NoteDead(_ context.Context, queue jobs.Queue, reason string) error {
	if !slices.Contains(jobs.Queues, queue) {
		return fmt.Errorf("lane %s: %w", queue, jobs.ErrNotFound)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead[queue] = jobs.DeadLetters{Count: s.dead[queue].Count + 1, Reason: reason, At: s.now()}
	return nil
}
