//go:build !race

package jobs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

// The model of places explores one org: jobs that are claimed and end by the real methods of jobs.Tx and
// jobs.Place, two workers that may die between any two steps, messages that may get lost, and a rescuer. A
// transaction is two steps, as in the model of one job.
//
// Its claims: never more jobs run than there are places, and whatever dies or is lost, in the end every job
// has run.

// yard is one state of it. It is compared by its JSON.
type yard struct {
	Now      int
	Jobs     []jobs.Job
	Places   []jobs.Place // the documents of one after those of the other, by slot; Number is 0 where none is
	Messages []int        // jobs of which a message is on its way
	Workers  [2]hand
	Rescuer  hand
	Made     int // jobs that there are yet
	Lost     int // messages that may still get lost
	Deaths   int
	Jumps    int // how often time may still pass while jobs run
}

// hand is one process. What it has read is kept whole.
type hand struct {
	Do     string // "", "claim", "claim further", "end", "notify", "wake job", "wake place"
	Job    int
	Place  int
	Job0   *jobs.Job
	Places []jobs.Place
	First  int // place that a claim reads first, from 0
	Asked  bool
	Next   []string // once it has asked, the jobs that have waited longest
	Now    int      // by its clock, since it read
}

type yardModel struct {
	policy  jobs.Policy
	seen    map[string]bool
	blind   bool              // commits do not look whether places have changed
	release func(*jobs.Place) // breaks what the end of a job does to its place
	want    func(*jobs.Place) // breaks what a claim does that finds no place
	silent  bool              // who ends a job does not notify the next
	take    func(*jobs.Place) // breaks what a claim writes that finds one
	leave   func(*jobs.Job)   // breaks what a claim writes that leaves one to another job
	behind  int               // seconds that the second worker's clock is behind
	states  int
}

func (y yard) clone() yard {
	y.Jobs, y.Places, y.Messages = slices.Clone(y.Jobs), slices.Clone(y.Places), slices.Clone(y.Messages)
	return y
}

// yardPlaces gives a transaction what its process has read, and notes whether it asks for more.
type yardPlaces struct {
	docs  []jobs.Place
	first int
	next  []string
	more  *bool
	asks  *bool
}

func (p yardPlaces) Next() ([]string, error) {
	*p.asks = true
	return p.next, nil
}

func (p yardPlaces) Any(n int) (out []*jobs.Place, _ error) {
	all := len(p.docs) / jobs.PlaceTurns
	for i := range min(n, all) {
		out = append(out, newest(p.docs, (p.first+i)%all))
	}
	*p.more = *p.more || n > 1 && all > 1
	return out, nil
}

func (p yardPlaces) Get(number int) (*jobs.Place, error) { return newest(p.docs, number-1), nil }

// newest is how a place, counted from 0, stands.
func newest(docs []jobs.Place, n int) *jobs.Place {
	var all []*jobs.Place
	for _, p := range docs[n*jobs.PlaceTurns : (n+1)*jobs.PlaceTurns] {
		if p.Number > 0 {
			all = append(all, &p)
		}
	}
	if p := jobs.Newest(all); p != nil {
		return p
	}
	return jobs.NewPlace("o", n+1)
}

// docOf is where a document of a place is.
func docOf(p *jobs.Place) int { return (p.Number-1)*jobs.PlaceTurns + p.Slot() }

func (m *yardModel) start(n, places int) yard {
	y := yard{Lost: 1, Deaths: 1, Jumps: 1}
	for i := range n {
		id := strings.Repeat(string(rune('a'+i)), 26)
		y.Jobs = append(y.Jobs, jobs.Job{ID: id, Schema: jobs.SchemaVersion, OrgID: "o", Kind: "vip-users", State: jobs.Queued, Fingerprint: jobs.Fingerprint("o", "vip-users", 1, jobs.Params{}),
			CreatedAt: epoch0, WakeAt: epoch0.Add(24 * time.Hour)}) // long, to see that places alone are enough
		y.Messages = append(y.Messages, i)
	}
	y.Made = n
	y.Places = make([]jobs.Place, places*jobs.PlaceTurns)
	return y
}

