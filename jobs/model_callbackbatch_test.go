//go:build !race

package jobs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

// A batch of callbacks, with all that may happen beside it: two workers that carry it out at once, each of
// which may stand still or die between any two steps, as if every lease had run out; attempts that end
// whenever they do. Each step is one read or one commit, as those of package worker and its store are. The
// transitions are the real ones.

const (
	modelFirst, modelSecond = 1, 2 // begun by the end of the first and second stage; with 11 there is too much to go through
	modelCallbacks          = 4
	modelPage               = 2
)

// The steps of a worker at the batch, in their order.
const (
	cbIdle = iota
	cbList
	cbRerun
	cbLive
	cbAgain
	cbProceed
	cbBegin
	cbAdvance
)

// cbWorker is a worker at the batch.
type cbWorker struct {
	step    int
	batch   *jobs.Batch       // as it has read it
	cursor  string            // before the page
	page    []*jobs.Callback  // as it has read them
	next    string            // cursor behind the page
	outcome jobs.BatchOutcome // as far as it has counted
	left    int64
}

// cbWorld is all there is. Documents are never changed, but replaced.
type cbWorld struct {
	batch     *jobs.Batch
	callbacks [modelCallbacks]*jobs.Callback
	sent      [modelCallbacks]int // how often the batch has sent each
	workers   [2]cbWorker
	crashes   int
	unsure    int // attempts that may still be interrupted
}

// cbModel explores one scenario.
type cbModel struct {
	fails    int                // the callback that fails, -1 for none
	with     jobs.CallbackState // what it comes to
	unsure   int                // attempts that may be interrupted
	hasty    bool               // mutant: what may be begun is asked before the page is read
	late     bool               // mutant: what was begun is counted last
	sure     bool               // mutant: what was counted before all were listed ends it
	forgets  bool               // mutant: a callback does not know that the batch has sent it
	ids      map[string]int
	edges    [][]int
	ended    []bool
	worlds   []cbWorld
	failures []string
}

var cbNow = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

var cbPolicy = jobs.Policy{MaxInterruptions: 5, Skew: time.Second, NotifyAgain: time.Minute, RecordLife: time.Hour}

func (m *cbModel) fail(format string, args ...any) {
	if len(m.failures) < 3 {
		m.failures = append(m.failures, fmt.Sprintf(format, args...))
	}
}

// begin is the batch, just made, and what it is about.
func (m *cbModel) begin(t *testing.T) cbWorld {
	w := cbWorld{crashes: 1 - m.unsure, unsure: m.unsure}
	for i := range w.callbacks {
		j := &jobs.Job{ID: fmt.Sprintf("%026d", i+2), OrgID: "o", State: jobs.Failed, Epoch: 1}
		j.ID = strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(j.ID)
		tx := m.tx(&jobs.Callback{
			ID: jobs.CallbackID(j), Schema: 1, JobID: j.ID, OrgID: "o", URL: "https://r.example/", Origin: "https://r.example", Event: "export.failed",
			CreatedAt: cbNow.Add(-time.Hour), State: jobs.CallbackPending, WakeAt: cbNow.Add(-time.Hour),
		})
		tx.Now = cbNow.Add(-time.Hour)
		l, err := tx.Claim("w")
		if err == nil {
			err = tx.Record(l, jobs.CallbackResult{State: jobs.CallbackExhausted, Attempt: jobs.CallbackAttempt{At: tx.Now, Status: 503}})
		}
		if err != nil {
			t.Fatal(err)
		}
		w.callbacks[i] = tx.Callback
	}
	w.batch = jobs.NewBatch(jobs.BatchRequest{
		Callbacks: &jobs.CallbackFilter{State: jobs.CallbackExhausted, Cause: w.callbacks[0].CauseID}, Actor: "op", Reason: "r", MaxPerSecond: 1, Canary: true,
	}, cbNow.Add(-time.Minute))
	return w
}

func (m *cbModel) tx(cb *jobs.Callback) *jobs.CallbackTx {
	return &jobs.CallbackTx{Policy: cbPolicy, Now: cbNow, Callback: cb.Copy()}
}

