package simulate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"exportd/internal/config"
	"exportd/internal/dataset"
	"exportd/internal/jobstore"
	"exportd/jobs"
)

// skew is the exponent of the orgs' sizes: the org of rank r asks for 1/r^skew as much as the first.
const skew = 0.7

// class is a size of org.
type class int

const (
	large  class = iota // the largest hundredth
	middle              // the next nine
	small               // the rest
	classes
)

func (c class) String() string { return [...]string{"large", "middle", "small"}[c] }

// classOf is the class of the org of a rank (0 is the largest) among all.
func classOf(rank, orgs int) class {
	switch {
	case rank < max(1, orgs/100):
		return large
	case rank < max(2, orgs/10):
		return middle
	}
	return small
}

// sizes are the rows of exports: shares of them and the bounds in which the logarithm is even.
var sizes = []struct {
	share    float64
	from, to float64
}{
	{0.70, 200, 5_000},
	{0.25, 5_000, 50_000},
	{0.045, 50_000, 500_000},
	{0.005, 500_000, 5_000_000},
}

// callbackShare is the part of the exports that name a callback.
const callbackShare = 0.3

// traffic submits jobs as the API does and follows them to their end.
type traffic struct {
	*world
	cfg     config.Config
	orgs    int
	fronts  []*front
	random  *rand.Rand
	weights []float64 // cumulative, of the orgs
	seq     atomic.Int64
	pending sync.WaitGroup
	callers bool // callers wait for their jobs

	mu       sync.Mutex
	accepted map[string]*fate
	refused  [classes]int
	open     int             // jobs that have not ended
	retried  []time.Duration // how late retries were claimed
	retired  []time.Duration // how late the leftovers of ended jobs were swept
}

// front is an API process.
type front struct {
	*process
	store *jobstore.Store
	close func()
}

// fate is what became of a job.
type fate struct {
	rank                    int
	rows                    int64
	created, claimed, ended time.Time
	state                   jobs.State
	accepted                bool // its caller was told
}

func newTraffic(w *world, cfg config.Config, orgs int) (*traffic, error) {
	t := &traffic{world: w, cfg: cfg, orgs: orgs, random: rand.New(rand.NewPCG(w.seed, 1)), accepted: map[string]*fate{}, callers: true}
	sum := 0.0
	for r := range orgs {
		sum += math.Pow(float64(r+1), -skew)
		t.weights = append(t.weights, sum)
	}
	for i := range 4 {
		p := w.process("api-" + strconv.Itoa(i))
		store, closeClient, err := w.store(p, cfg)
		if err != nil {
			return nil, err
		}
		t.fronts = append(t.fronts, &front{p, store, closeClient})
	}
	w.count.changed = t.changed
	return t, nil
}

func (t *traffic) close() {
	for _, f := range t.fronts {
		f.close()
	}
}

