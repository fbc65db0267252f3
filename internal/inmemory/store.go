package inmemory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"exportd/jobs"
)

// Config says by what numbers a Store works.
type Config struct {
	Policy jobs.Policy
	Limits jobs.Limits
	// ReuseFor is how long a success answers equal requests.
	ReuseFor time.Duration
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Store is a job store. Safe for concurrent use: one transaction at a time runs, under the store's lock.
type Store struct {
	cfg Config

	mu         sync.Mutex
	changed    chan struct{} // closed at the next change
	writes     int64         // how many there were
	versions   map[string]int64
	retired    map[string]int64 // at which version, by key
	jobs       map[string]jobs.Job
	parts      map[string]map[string]jobs.Part // by job and id
	events     map[string][]jobs.Event         // by job
	callbacks  map[string]jobs.Callback
	batches    map[string]jobs.Batch
	places     map[placeDoc]jobs.Place
	pointers   map[string]pointer // by "fingerprint " or "key " and what it stands for
	receivers  map[receiverKey]jobs.Receiver
	division   jobs.Division
	partitions map[int]jobs.Partition
	paused     map[jobs.Queue]jobs.Pause
	dead       map[jobs.Queue]jobs.DeadLetters
	alive      map[string]presence // by worker
	rollups    map[string]*jobs.Rollup
	causes     map[string]*jobs.CauseNote
	audit      []jobs.AuditEntry
	budgets    map[string]jobs.BudgetDay // by id
	links      map[string]int64          // generation, by org
	downloads  map[string]jobs.Download  // by id
}

type placeDoc struct {
	jobs.PlaceKey
	slot int
}

type pointer struct {
	jobID, fingerprint string
	expiresAt          time.Time
}

type receiverKey struct{ org, address string }

// NewStore makes an empty Store.
func NewStore(cfg Config) *Store {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Store{
		cfg: cfg, changed: make(chan struct{}), versions: map[string]int64{}, retired: map[string]int64{}, jobs: map[string]jobs.Job{}, parts: map[string]map[string]jobs.Part{},
		events: map[string][]jobs.Event{}, callbacks: map[string]jobs.Callback{}, batches: map[string]jobs.Batch{}, places: map[placeDoc]jobs.Place{},
		pointers: map[string]pointer{}, receivers: map[receiverKey]jobs.Receiver{}, division: jobs.Division{Partitions: 1, Workers: 1},
		partitions: map[int]jobs.Partition{}, paused: map[jobs.Queue]jobs.Pause{}, dead: map[jobs.Queue]jobs.DeadLetters{}, alive: map[string]presence{},
		rollups: map[string]*jobs.Rollup{}, causes: map[string]*jobs.CauseNote{}, budgets: map[string]jobs.BudgetDay{}, links: map[string]int64{}, downloads: map[string]jobs.Download{},
	}
}

// Policy gives the numbers that the store's transactions use.
func (s *Store) Policy() jobs.Policy { return s.cfg.Policy }

// ReuseFor is how long a success answers equal requests.
func (s *Store) ReuseFor() time.Duration { return s.cfg.ReuseFor }

func (s *Store) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// wrote notes that a document was written, and tells who watches.
func (s *Store) wrote(key string) {
	s.writes++
	s.versions[key] = s.writes
	close(s.changed)
	s.changed = make(chan struct{})
}

// version is when a document was last written, in writes.
func (s *Store) version(key string) time.Time { return time.Unix(0, s.versions[key]) }

// lapsed reports whether what hangs on a job is as gone.
func (s *Store) lapsed(at time.Time) bool { return !at.IsZero() && !s.now().Before(at) }

// Submit makes the job of a request, or finds the one that an equal request or the same idempotency key made.
func (s *Store) Submit(ctx context.Context, sub jobs.Submission) (jobs.Submitted, error) {
	if err := context.Cause(ctx); err != nil {
		return jobs.Submitted{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, fp := s.now(), sub.Fingerprint()
	byPrint, byKey := pointersOf(&sub)
	point := func(key, id string, life time.Duration) {
		s.pointers[key] = pointer{id, fp, now.Add(life)}
	}
	found, keyed, err := s.attached(&sub, now)
	if err != nil {
		return jobs.Submitted{}, err
	}
	if found != nil {
		if !keyed && sub.IdempotencyKey != "" {
			point(byKey, found.ID, jobs.IdempotencyLife)
		}
		return jobs.Submitted{Job: found, Reused: true}, nil
	}
	if err := sub.Makes(); err != nil {
		return jobs.Submitted{}, err
	}
	if err := s.admit(sub.OrgID); err != nil {
		return jobs.Submitted{}, err
	}
	job := jobs.NewJob(jobs.NewID(), &sub, s.cfg.Policy, now)
	if err := s.reserve(job, sub.Budget); err != nil {
		return jobs.Submitted{}, err
	}
	s.jobs[job.ID] = *job
	s.wrote(s.JobKey(job.ID))
	events, audit := sub.Record(job, s.cfg.Policy)
	s.note(job.ID, events)
	if audit != nil {
		s.audit = append(s.audit, *audit)
	}
	point(byPrint, job.ID, s.cfg.Policy.RecordLife)
	if sub.IdempotencyKey != "" {
		point(byKey, job.ID, jobs.IdempotencyLife)
	}
	return jobs.Submitted{Job: job}, nil
}

// Find gives the job that Submit would give now, nil if it would make one.
func (s *Store) Find(ctx context.Context, sub jobs.Submission) (*jobs.Job, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	job, _, err := s.attached(&sub, s.now())
	return job, err
}

// pointersOf names what may lead to the job of a request: its fingerprint, and its key.
func pointersOf(sub *jobs.Submission) (byPrint, byKey string) {
	return "fingerprint " + sub.Fingerprint(), "key " + sub.OrgID + " " + sub.IdempotencyKey
}

// attached gives the job that a request gets, nil for a new one, and whether its key leads there.
func (s *Store) attached(sub *jobs.Submission, now time.Time) (found *jobs.Job, keyed bool, err error) {
	byPrint, byKey := pointersOf(sub)
	if sub.IdempotencyKey != "" {
		p, ok := s.pointers[byKey]
		job, there := s.jobs[p.jobID]
		switch {
		case !ok || !there || now.After(p.expiresAt):
		case p.fingerprint != sub.Fingerprint():
			return nil, true, fmt.Errorf("key belongs to job %s: %w", p.jobID, jobs.ErrIdempotencyMismatch)
		case sub.Attaches(&job, now) && job.ID != sub.Except:
			return &job, true, nil
		}
	}
	if p, ok := s.pointers[byPrint]; ok && !sub.Fresh && now.Before(p.expiresAt) {
		if job, ok := s.jobs[p.jobID]; ok && job.ID != sub.Except && job.Shared(now, s.cfg.ReuseFor) {
			return &job, false, nil
		}
	}
	return nil, false, nil
}

// admit refuses a job of an org whose queue is full.
func (s *Store) admit(orgID string) error {
	running, queued := s.of(orgID, jobs.Running), s.of(orgID, jobs.Queued)
	limit := s.cfg.Limits.Of(orgID).QueuedJobs
	if limit == 0 || len(queued) < limit {
		return nil
	}
	full := &jobs.QueueFullError{Limit: limit}
	slices.Reverse(running)
	for _, j := range running[:min(len(running), 10)] {
		full.RunningIDs = append(full.RunningIDs, j.ID)
	}
	return full
}

// of lists an org's jobs in a state, oldest first.
func (s *Store) of(orgID string, state jobs.State) []jobs.Job {
	return s.sorted(func(j *jobs.Job) bool { return j.OrgID == orgID && j.State == state })
}

// sorted lists the jobs that fit, oldest first.
func (s *Store) sorted(fits func(*jobs.Job) bool) (out []jobs.Job) {
	for _, j := range s.jobs {
		if fits(&j) {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b jobs.Job) int { return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.ID, b.ID)) })
	return out
}

// Usage counts the jobs of an org that run and that wait.
func (s *Store) Usage(_ context.Context, orgID string) (running, queued int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.of(orgID, jobs.Running))), int64(len(s.of(orgID, jobs.Queued))), nil
}