// change commits a transition of the batch.
func (m *cbModel) change(w *cbWorld, fn func(*jobs.BatchTx) error) error {
	tx := jobs.NewBatchTx(cbNow, w.batch.Copy())
	if err := fn(tx); err != nil {
		return err
	}
	w.batch = tx.Batch
	return nil
}

// order is that of a worker's steps.
func (m *cbModel) order() []int {
	switch {
	case m.hasty:
		return []int{cbRerun, cbLive, cbAgain, cbProceed, cbList, cbBegin, cbAdvance}
	case m.late:
		return []int{cbList, cbLive, cbAgain, cbRerun, cbProceed, cbBegin, cbAdvance}
	}
	return []int{cbList, cbRerun, cbLive, cbAgain, cbProceed, cbBegin, cbAdvance}
}

// after is the step behind one.
func (m *cbModel) after(step int) int {
	order := m.order()
	for i, s := range order {
		if s == step && i+1 < len(order) {
			return order[i+1]
		}
	}
	return order[0]
}

// act does the next step of a worker.
func (m *cbModel) act(w *cbWorld, a *cbWorker) {
	switch a.step {
	case cbIdle:
		over := false
		if err := m.change(w, func(tx *jobs.BatchTx) (err error) { over, err = tx.Claim(); return err }); err != nil {
			m.fail("claim: %v", err)
		}
		if *a = (cbWorker{batch: w.batch}); !over {
			a.step = m.order()[0]
		}
		return
	case cbList:
		m.list(w, a)
	case cbRerun:
		a.outcome.Listed = a.batch.Listed || m.sure
		a.outcome.Rerun = w.count(func(cb *jobs.Callback) bool { return true })
	case cbLive:
		a.outcome.Live = w.count(func(cb *jobs.Callback) bool { return cb.State == jobs.CallbackPending })
	case cbAgain:
		if w.count((*jobs.Callback).FailedAgain) > 0 {
			a.outcome.Again = "one"
		}
	case cbProceed:
		was := a.outcome
		if err := m.change(w, func(tx *jobs.BatchTx) (err error) { a.left, err = tx.Proceed(was); return err }); err != nil && !errors.Is(err, jobs.ErrTransition) {
			m.fail("proceed: %v", err)
		}
		if a.batch, a.outcome = w.batch, (jobs.BatchOutcome{}); a.left == 0 {
			*a = cbWorker{}
			return
		}
	case cbBegin:
		m.redeliver(w, a)
		return
	case cbAdvance:
		err := m.change(w, func(tx *jobs.BatchTx) error { return tx.Advance(a.cursor, 1, nil, a.next) })
		if err != nil && !errors.Is(err, jobs.ErrLeaseLost) {
			m.fail("advance: %v", err)
		}
		if err != nil || a.next == "" {
			*a = cbWorker{}
			return
		}
		*a = cbWorker{batch: w.batch}
	}
	a.step = m.after(a.step)
}

// list reads a page.
func (m *cbModel) list(w *cbWorld, a *cbWorker) {
	a.cursor, a.page, a.next = a.batch.Cursor, nil, ""
	if a.batch.Listed {
		return
	}
	for _, cb := range w.callbacks {
		if f := a.batch.Callbacks; cb.ID <= a.batch.Cursor || cb.State != f.State || cb.CauseID != f.Cause {
			continue
		}
		if len(a.page) == modelPage {
			a.next = a.page[modelPage-1].ID
			return
		}
		a.page = append(a.page, cb)
	}
}

// redeliver sends the next callback of the page again that is to be.
func (m *cbModel) redeliver(w *cbWorld, a *cbWorker) {
	for len(a.page) > 0 && (a.page[0].BatchID == a.batch.ID || a.batch.RefusedCallback(a.page[0], cbPolicy, cbNow) != "") {
		a.page = a.page[1:]
	}
	if len(a.page) == 0 {
		a.step = cbAdvance
		return
	}
	if a.left == 0 { // it goes on when those have ended
		*a = cbWorker{batch: a.batch, step: m.order()[0]}
		return
	}
	i := 0
	for w.callbacks[i].ID != a.page[0].ID {
		i++
	}
	a.page = a.page[1:]
	tx := m.tx(w.callbacks[i])
	if m.forgets {
		tx.Callback.BatchID = ""
	}
	err := tx.RedeliverIn(a.batch)
	_, refused := errors.AsType[*jobs.RerunError](err)
	switch {
	case err == nil:
		m.sent(w, i)
		w.callbacks[i] = tx.Callback
		a.left--
	case errors.Is(err, jobs.ErrNotDue):
		a.left--
	case !refused:
		m.fail("redeliver: %v", err)
	}
}