// startFreed is a place that a job had and others wanted, and jobs that come now, when one may be promised
// the place by the clock of a worker that is behind while for the rescuer nobody has waited.
func (m *yardModel) startFreed(n int) yard {
	y := m.start(n, 1)
	y.Made, y.Messages, m.behind = 0, nil, 1
	p := jobs.Place{Schema: jobs.PlaceSchema, OrgID: "o", Number: 1, Turn: 1, Wanted: true, WakeAt: epoch0.Add(2 * time.Second)}
	y.Places[docOf(&p)] = p
	return y
}

// next emits every state that can come right after y.
func (m *yardModel) next(y yard, emit func(string, yard)) {
	for w := range y.Workers {
		m.work(y, w, emit)
		if y.Deaths > 0 && y.Workers[w].Do != "" {
			n := y.clone()
			n.Deaths--
			if d := n.Workers[w]; strings.HasPrefix(d.Do, "claim") {
				n.Messages = append(n.Messages, d.Job) // not acknowledged
			}
			n.Workers[w] = hand{}
			emit(fmt.Sprintf("worker %d dies", w), n)
		}
	}
	m.rescue(y, emit)
	if y.Made < len(y.Jobs) {
		n := y.clone()
		n.Messages = append(n.Messages, n.Made)
		n.Made++
		emit(fmt.Sprintf("job %d is made", y.Made), n)
	}
	for i := range y.Messages {
		if y.Lost > 0 {
			n := y.clone()
			n.Lost--
			n.Messages = slices.Delete(n.Messages, i, i+1)
			emit("a message is lost", n)
		}
	}
	m.pass(y, emit)
}

func (m *yardModel) work(y yard, w int, emit func(string, yard)) {
	h := y.Workers[w]
	label := func(s string, job int) string { return fmt.Sprintf("worker %d %s job %d", w, s, job) }
	switch h.Do {
	case "":
		for i, job := range y.Messages {
			for first := range len(y.Places) / jobs.PlaceTurns {
				n := y.clone()
				n.Messages = slices.Delete(n.Messages, i, i+1)
				n.Workers[w] = m.read(n, w, "claim", job)
				n.Workers[w].First = first
				emit(label("reads to claim", job), n)
			}
		}
		for job := range y.Jobs[:y.Made] {
			if y.Jobs[job].State == jobs.Running {
				n := y.clone()
				n.Workers[w] = m.read(n, w, "end", job)
				emit(label("reads to end", job), n)
			}
		}
	case "claim", "claim further", "end":
		n := y.clone()
		if h.Do == "claim" && m.asksForMore(h) { // it reads the others now, and commits later
			n.Workers[w].Do, n.Workers[w].Places = "claim further", slices.Clone(y.Places)
			copy(n.Workers[w].Places[h.First*jobs.PlaceTurns:], h.Places[h.First*jobs.PlaceTurns:(h.First+1)*jobs.PlaceTurns])
			emit(label("reads further to claim", h.Job), n)
			return
		}
		if !h.Asked && m.asksWhoIsNext(h) {
			n.Workers[w].Asked, n.Workers[w].Next = true, next(y)
			emit(label("asks who is next to claim", h.Job), n)
			return
		}
		n.Workers[w] = hand{}
		committed, conflict := m.commit(&n, h)
		switch {
		case conflict:
			do, _, _ := strings.Cut(h.Do, " ")
			n.Workers[w] = m.read(n, w, do, h.Job)
			n.Workers[w].First = h.First
		case committed && h.Do == "end" && !m.silent:
			n.Workers[w] = hand{Do: "notify"}
		}
		emit(label("commits to "+h.Do, h.Job), n)
	case "notify":
		n := y.clone()
		n.Workers[w] = hand{}
		for _, id := range next(n) {
			n.Messages = append(n.Messages, number(n, id))
		}
		emit(fmt.Sprintf("worker %d notifies", w), n)
	}
}

// read begins what worker w does. The clock of the second may be behind.
func (m *yardModel) read(y yard, w int, do string, job int) hand {
	j := y.Jobs[job]
	return hand{Do: do, Job: job, Job0: &j, Places: slices.Clone(y.Places), Now: y.Now - w*m.behind}
}

