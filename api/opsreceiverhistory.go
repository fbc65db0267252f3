package api

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"exportd/internal/apikey"
	"exportd/internal/panics"
	"exportd/internal/webhook"
	"exportd/jobs"
)

const (
	// historyCallbacks are read for an answer, of some 1 KiB each and 20 at most: half a second. Where a
	// window has more, historyUndelivered are read besides of each state that is undelivered: a receiver that
	// works and gets thousands hides none that fails.
	historyCallbacks   = 500
	historyUndelivered = 100
	// historyReceivers are shown, and of as many pairs of org and receiver it is looked up since when they
	// fail.
	historyReceivers = 100
	historyOrgs      = 10
	// historyOrgsAtOnce bounds these look-ups, each a read of an org's receivers of some 20 ms.
	historyOrgsAtOnce = 16
)

// attemptsView counts the attempts of a stretch of time.
type attemptsView struct {
	At        time.Time `json:"at"`
	Succeeded int       `json:"succeeded"`
	Failed    int       `json:"failed"`
}

// historyView is how a receiver has answered.
type historyView struct {
	Origin       string                     `json:"origin"`
	Orgs         []string                   `json:"orgs"`
	OrgsComplete bool                       `json:"orgsComplete"`
	Callbacks    int                        `json:"callbacks"`
	Attempts     int                        `json:"attempts"`
	States       map[jobs.CallbackState]int `json:"states"`
	Pending      int                        `json:"pending"`
	Dead         int                        `json:"dead"`
	FailingSince *time.Time                 `json:"failingSince"`
	Last         *jobs.CallbackAttempt      `json:"last"`
	Buckets      []attemptsView             `json:"buckets"`

	ended []jobs.CallbackAttempt
}

// opsReceiverHistory tells how receivers have answered in a window, those that fail first.
func (s *Server) opsReceiverHistory(c *gin.Context, _ *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	w, origin := &statsWindow{orgID: p.text("orgId", false)}, p.text("origin", false)
	p.stretches(w, s.now(), causesFor)
	if err := p.finish(); err != nil {
		return err
	}
	ctx := c.Request.Context()
	read, complete, err := s.callbacksOf(ctx, jobs.CallbackList{OrgID: w.orgID, Origin: origin, CreatedAfter: w.since, CreatedBefore: w.until})
	if err != nil {
		return err
	}
	views := historiesOf(read, w)
	slices.SortFunc(views, func(a, b *historyView) int {
		return cmp.Or(cmp.Compare(b.rank(), a.rank()), cmp.Compare(b.Dead, a.Dead), cmp.Compare(b.Callbacks, a.Callbacks), cmp.Compare(a.Origin, b.Origin))
	})
	shown := views[:min(len(views), historyReceivers)]
	if err := s.failingSince(ctx, shown); err != nil {
		return err
	}
	for _, v := range shown {
		v.OrgsComplete = len(v.Orgs) <= historyOrgs
		v.Orgs = v.Orgs[:min(len(v.Orgs), historyOrgs)]
	}
	writeJSON(c, http.StatusOK, map[string]any{
		"receivers": orEmpty(shown), "complete": complete && len(shown) == len(views), "since": w.since.UTC(), "until": w.until.UTC(), "bucketSeconds": int(w.bucket.Seconds()),
	})
	return nil
}

func (v *historyView) rank() int {
	if v.FailingSince != nil {
		return 1
	}
	return 0
}

// callbacksOf reads the newest of a list, and of those that are undelivered more; complete where it read all.
func (s *Server) callbacksOf(ctx context.Context, l jobs.CallbackList) (all []*jobs.Callback, complete bool, err error) {
	seen := map[string]bool{}
	read := func(l jobs.CallbackList, most int) (whole bool, err error) {
		l.PageSize = pageCallbacks
		for n := 0; n < most; n += l.PageSize {
			page, next, err := s.operations.ListCallbacks(ctx, l)
			if err != nil {
				return false, err
			}
			for _, cb := range page {
				if !seen[cb.ID] {
					seen[cb.ID], all = true, append(all, cb)
				}
			}
			if l.PageToken = next; next == "" {
				return true, nil
			}
		}
		return false, nil
	}
	if complete, err = read(l, historyCallbacks); err != nil || complete {
		return all, complete, err
	}
	for _, state := range append([]jobs.CallbackState{jobs.CallbackPending}, slices.Sorted(maps.Values(jobs.CallbackCauses))...) {
		l.State = state
		if _, err := read(l, historyUndelivered); err != nil {
			return nil, false, err
		}
	}
	return all, false, nil
}