// sent holds a callback that the batch sends against what it promises.
func (m *cbModel) sent(w *cbWorld, i int) {
	if w.sent[i]++; w.sent[i] > 1 {
		m.fail("callback %d was sent again %d times", i, w.sent[i])
	}
	all, delivered := w.count(func(*jobs.Callback) bool { return true }), w.count(func(cb *jobs.Callback) bool { return cb.State == jobs.CallbackDelivered })
	if all++; all > modelFirst && delivered < modelFirst || all > modelSecond && delivered < modelSecond { // with this one
		m.fail("%d are sent again when %d are delivered", all, delivered)
	}
}

// count counts those that the batch has sent.
func (w *cbWorld) count(is func(*jobs.Callback) bool) (n int64) {
	for _, cb := range w.callbacks {
		if cb.BatchID == w.batch.ID && is(cb) {
			n++
		}
	}
	return n
}

// attempt has an attempt at a callback made, or interrupted.
func (m *cbModel) attempt(w *cbWorld, i int, unsure bool) {
	tx := m.tx(w.callbacks[i])
	l, err := tx.Claim("w")
	r := jobs.CallbackResult{State: jobs.CallbackDelivered, Attempt: jobs.CallbackAttempt{At: cbNow, Status: 200}}
	switch {
	case unsure:
		r = jobs.CallbackResult{State: jobs.CallbackPending, Unspent: true, Attempt: jobs.CallbackAttempt{At: cbNow, NextAt: cbNow}}
	case i == m.fails:
		r = jobs.CallbackResult{State: m.with, Attempt: jobs.CallbackAttempt{At: cbNow, Status: 503, NextAt: cbNow.Add(time.Hour)}}
	}
	if err == nil {
		err = tx.Record(l, r)
	}
	if err != nil {
		m.fail("attempt: %v", err)
	}
	w.callbacks[i] = tx.Callback
}

// next emits all that can happen.
func (m *cbModel) next(w *cbWorld, out func(cbWorld)) {
	for i := range w.workers {
		if w.workers[i].step == cbIdle && !w.batch.FinishedAt.IsZero() || i == 1 && w.workers[1].step == cbIdle && w.workers[0].step == cbIdle {
			continue // it is over; or as if the first one took it
		}
		n := *w
		m.act(&n, &n.workers[i])
		out(n)
		if w.crashes > 0 && w.workers[i].step != cbIdle {
			n := *w
			n.crashes--
			n.workers[i] = cbWorker{}
			out(n)
		}
	}
	// Of those that are due, the first or the last: the others differ in nothing.
	due := []int{}
	for i, cb := range w.callbacks {
		if cb.State == jobs.CallbackPending && !cb.NextAt.After(cbNow) {
			due = append(due, i)
		}
	}
	for k, i := range due {
		if k > 0 && k < len(due)-1 {
			continue
		}
		n := *w
		m.attempt(&n, i, false)
		out(n)
		if w.unsure > 0 {
			n := *w
			n.unsure--
			m.attempt(&n, i, true)
			out(n)
		}
	}
}

// key is all that what comes depends on.
func (w *cbWorld) key() string {
	var b strings.Builder
	fmt.Fprint(&b, w.batch.Cursor, w.batch.Stage, w.batch.Listed, w.batch.FinishedAt.IsZero(), w.batch.Stopped, w.crashes, w.unsure, w.sent)
	look := func(cb *jobs.Callback) {
		fmt.Fprint(&b, " ", cb.State, cb.BatchID != "", cb.Schedule, cb.Forced, len(cb.Attempts))
	}
	for _, cb := range w.callbacks {
		look(cb)
	}
	for _, a := range w.workers {
		fmt.Fprint(&b, "|", a.step, a.cursor, a.next, a.outcome, a.left)
		if a.batch != nil {
			fmt.Fprint(&b, a.batch.Cursor, a.batch.Listed)
		}
		for _, cb := range a.page {
			b.WriteString(cb.ID)
			look(cb)
		}
	}
	return b.String()
}