// org picks an org by its share.
func (t *traffic) org() int {
	u := t.random.Float64() * t.weights[len(t.weights)-1]
	lo, hi := 0, len(t.weights)-1
	for lo < hi {
		if mid := (lo + hi) / 2; t.weights[mid] < u {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// rows picks the size of an export.
func (t *traffic) rows() int64 {
	u := t.random.Float64()
	for _, s := range sizes {
		if u < s.share {
			return int64(s.from * math.Pow(s.to/s.from, t.random.Float64()))
		}
		u -= s.share
	}
	return int64(sizes[0].from)
}

// offer submits jobs at random times, on average so many a minute, for a while.
func (t *traffic) offer(perMinute float64, length time.Duration) {
	end := time.Now().Add(length)
	for {
		pause := time.Duration(t.random.ExpFloat64() / perMinute * float64(time.Minute))
		if time.Now().Add(pause).After(end) {
			time.Sleep(time.Until(end))
			return
		}
		time.Sleep(pause)
		t.submit(t.org(), t.rows(), t.random.Float64() < callbackShare)
	}
}

// submit has a caller ask for an export, again and again while the service is unavailable.
func (t *traffic) submit(rank int, rows int64, callback bool) {
	seq := int(t.seq.Add(1))
	from := t.began.AddDate(-1, 0, 0).Add(time.Duration(seq) * time.Microsecond) // no two are equal
	sub := jobs.Submission{
		OrgID: fmt.Sprintf("org-%06d", rank), KeyID: "key", Kind: dataset.VIPMessages.Kind(), IdempotencyKey: strconv.Itoa(seq),
		Params: jobs.Params{
			"workspaceId": fmt.Sprintf("workspace-%06d", rank), "mediumId": "rows-" + strconv.FormatInt(rows, 10), "from": from, "to": t.began,
			"profile": jobs.ProfileRFC4180,
		},
	}
	if callback {
		sub.CallbackURL = fmt.Sprintf("https://receiver-%06d.example/hook", rank)
	}
	f := t.fronts[seq%len(t.fronts)]
	t.pending.Go(func() {
		for {
			done, err := f.store.Submit(context.Background(), sub)
			var full *jobs.QueueFullError
			switch {
			case errors.As(err, &full):
				t.mu.Lock()
				t.refused[classOf(rank, t.orgs)]++
				t.mu.Unlock()
				return
			case err != nil:
				time.Sleep(time.Second + time.Duration(t.chance("again", sub.IdempotencyKey)*float64(2*time.Second)))
				continue
			}
			_ = line{f.process}.Publish(context.Background(), jobs.QueueExports, jobs.Message{JobID: done.Job.ID}) // else the rescuer notifies
			t.mu.Lock()
			if j := t.accepted[done.Job.ID]; j != nil {
				j.accepted = true
			} else {
				t.accepted[done.Job.ID] = &fate{rank: rank, accepted: true} // its document is gone
			}
			t.mu.Unlock()
			return
		}
	})
}

// changed follows a job's document. It is called under the counts' lock.
func (t *traffic) changed(before, after *document) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if after == nil {
		return
	}
	id := after.path.ID()
	j := t.accepted[id]
	if j == nil {
		rank, _ := strconv.Atoi(strings.TrimPrefix(after.fields["orgId"].GetStringValue(), "org-"))
		j = &fate{rank: rank, created: time.Now()}
		t.accepted[id] = j
		t.open++
		if t.callers {
			t.count.addLocked("Firestore reads of callers", 1)
			t.count.addLocked("Firestore reads", 1)
		}
	}
	state := jobs.State(after.fields["state"].GetStringValue())
	if t.callers && !j.state.Ended() && before != nil { // it waits by a listener
		t.count.addLocked("Firestore reads of callers", 1)
		t.count.addLocked("Firestore reads", 1)
	}
	if state == jobs.Running && j.claimed.IsZero() {
		j.claimed = time.Now()
	}
	if before != nil {
		t.late(before, after)
	}
	if ended := state.Ended(); ended != j.state.Ended() {
		j.ended = time.Now()
		j.rows = after.fields["result"].GetMapValue().GetFields()["rows"].GetIntegerValue()
		if t.open--; !ended { // run again
			t.open += 2
		}
	}
	j.state = state
}

// late notes by how much what was due came late.
func (t *traffic) late(before, after *document) {
	due := func(field string) time.Duration { return time.Since(before.fields[field].GetTimestampValue().AsTime()) }
	if before.fields["notBefore"] != nil && after.fields["state"].GetStringValue() == string(jobs.Running) {
		t.retried = append(t.retried, due("notBefore"))
	}
	if before.fields["cleanup"].GetBooleanValue() && !after.fields["cleanup"].GetBooleanValue() {
		t.retired = append(t.retired, time.Since(after.fields["finishedAt"].GetTimestampValue().AsTime().Add(t.cfg.Policy().SweepAfter)))
	}
}

// idle reports whether every job has ended.
func (t *traffic) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open == 0
}

// ended is how many jobs have ended.
func (t *traffic) ended() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, j := range t.accepted {
		if j.state.Ended() {
			n++
		}
	}
	return n
}

// settle waits until every job has ended, at most so long.
func (t *traffic) settle(within time.Duration) {
	t.pending.Wait()
	for end := time.Now().Add(within); !t.idle() && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
}
