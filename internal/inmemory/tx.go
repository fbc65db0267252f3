package inmemory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"exportd/jobs"
)

// Update runs transitions of a job.
func (s *Store) Update(ctx context.Context, id, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	return s.UpdatePart(ctx, id, "", actor, fn)
}

// UpdatePart runs transitions of a job and its parts. fn must not call the store.
func (s *Store) UpdatePart(ctx context.Context, id, _, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was, ok := s.jobs[id]
	if !ok {
		return nil, fmt.Errorf("get job %s: %w", id, jobs.ErrNotFound)
	}
	job := was
	tx := jobs.NewTx(s.cfg.Policy, s.now(), actor, &job, func(part string) (*jobs.Part, error) {
		p, ok := s.parts[id][part]
		if !ok || s.lapsed(p.LapsesAt) {
			return nil, jobs.ErrNotFound
		}
		return &p, nil
	})
	tx.Places = places{s, job.OrgID}
	if err := fn(tx); err != nil {
		return nil, err
	}
	s.commit(tx, was)
	return &job, nil
}

// commit stores what a transaction has changed.
func (s *Store) commit(tx *jobs.Tx, was jobs.Job) {
	id := tx.Job.ID
	for _, p := range slices.Concat(tx.ChangedParts(), tx.NewParts) {
		if s.parts[id] == nil {
			s.parts[id] = map[string]jobs.Part{}
		}
		s.parts[id][p.ID] = *p
		s.wrote(partKey(id, p.ID))
	}
	for _, p := range tx.ChangedPlaces {
		doc := placeDoc{jobs.PlaceKey{OrgID: p.OrgID, Number: p.Number}, p.Slot()}
		s.places[doc] = *p
		s.wrote(placeDocKey(doc))
	}
	s.note(id, tx.Events)
	s.count(tx.Tally)
	s.settle(tx.Settlement)
	s.met(tx.Met)
	s.record(tx.Audit)
	if cb := tx.Callback; cb != nil {
		s.callbacks[cb.ID] = *cb
		s.wrote(callbackKey(cb.ID))
	}
	if !reflect.DeepEqual(was, *tx.Job) {
		s.jobs[id] = *tx.Job
		s.wrote(s.JobKey(id)) // last: who watches finds the rest
	}
}

// note adds lines to a timeline, in the order of time.
func (s *Store) note(jobID string, events []jobs.Event) {
	all := append(s.events[jobID], events...)
	slices.SortStableFunc(all, func(a, b jobs.Event) int { return a.At.Compare(b.At) })
	s.events[jobID] = all
}

// places are those of an org, as jobs.Tx looks at them.
type places struct {
	s   *Store
	org string
}

// Any gives n of the org's places, not always the same first.
func (p places) Any(n int) (out []*jobs.Place, err error) {
	for _, i := range rand.Perm(p.s.cfg.Limits.Of(p.org).RunningJobs) {
		if len(out) == n {
			break
		}
		out = append(out, p.s.place(jobs.PlaceKey{OrgID: p.org, Number: i + 1}))
	}
	return out, nil
}

// Get gives one of them.
func (p places) Get(number int) (*jobs.Place, error) {
	return p.s.place(jobs.PlaceKey{OrgID: p.org, Number: number}), nil
}

// Next gives the jobs of the org that have waited longest.
func (p places) Next() ([]string, error) { return p.s.next(p.org), nil }

// place gives a place as it stands.
func (s *Store) place(key jobs.PlaceKey) *jobs.Place {
	var docs []*jobs.Place
	for slot := range jobs.PlaceTurns {
		if p, ok := s.places[placeDoc{key, slot}]; ok {
			docs = append(docs, &p)
		}
	}
	if p := jobs.Newest(docs); p != nil {
		return p
	}
	return jobs.NewPlace(key.OrgID, key.Number)
}