// next are the jobs that have waited longest, as many as places are free.
func next(y yard) (ids []string) {
	free := len(y.Places) / jobs.PlaceTurns
	for _, j := range y.Jobs {
		if j.State == jobs.Running {
			free--
		}
	}
	for _, j := range y.Jobs[:y.Made] {
		if j.State == jobs.Queued && len(ids) < max(1, free) {
			ids = append(ids, j.ID)
		}
	}
	return ids
}

// number is which of the jobs has an id.
func number(y yard, id string) int {
	return slices.IndexFunc(y.Jobs, func(j jobs.Job) bool { return j.ID == id })
}

// apply runs the transition on what was read, and says whether it looked at all places, and who is next.
func (m *yardModel) apply(h hand) (tx *jobs.Tx, more, asks bool, err error) {
	job := *h.Job0
	policy := m.policy
	policy.Token = func() string { return "t" }
	tx = jobs.NewTx(policy, at(int32(h.Now)), "", &job, nil)
	tx.Places = yardPlaces{h.Places, h.First, h.Next, &more, &asks}
	if h.Do == "end" {
		return tx, more, asks, tx.Cancel("")
	}
	_, err = tx.Claim("w")
	return tx, more, asks, err
}

func (m *yardModel) asksForMore(h hand) bool {
	h.Places = slices.Clone(h.Places)
	_, more, _, _ := m.apply(h)
	return more
}

func (m *yardModel) asksWhoIsNext(h hand) bool {
	h.Places = slices.Clone(h.Places)
	_, _, asks, _ := m.apply(h)
	return asks
}

// commit writes what the transition makes of what was read if nothing that it writes has changed since.
func (m *yardModel) commit(y *yard, h hand) (committed, conflict bool) {
	tx, _, _, err := m.apply(h)
	if err != nil {
		return false, false
	}
	job := *tx.Job
	if job.State == jobs.Queued && len(h.Next) > 0 && m.leave != nil {
		m.leave(&job)
	}
	for _, p := range tx.ChangedPlaces {
		if h.Do == "end" && m.release != nil {
			m.release(p)
		}
		if job.State == jobs.Queued && m.want != nil {
			m.want(p)
		}
		if p.JobID == job.ID && h.Do != "end" && m.take != nil {
			m.take(p)
		}
		if y.Places[docOf(p)] != h.Places[docOf(p)] && !m.blind {
			return false, true
		}
	}
	if encode(y.Jobs[h.Job]) != encode(*h.Job0) {
		return false, true
	}
	for _, p := range tx.ChangedPlaces {
		y.Places[docOf(p)] = *p
	}
	y.Jobs[h.Job] = job
	return true, false
}

func (m *yardModel) rescue(y yard, emit func(string, yard)) {
	now := at(int32(y.Now))
	h := y.Rescuer
	if h.Do == "" {
		m.wakeJobs(y, emit)
		for i, p := range y.Places {
			if !p.WakeAt.IsZero() && !now.Before(p.WakeAt) {
				n := y.clone()
				n.Rescuer = hand{Do: "wake place", Place: i / jobs.PlaceTurns, Places: slices.Clone(y.Places)}
				if over := newest(y.Places, i/jobs.PlaceTurns); docOf(over) != i {
					n.Rescuer = hand{}
					n.Places[i].WakeAt = time.Time{} // of a turn that is over
				}
				emit(fmt.Sprintf("the rescuer reads place %d", p.Number), n)
			}
		}
		return
	}
	if h.Job0 == nil { // then it asks for the job and who waits
		n := y.clone()
		held := slices.ContainsFunc(y.Jobs, func(j jobs.Job) bool {
			return j.ID == newest(h.Places, h.Place).JobID && j.State == jobs.Running && j.Place == h.Place+1
		})
		n.Rescuer.Job0 = &jobs.Job{Counted: held}
		n.Rescuer.Next = next(y)
		emit("the rescuer asks who waits", n)
		return
	}
	n := y.clone()
	n.Rescuer = hand{}
	p := newest(h.Places, h.Place)
	notify := p.Wake(now, m.policy, h.Job0.Counted, len(h.Next) > 0)
	if i := docOf(p); y.Places[i] == h.Places[i] {
		n.Places[i] = *p
		for _, id := range h.Next {
			if notify {
				n.Messages = append(n.Messages, number(n, id))
			}
		}
	}
	emit("the rescuer commits", n)
}