// historiesOf adds up callbacks by receiver. What is so damaged that it names none is of none.
func historiesOf(callbacks []*jobs.Callback, w *statsWindow) []*historyView {
	byOrigin := map[string]*historyView{}
	for _, cb := range callbacks {
		if cb.Origin == "" {
			continue
		}
		v := byOrigin[cb.Origin]
		if v == nil {
			v = &historyView{Origin: cb.Origin, Orgs: []string{}, States: map[jobs.CallbackState]int{}, Buckets: attemptsIn(w)}
			byOrigin[cb.Origin] = v
		}
		v.Callbacks++
		v.Attempts += cb.Attempt
		v.States[cb.State]++
		if !slices.Contains(v.Orgs, cb.OrgID) {
			v.Orgs = append(v.Orgs, cb.OrgID)
		}
		for _, a := range cb.Attempts {
			v.add(a, w)
		}
	}
	for _, v := range byOrigin {
		v.judge()
	}
	return slices.Collect(maps.Values(byOrigin))
}

func attemptsIn(w *statsWindow) []attemptsView {
	var out []attemptsView
	for at := w.since; at.Before(w.until); at = at.Add(w.bucket) {
		out = append(out, attemptsView{At: at.UTC()})
	}
	return out
}

// tellsNothing are attempts of which it says nothing about the receiver how they went.
var tellsNothing = []string{jobs.AttemptUnderWay, jobs.AttemptInterrupted, jobs.AttemptKeyRevoked}

// answered reports whether the receiver took the event: an answer that is cut off or late is none, whatever
// its status.
func answered(a jobs.CallbackAttempt) bool {
	return webhook.Attempt{Status: a.Status, Class: webhook.Class(a.Class)}.Delivered()
}

func (v *historyView) add(a jobs.CallbackAttempt, w *statsWindow) {
	if slices.Contains(tellsNothing, a.Class) {
		return
	}
	v.ended = append(v.ended, a)
	if a.At.Before(w.since) || !a.At.Before(w.until) {
		return
	}
	if b := &v.Buckets[int(a.At.Sub(w.since)/w.bucket)]; answered(a) {
		b.Succeeded++
	} else {
		b.Failed++
	}
}

// judge tells how many callbacks are pending and were given up, and finds the last attempt, and since when
// they fail.
func (v *historyView) judge() {
	v.Pending = v.States[jobs.CallbackPending]
	for _, state := range jobs.CallbackCauses {
		v.Dead += v.States[state]
	}
	slices.SortStableFunc(v.ended, func(a, b jobs.CallbackAttempt) int { return b.At.Compare(a.At) })
	for i, a := range v.ended {
		if i == 0 {
			v.Last = &a
		}
		if answered(a) {
			break
		}
		at := a.At.UTC()
		v.FailingSince = &at
	}
}

// failingSince has receivers that fail be told since when, also from before what was read of them: what is
// remembered of them is forgotten with a success.
func (s *Server) failingSince(ctx context.Context, views []*historyView) error {
	byOrg, pairs := map[string][]*historyView{}, 0
	for _, v := range views {
		for _, org := range v.Orgs {
			if v.FailingSince != nil && jobs.ValidOrg(org) && pairs < historyReceivers {
				byOrg[org], pairs = append(byOrg[org], v), pairs+1
			}
		}
	}
	var mu sync.Mutex // of the views: one receiver has several orgs
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(historyOrgsAtOnce)
	for org, of := range byOrg {
		g.Go(panics.Task(func() error {
			origins := make([]string, len(of))
			for i, v := range of {
				origins[i] = v.Origin
			}
			known, err := s.operations.Receivers(ctx, org, origins...)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for i, v := range of {
				if since := known[i].FailingSince.UTC(); !known[i].FailingSince.IsZero() && since.Before(*v.FailingSince) {
					v.FailingSince = &since
				}
			}
			return nil
		}))
	}
	return g.Wait()
}