// Callbacks are a job's callbacks, oldest first.
func (s *Store) Callbacks(_ context.Context, jobID string) (out []*jobs.Callback, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cb := range s.deliveries() {
		if cb.JobID == jobID {
			out = append(out, &cb)
		}
	}
	return out, nil
}

// deliveries lists those that have not lapsed, oldest first.
func (s *Store) deliveries() []jobs.Callback {
	all := slices.DeleteFunc(slices.Collect(maps.Values(s.callbacks)), func(cb jobs.Callback) bool { return s.lapsed(cb.LapsesAt) })
	slices.SortFunc(all, func(a, b jobs.Callback) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	for i, cb := range all {
		all[i] = *cb.Copy()
	}
	return all
}

// ListCallbacks gives a page of deliveries, newest first.
func (s *Store) ListCallbacks(_ context.Context, l jobs.CallbackList) ([]*jobs.Callback, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.DeleteFunc(s.deliveries(), func(cb jobs.Callback) bool {
		return l.OrgID != "" && cb.OrgID != l.OrgID || l.Origin != "" && cb.Origin != l.Origin || l.State != "" && cb.State != l.State || l.Cause != "" && cb.CauseID != l.Cause ||
			cb.CreatedAt.Before(l.CreatedAfter) || !l.CreatedBefore.IsZero() && !cb.CreatedAt.Before(l.CreatedBefore)
	})
	return page(all, l.PageSize, l.PageToken, func(cb *jobs.Callback) (time.Time, string) { return cb.CreatedAt, cb.ID })
}

// UpdateCallback runs a transition of a delivery.
func (s *Store) UpdateCallback(_ context.Context, id, actor string, fn func(*jobs.CallbackTx) error) (*jobs.Callback, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, ok := s.callbacks[id]
	if !ok || s.lapsed(was.LapsesAt) {
		return nil, fmt.Errorf("callback %s: %w", id, jobs.ErrNotFound)
	}
	cb := was.Copy()
	tx := &jobs.CallbackTx{Policy: s.cfg.Policy, Now: s.now(), Actor: actor, Callback: cb}
	if err := fn(tx); err != nil {
		return nil, err
	}
	s.callbacks[id] = *cb
	s.note(cb.JobID, tx.Events)
	s.count(jobs.TallyCallback(was.State, cb, tx.Now))
	s.met(tx.Met)
	s.record(tx.Audit)
	s.wrote(callbackKey(id))
	return cb.Copy(), nil
}

// CreateBatch stores a batch that a worker takes up.
func (s *Store) CreateBatch(_ context.Context, r jobs.BatchRequest) (*jobs.Batch, error) {
	b := jobs.NewBatch(r, s.now())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches[b.ID] = *b
	s.record(b.Audit(s.now()))
	return b.Copy(), nil
}

// Batch gets a batch with the number of jobs or callbacks that it has begun again so far.
func (s *Store) Batch(_ context.Context, id string) (*jobs.Batch, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.batches[id]
	if !ok {
		return nil, 0, fmt.Errorf("get batch %s: %w", id, jobs.ErrNotFound)
	}
	return b.Copy(), int64(len(s.sentAgain(&b)) + len(s.sorted(func(j *jobs.Job) bool { return j.BatchID == id }))), nil
}

// Batches lists the latest, newest first.
func (s *Store) Batches(_ context.Context, limit int) ([]*jobs.Batch, error) {
	return s.listBatches(limit, func(*jobs.Batch) bool { return true }, func(a, b *jobs.Batch) int { return b.CreatedAt.Compare(a.CreatedAt) })
}

// DueBatches lists the batches whose wakeAt has passed.
func (s *Store) DueBatches(_ context.Context, now time.Time, limit int) ([]*jobs.Batch, error) {
	due := func(b *jobs.Batch) bool { return !b.WakeAt.IsZero() && !b.WakeAt.After(now) }
	return s.listBatches(limit, due, func(a, b *jobs.Batch) int { return a.WakeAt.Compare(b.WakeAt) })
}

func (s *Store) listBatches(limit int, fits func(*jobs.Batch) bool, order func(a, b *jobs.Batch) int) (out []*jobs.Batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		if fits(&b) {
			out = append(out, b.Copy())
		}
	}
	slices.SortFunc(out, order)
	return out[:min(len(out), limit)], nil
}