// wakeJobs has the rescuer wake queued jobs that are due.
func (m *yardModel) wakeJobs(y yard, emit func(string, yard)) {
	now := at(int32(y.Now))
	for i, j := range y.Jobs {
		if j.State != jobs.Queued || now.Before(j.WakeAt) {
			continue
		}
		n := y.clone()
		if duty, _ := jobs.NewTx(m.policy, now, "", &n.Jobs[i], nil).Wake(); duty == jobs.NotifyJob {
			n.Messages = append(n.Messages, i)
		}
		emit(fmt.Sprintf("the rescuer wakes job %d", i), n)
	}
}

// looksAgain reports whether a queued job is looked after by itself, and soon.
func (y yard) looksAgain(j jobs.Job) bool {
	return j.State == jobs.Queued && j.WakeAt.Before(at(int32(y.Now)).Add(10*time.Minute))
}

// pass lets time go on to the next wakeAt of a place, or of a job that has one soon, when nothing else is to
// be done.
func (m *yardModel) pass(y yard, emit func(string, yard)) {
	if len(y.Messages) > 0 || y.Workers[0].Do != "" || y.Workers[1].Do != "" || y.Rescuer.Do != "" {
		return
	}
	next := time.Time{}
	for _, p := range y.Places {
		if !p.WakeAt.IsZero() && (next.IsZero() || p.WakeAt.Before(next)) {
			next = p.WakeAt
		}
	}
	for _, j := range y.Jobs {
		if y.looksAgain(j) && (next.IsZero() || j.WakeAt.Before(next)) {
			next = j.WakeAt
		}
	}
	if now := at(int32(y.Now)); !next.After(now) {
		return
	}
	n := y.clone()
	if slices.ContainsFunc(y.Jobs, func(j jobs.Job) bool { return j.State == jobs.Running }) {
		if n.Jumps--; n.Jumps < 0 {
			return
		}
	}
	n.Now += int((next.Sub(at(int32(y.Now))) + time.Second - 1) / time.Second)
	emit(fmt.Sprintf("time passes to %d s", n.Now), n)
}

// key has what matters to what can come: times only as they lie from now, messages in whatever order, and
// workers whose clocks are the same.
func (m *yardModel) key(y yard) string {
	now := at(int32(y.Now))
	var b strings.Builder
	job := func(j *jobs.Job) {
		from := time.Duration(-1)
		if y.looksAgain(*j) {
			from = max(j.WakeAt.Sub(now), 0)
		}
		fmt.Fprint(&b, j.State, j.Place, j.WakeAt.Equal(epoch0.Add(24*time.Hour)), from, " ")
	}
	places := func(all []jobs.Place) {
		for _, p := range all {
			from := time.Duration(-1)
			if !p.WakeAt.IsZero() {
				from = max(p.WakeAt.Sub(now), 0)
			}
			fmt.Fprint(&b, p.Turn, p.JobID, p.Wanted, from, " ")
		}
	}
	hands := []string{}
	for _, h := range append(y.Workers[:], y.Rescuer) {
		b.Reset()
		fmt.Fprint(&b, h.Do, h.Job, h.Place, h.First, h.Asked, h.Next)
		if h.Job0 != nil {
			fmt.Fprint(&b, y.Now-h.Now)
			job(h.Job0)
			fmt.Fprint(&b, h.Job0.Counted)
		}
		places(h.Places)
		hands = append(hands, b.String())
	}
	if m.behind == 0 {
		slices.Sort(hands[:2])
	}
	b.Reset()
	for i := range y.Jobs {
		job(&y.Jobs[i])
	}
	places(y.Places)
	messages := slices.Sorted(slices.Values(y.Messages))
	fmt.Fprint(&b, messages, hands, y.Made, y.Lost, y.Deaths, y.Jumps)
	return b.String()
}

