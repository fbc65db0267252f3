package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"exportd/jobs"
)

// callbacks counts what came of them.
type callbacks struct {
	due         int // jobs that have ended and have a callbackUrl
	delivered   int // of them, those whose receiver answered 2xx
	never       int // and those whose receiver never did
	duplicates  int // further 2xx for the same event
	unanswered  int // tries that the receivers spoiled, as their manners say
	redelivered int
}

// operatorWaits is how far away the next try of a callback may be before the operator of the script asks for
// it at once. The second gap of the schedule is 5 min: a run does not wait for it once faults are over.
const operatorWaits = 30 * time.Second

// called reports whether every callback has ended; those that wait long are sent again by the operator.
func (in *inspector) called(ctx context.Context, c *caller) (bool, error) {
	all, err := in.callbacks(ctx)
	if err != nil {
		return false, err
	}
	done := true
	for _, cb := range all {
		if cb.State != jobs.CallbackPending {
			continue
		}
		done = false
		if cb.Lease.Token == "" && time.Until(cb.NextAt) > operatorWaits {
			if err := c.redeliver(ctx, rand.New(rand.NewPCG(2, 2)), cb.JobID); err != nil {
				return false, err
			}
		}
	}
	return done, nil
}

// callbacks is every callback there is.
func (in *inspector) callbacks(ctx context.Context) ([]*jobs.Callback, error) {
	var all []*jobs.Callback
	for l := (jobs.CallbackList{}); ; {
		page, next, err := in.store.ListCallbacks(ctx, l)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if l.PageToken = next; next == "" {
			return all, nil
		}
	}
}

// inspectCallbacks wants one delivered callback of each ended job that asked for one, and none of the others,
// and looks through everything that the receivers got.
func (in *inspector) inspectCallbacks(ctx context.Context, c *caller, all []*jobs.Job, r *report) error {
	list, err := in.callbacks(ctx)
	if err != nil {
		return err
	}
	byJob := map[string][]*jobs.Callback{}
	for _, cb := range list {
		byJob[cb.JobID] = append(byJob[cb.JobID], cb)
	}
	seen := c.receivers.seen()
	r.callbacks.redelivered = c.redelivered
	for _, j := range all {
		a := c.accepted[j.ID]
		if a == nil {
			continue // reported already
		}
		if j.CallbackURL != a.callback {
			r.wrong = append(r.wrong, fmt.Sprintf("job %s: its callbackUrl is %q, asked for was %q", j.ID, j.CallbackURL, a.callback))
			continue
		}
		if a.callback == "" || !j.State.Ended() {
			if n := len(byJob[j.ID]); n > 0 {
				r.wrong = append(r.wrong, fmt.Sprintf("job %s, %s and with the callbackUrl %q, has %d callbacks", j.ID, j.State, a.callback, n))
			}
			continue
		}
		if err := in.inspectCallback(ctx, c, j, byJob[j.ID], seen[a.callback], r); err != nil {
			return err
		}
		delete(seen, a.callback)
	}
	for url, arrivals := range seen {
		r.wrong = append(r.wrong, fmt.Sprintf("%d callbacks came to %s, where none was due", len(arrivals), url))
	}
	return nil
}

// inspectCallback looks at what was sent of one job's end.
func (in *inspector) inspectCallback(ctx context.Context, c *caller, j *jobs.Job, stored []*jobs.Callback, arrivals []arrival, r *report) error {
	r.callbacks.due++
	if len(stored) != 1 {
		r.wrong = append(r.wrong, fmt.Sprintf("job %s has %d callbacks, want one", j.ID, len(stored)))
		r.callbacks.never++
		return nil
	}
	cb := stored[0]
	if cb.State != jobs.CallbackDelivered || !cb.WakeAt.IsZero() {
		r.stuck = append(r.stuck, fmt.Sprintf("callback %s is %s at attempt %d, due %s", cb.ID, cb.State, cb.Attempt, cb.WakeAt))
	}
	answered, link := 0, ""
	for _, a := range arrivals {
		e, fault := inspectArrival(j, cb, a)
		if fault != "" {
			r.wrong = append(r.wrong, fmt.Sprintf("callback %s: %s", cb.ID, fault))
		}
		if a.status/100 == 2 {
			answered++
		} else {
			r.callbacks.unanswered++
		}
		if e.Data.CSVURL != nil {
			link = *e.Data.CSVURL
		}
	}
	if answered == 0 {
		r.callbacks.never++
		r.lost = append(r.lost, fmt.Sprintf("callback %s was never delivered", cb.ID))
		return nil
	}
	r.callbacks.delivered++
	r.callbacks.duplicates += answered - 1
	if link == "" {
		return nil
	}
	fault, err := in.compareFile(ctx, c, j, link)
	if fault != "" {
		r.wrong = append(r.wrong, "by the csvUrl of its callback: "+fault)
	}
	return err
}

// inspectArrival says what is wrong with one callback as it came: its signature, its id, or that it does not
// tell how the job ended.
func inspectArrival(j *jobs.Job, cb *jobs.Callback, a arrival) (event, string) {
	if a.fault != "" {
		return event{}, "does not verify: " + a.fault
	}
	if a.id != cb.ID {
		return event{}, "came with the webhook-id " + a.id
	}
	e, err := readEvent(a.body)
	if err != nil {
		return e, err.Error()
	}
	d := e.Data
	right := e.Type == "export."+string(j.State) && d.State == string(j.State) && d.JobID == j.ID && d.Kind == string(j.Kind)
	if j.State == jobs.Succeeded {
		right = right && d.TotalCount != nil && *d.TotalCount == j.Result.FileRows() && d.CSVURL != nil && d.Error == nil
	} else {
		right = right && d.TotalCount == nil && d.CSVURL == nil && (d.Error != nil) == (j.Error != nil)
	}
	if !right {
		return e, fmt.Sprintf("does not tell that the job is %s with %d rows: %.400s", j.State, j.RowsTotal, a.body)
	}
	return e, ""
}