// UpdateBatch runs a transition of a batch.
func (s *Store) UpdateBatch(_ context.Context, id string, fn func(*jobs.BatchTx) error) (*jobs.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, ok := s.batches[id]
	if !ok {
		return nil, fmt.Errorf("get batch %s: %w", id, jobs.ErrNotFound)
	}
	b := was.Copy()
	tx := jobs.NewBatchTx(s.cfg.Now(), b)
	if err := fn(tx); err != nil {
		return nil, err
	}
	s.batches[id] = *b
	s.record(tx.Audit)
	return b.Copy(), nil
}

// Receivers gives what is remembered of an org's addresses, in their order.
func (s *Store) Receivers(_ context.Context, orgID string, addresses ...string) ([]jobs.Receiver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]jobs.Receiver, len(addresses))
	for i, a := range addresses {
		out[i] = s.receiver(receiverKey{orgID, a})
	}
	return out, nil
}

// receiver gives what is remembered, nothing past its life.
func (s *Store) receiver(key receiverKey) jobs.Receiver {
	if r := s.receivers[key]; !r.Expired(s.now()) {
		return r
	}
	return jobs.Receiver{}
}

// ChangeReceiver applies fn to what is remembered of an address. A receiver without failures is forgotten.
func (s *Store) ChangeReceiver(_ context.Context, orgID, address, origin string, fn func(*jobs.Receiver)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := receiverKey{orgID, address}
	r := s.receiver(key)
	fn(&r)
	if r.FailingSince.IsZero() && !r.Suspended {
		delete(s.receivers, key)
		return nil
	}
	r.OrgID, r.Address, r.Origin, r.Rev, r.ExpiresAt = orgID, address, origin, jobs.NewToken(), r.Expiry()
	s.receivers[key] = r
	return nil
}

// SuspendedReceivers lists the addresses to which nothing is sent at present.
func (s *Store) SuspendedReceivers(context.Context) (out []jobs.Receiver, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.receivers {
		if r := s.receiver(key); r.Suspended {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b jobs.Receiver) int { return strings.Compare(a.OrgID+a.Address, b.OrgID+b.Address) })
	return out, nil
}

// UnsuspendReceiver forgets what is remembered of an origin, and begins the deliveries again that ended
// because of it.
func (s *Store) UnsuspendReceiver(ctx context.Context, orgID, origin, actor, reason string) (resumed int, err error) {
	entry := jobs.AuditOfReceiver(s.now(), orgID, origin, actor, reason)
	_ = s.Record(ctx, entry) // never fails
	s.mu.Lock()
	maps.DeleteFunc(s.receivers, func(_ receiverKey, r jobs.Receiver) bool { return r.OrgID == orgID && r.Origin == origin })
	all := s.deliveries()
	s.mu.Unlock()
	for _, cb := range all {
		if cb.OrgID != orgID || cb.Origin != origin || cb.State != jobs.CallbackSuspended {
			continue
		}
		if _, err := s.UpdateCallback(ctx, cb.ID, actor, func(tx *jobs.CallbackTx) error { return tx.Unsuspend(reason) }); err == nil {
			resumed++
		}
	}
	return resumed, s.Recorded(ctx, entry.ID, int64(resumed))
}

func partKey(jobID, id string) string { return "parts/" + jobID + "/" + id }
func callbackKey(id string) string    { return "callbacks/" + id }
func placeDocKey(d placeDoc) string {
	return "places/" + d.OrgID + "/" + strconv.Itoa(d.Number) + "/" + strconv.Itoa(d.slot)
}