func (m *yardModel) visit(y yard, trail []string) string {
	running := 0
	for _, j := range y.Jobs {
		if j.State == jobs.Running {
			running++
		}
	}
	if running > len(y.Places)/jobs.PlaceTurns {
		return "too many run\n  " + strings.Join(trail, "\n  ")
	}
	k := m.key(y)
	if m.seen[k] {
		return ""
	}
	m.seen[k] = true
	m.states++
	found, any := "", false
	m.next(y, func(label string, n yard) {
		any = true
		if found == "" {
			found = m.visit(n, append(trail, label))
		}
	})
	if !any {
		for i, j := range y.Jobs {
			if j.State != jobs.Canceled && !m.firstMessageLost(y, i) {
				return fmt.Sprintf("nothing more happens and job %d is %s\n  %s", i, j.State, strings.Join(trail, "\n  "))
			}
		}
	}
	return found
}

// firstMessageLost: no place was ever asked for a job of which the first message was lost; its own wakeAt is
// for that, and the model of one job shows it.
func (m *yardModel) firstMessageLost(y yard, job int) bool {
	return y.Jobs[job].WakeAt.Equal(epoch0.Add(24 * time.Hour))
}

func newYard() *yardModel {
	return &yardModel{seen: map[string]bool{}, policy: jobs.Policy{
		LeaseFor: 30 * time.Second, Skew: 2 * time.Second, NotifyAgain: 20 * time.Second, SweepAfter: time.Minute, RecordLife: time.Hour,
	}}
}

// TestModelPlaces explores three jobs on one place and on two, and two that come when a place that was wanted
// is free.
func TestModelPlaces(t *testing.T) {
	t.Parallel()
	for places := 1; places <= 2; places++ {
		m := newYard()
		y := m.start(3, places)
		if places == 2 { // all of it at once is more states than a test can visit
			y.Deaths, y.Jumps = 0, 0
		}
		if found := m.visit(y, nil); found != "" {
			t.Errorf("%d places: %s", places, found)
		}
		t.Logf("%d places: %d states", places, m.states)
	}
	m := newYard()
	if found := m.visit(m.startFreed(2), nil); found != "" {
		t.Errorf("a place that was freed: %s", found)
	}
	t.Logf("a place that was freed: %d states", m.states)
}

// TestModelPlacesFinds breaks the protocol and expects the model to notice.
func TestModelPlacesFinds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mutate func(*yardModel)
		want   string
		freed  bool
	}{
		"commits do not look whether a place was taken": {func(m *yardModel) { m.blind = true }, "too many run", false},
		"a freed place that is wanted wakes nobody": {func(m *yardModel) {
			m.release = func(p *jobs.Place) { p.WakeAt = time.Time{} }
		}, "nothing more happens and job", false},
		"a claim without a place tells nobody": {func(m *yardModel) {
			m.want = func(p *jobs.Place) { p.Wanted, p.WakeAt = false, time.Time{} }
		}, "nothing more happens and job", false},
		"the place is kept": {func(m *yardModel) {
			m.release = func(p *jobs.Place) { p.JobID, p.WakeAt = "x", time.Time{} }
		}, "nothing more happens and job", false},
		"nobody looks after a job that leaves a place to another": {func(m *yardModel) {
			m.leave = func(j *jobs.Job) { j.WakeAt = j.WakeAt.Add(time.Hour) }
		}, "nothing more happens and job", true},
		"each claim takes a turn of its own": {func(m *yardModel) {
			m.take = func(p *jobs.Place) { p.Turn += int64(p.JobID[0] - 'a') }
		}, "too many run", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newYard()
			tc.mutate(m)
			y := m.start(3, 1)
			if tc.freed {
				y = m.startFreed(2)
			}
			found := m.visit(y, nil)
			if !strings.HasPrefix(found, tc.want) {
				t.Errorf("found %q in %d states, want %q", found, m.states, tc.want)
			}
		})
	}
}