// Unfinished gives those that were made first.
func (s *Store) Unfinished(_ context.Context, orgID string, most int) (running, queued []*jobs.Job, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := func(state jobs.State) (out []*jobs.Job) {
		for _, j := range s.of(orgID, state) {
			out = append(out, &j)
		}
		return out[:min(most, len(out))]
	}
	return first(jobs.Running), first(jobs.Queued), nil
}

// Next gives those of the org's jobs that have waited longest, as many as it has places free.
func (s *Store) Next(_ context.Context, orgID string) (ids []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next(orgID), nil
}

func (s *Store) next(orgID string) (ids []string) {
	free := max(1, s.cfg.Limits.Of(orgID).RunningJobs-len(s.of(orgID, jobs.Running)))
	for _, j := range s.of(orgID, jobs.Queued) {
		if len(ids) < free && !s.now().Before(j.NotBefore) {
			ids = append(ids, j.ID)
		}
	}
	return ids
}

// Get reads a job.
func (s *Store) Get(_ context.Context, id string) (*jobs.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j, ok := s.jobs[id]
	if !ok {
		return nil, fmt.Errorf("get job %s: %w", id, jobs.ErrNotFound)
	}
	return &j, nil
}

// GetOf is Get of a job of an org.
func (s *Store) GetOf(ctx context.Context, orgID, id string) (*jobs.Job, error) {
	j, err := s.Get(ctx, id)
	if err == nil && j.OrgID != orgID {
		return nil, fmt.Errorf("get job %s: %w", id, jobs.ErrNotFound)
	}
	return j, err
}