// add gives the number of a world, and remembers a new one to go on from.
func (m *cbModel) add(w cbWorld) int {
	key := w.key()
	id, ok := m.ids[key]
	if !ok {
		id = len(m.worlds)
		m.ids[key] = id
		m.worlds, m.edges = append(m.worlds, w), append(m.edges, nil)
		m.ended = append(m.ended, !w.batch.FinishedAt.IsZero())
		m.checkEnd(&w)
	}
	return id
}

// checkEnd holds a batch that has ended against what it promises.
func (m *cbModel) checkEnd(w *cbWorld) {
	switch delivered := w.count(func(cb *jobs.Callback) bool { return cb.State == jobs.CallbackDelivered }); {
	case w.batch.FinishedAt.IsZero():
	case w.batch.Stopped == "" && delivered != modelCallbacks:
		m.fail("it has ended, and %d of %d are delivered", delivered, modelCallbacks)
	case w.batch.Stopped != "" && w.count((*jobs.Callback).FailedAgain) == 0:
		m.fail("it was stopped, and none has failed")
	}
}

// explore goes through all that can happen, and then looks whether the batch can end from everywhere.
func (m *cbModel) explore(t *testing.T) {
	m.ids = map[string]int{}
	m.add(m.begin(t))
	for i := 0; i < len(m.worlds) && len(m.failures) == 0; i++ {
		w := m.worlds[i]
		m.worlds[i] = cbWorld{} // not needed any more
		m.next(&w, func(n cbWorld) { m.edges[i] = append(m.edges[i], m.add(n)) })
	}
	if len(m.failures) > 0 {
		return
	}
	before := make([][]int, len(m.edges))
	for from, tos := range m.edges {
		for _, to := range tos {
			before[to] = append(before[to], from)
		}
	}
	var reach []int
	for i, ended := range m.ended {
		if ended {
			reach = append(reach, i)
		}
	}
	for len(reach) > 0 {
		i := reach[0]
		reach = reach[1:]
		for _, from := range before[i] {
			if !m.ended[from] {
				m.ended[from] = true
				reach = append(reach, from)
			}
		}
	}
	for i := range m.ended {
		if !m.ended[i] {
			m.fail("there is a state from which the batch never ends")
			return
		}
	}
}

// TestCallbackBatchModel: whatever happens, a batch sends each callback again once, and none of a stage
// before those of the stage before are delivered; and it ends.
func TestCallbackBatchModel(t *testing.T) {
	jobs.SetCanaryStages(t, modelFirst, modelSecond)
	for name, m := range map[string]*cbModel{
		"mended": {fails: -1}, "mended, with attempts that are interrupted": {fails: -1, unsure: 1}, "the first fails": {fails: 0, with: jobs.CallbackPending}, "the first is given up": {fails: 0, with: jobs.CallbackExhausted},
		"one of the second stage fails": {fails: 1, with: jobs.CallbackPending}, "one of the second stage is given up": {fails: 1, with: jobs.CallbackExhausted}, "one of the rest fails": {fails: 3, with: jobs.CallbackPending},
	} {
		t.Run(name, func(t *testing.T) {
			m.explore(t)
			for _, f := range m.failures {
				t.Error(f)
			}
			t.Logf("%d states", len(m.worlds))
		})
	}
	for name, m := range map[string]*cbModel{
		"asked before the page is read": {fails: -1, hasty: true}, "counted last": {fails: -1, late: true}, "ended by an early count": {fails: -1, sure: true}, "unknown to the callback": {fails: 0, with: jobs.CallbackExhausted, forgets: true},
	} {
		t.Run("finds the fault: "+name, func(t *testing.T) {
			if m.explore(t); len(m.failures) == 0 {
				t.Errorf("nothing is wrong in %d states", len(m.worlds))
			}
		})
	}
}