// Watch calls fn with the job as it is and after each change. Of changes that come while fn runs, it is told
// of the last.
func (s *Store) Watch(ctx context.Context, id string, fn func(*jobs.Job) (stop bool)) error {
	rev := "none"
	for {
		s.mu.Lock()
		changed, version := s.changed, s.versions[s.JobKey(id)]
		j, ok := s.jobs[id]
		s.mu.Unlock()
		if !ok {
			return fmt.Errorf("watch job %s: %w", id, jobs.ErrNotFound)
		}
		if now := strconv.FormatInt(version, 10); now != rev {
			if rev = now; fn(&j) {
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Progress adds up what the parts have done.
func (s *Store) Progress(_ context.Context, j *jobs.Job) (rows, bytes int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, ok := s.jobs[j.ID]; ok && j.State == jobs.Running && j.Phase == jobs.PhaseParts {
		j = &now
		for _, p := range s.parts[j.ID] {
			if p.Begun && p.PlanEpoch == j.PlanEpoch {
				rows, bytes = rows+p.RowsDone, bytes+p.BytesDone
			}
		}
	}
	return max(rows+j.RowsDone, j.RowsFloor), bytes + j.BytesDone, nil
}

// Events is a job's timeline, oldest first.
func (s *Store) Events(_ context.Context, id string) ([]jobs.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.events[id]), func(e jobs.Event) bool { return s.lapsed(e.LapsesAt) }), nil
}

// Parts gives the parts of the plan in force, by index.
func (s *Store) Parts(_ context.Context, j *jobs.Job) (out []*jobs.Part, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts[j.ID] {
		if p.PlanEpoch == j.PlanEpoch && p.Index < j.PartsTotal && !s.lapsed(p.LapsesAt) {
			out = append(out, &p)
		}
	}
	slices.SortFunc(out, func(a, b *jobs.Part) int { return a.Index - b.Index })
	return out, nil
}

// maxPage bounds a page of a list.
const maxPage = 100

func pageToken(at time.Time, id string) string {
	return strconv.FormatInt(at.UnixMicro(), 36) + "." + id
}

// behind reports whether what was made at a time stands behind a token, newest first.
func behind(token string, at time.Time, id string) (bool, error) {
	micros, last, ok := strings.Cut(token, ".")
	n, err := strconv.ParseInt(micros, 36, 64)
	if token != "" && (!ok || err != nil) {
		return false, fmt.Errorf("page token is not one of this list: %w", jobs.ErrInvalid)
	}
	return token == "" || at.UnixMicro() < n || at.UnixMicro() == n && id < last, nil
}

// page cuts a page off what is sorted oldest first.
func page[T any](all []T, size int, token string, place func(*T) (time.Time, string)) (out []*T, next string, err error) {
	if size <= 0 || size > maxPage {
		size = maxPage
	}
	if _, err := behind(token, time.Time{}, ""); err != nil {
		return nil, "", err
	}
	for _, doc := range slices.Backward(all) {
		at, id := place(&doc)
		if ok, _ := behind(token, at, id); !ok {
			continue
		}
		if len(out) == size {
			return out, next, nil
		}
		out, next = append(out, &doc), pageToken(at, id)
	}
	return out, "", nil
}

// List gives a page of jobs, newest first.
func (s *Store) List(_ context.Context, l jobs.List) (jobs.JobPage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.sorted(l.Fits)
	found, next, err := page(all, l.PageSize, l.PageToken, func(j *jobs.Job) (time.Time, string) { return j.CreatedAt, j.ID })
	return jobs.JobPage{Jobs: found, Next: next}, err
}

// Stats counts the whole system.
func (s *Store) Stats(ctx context.Context) (jobs.Stats, error) {
	alive, _ := s.Alive(ctx)
	division, held, _ := s.Partitions(ctx, jobs.MaxPartitions)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := jobs.Stats{
		States: map[jobs.State]int64{}, ErrorCodes: map[jobs.Code]int64{}, Workers: jobs.WorkerIDs(alive), Paused: maps.Clone(s.paused),
		DeadLetters: maps.Clone(s.dead), Partitions: held[:division.Partitions],
	}
	for _, state := range jobs.States {
		st.States[state] = 0
	}
	for _, j := range s.sorted(func(*jobs.Job) bool { return true }) {
		st.States[j.State]++
		if j.Error != nil {
			st.ErrorCodes[j.Error.Code]++
		}
		if j.State == jobs.Queued && st.OldestQueuedAt.IsZero() {
			st.OldestQueuedAt = j.CreatedAt
		}
	}
	for _, cb := range s.callbacks {
		if cb.State != jobs.CallbackPending {
			continue
		}
		if st.PendingCallbacks++; st.OldestPendingAt.IsZero() || cb.CreatedAt.Before(st.OldestPendingAt) {
			st.OldestPendingAt = cb.CreatedAt
		}
	}
	return st, nil
}
