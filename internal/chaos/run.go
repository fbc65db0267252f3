package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"exportd/internal/demo"
	"exportd/internal/localcloud/fault"
)

// report is what came of a run.
type report struct {
	seed                     uint64
	took, settle             time.Duration
	breaks                   breaks
	requests, accepted       int
	retriedRequests          int
	succeeded, canceled      int
	attempts, interruptions  int
	retries, partAttempts    int
	parts                    int
	rows, bytes              int64
	forms                    map[string]int // files that were right, by form
	refused                  int            // requests, by a build that does not know what they ask for
	changes                  int            // writes to the source while jobs ran
	builds                   *builds
	callbacks                callbacks
	figures                  *comparison
	lost, wrong              []string
	leftovers, stuck, broken []string
}

func (r *report) ok() bool {
	return len(r.lost)+len(r.wrong)+len(r.leftovers)+len(r.stuck)+len(r.broken)+r.callbacks.never == 0 && r.succeeded > 0 && len(r.figures.differ) == 0
}

func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "\nchaos, seed %d\n", r.seed)
	fmt.Fprintf(t, "broken for\t%s\tthen quiet after\t%s\n", r.took.Round(time.Second), r.settle.Round(time.Second))
	fmt.Fprintf(t, "kill -9\t%d\tof them the cloud\t%d\n", r.breaks.kills, r.breaks.cloudKills)
	fmt.Fprintf(t, "stopped past the lease\t%d\tfault settings\t%d\n", r.breaks.stops, r.breaks.faultChanges)
	if b := r.builds; b != nil && b.mixed() {
		for i, name := range b.names {
			fmt.Fprintf(t, "started as %s\t%d\t\t\n", name, b.started[i])
		}
		fmt.Fprintf(t, "replaced by SIGTERM\t%d\trefused by the build before\t%d\n", b.rolled, r.refused)
	}
	fmt.Fprintf(t, "jobs accepted\t%d\trequests sent again\t%d\n", r.accepted, r.retriedRequests)
	fmt.Fprintf(t, "succeeded\t%d\tcanceled\t%d\n", r.succeeded, r.canceled)
	fmt.Fprintf(t, "claims\t%d\tof them interrupted, failed\t%d, %d\n", r.attempts, r.interruptions, r.retries)
	fmt.Fprintf(t, "parts\t%d\tpart attempts that failed\t%d\n", r.parts, r.partAttempts)
	fmt.Fprintf(t, "rows compared\t%d\tbytes compared\t%d\n", r.rows, r.bytes)
	fmt.Fprintf(t, "files as they should be\t%s\t\t\n", r.files())
	fmt.Fprintf(t, "source writes meanwhile\t%d\t\t\n", r.changes)
	cb := r.callbacks
	fmt.Fprintf(t, "callbacks due\t%d\tdelivered\t%d\n", cb.due, cb.delivered)
	fmt.Fprintf(t, "delivered zero times\t%d\tdelivered again (duplicates)\t%d\n", cb.never, cb.duplicates)
	fmt.Fprintf(t, "answered 500 or not at all\t%d\tredelivered by the operator\t%d\n", cb.unanswered, cb.redelivered)
	_ = t.Flush() // what cannot be printed cannot be reported either
	fmt.Fprintln(w, r.figures)
	for _, c := range []struct {
		name  string
		found []string
	}{{"differ", r.figures.differ}, {"lost", r.lost}, {"wrong", r.wrong}, {"leftovers", r.leftovers}, {"stuck", r.stuck}, {"broken", r.broken}} {
		fmt.Fprintf(w, "%-10s %d\n", c.name, len(c.found))
		for i, text := range c.found {
			if i == 20 {
				fmt.Fprintf(w, "  and %d more\n", len(c.found)-20)
				break
			}
			fmt.Fprintln(w, "  "+text)
		}
	}
}

// files says how many there were of each form.
func (r *report) files() string {
	var list []string
	for _, form := range slices.Sorted(maps.Keys(r.forms)) {
		list = append(list, fmt.Sprintf("%d %s", r.forms[form], form))
	}
	return strings.Join(list, ", ")
}

// settleWithin is how long the fleet may take to end everything once faults are over: the longest back-off of
// a job, and two sweeps; or the lease of a callback whose worker was killed, and the tries that its receiver
// spoils after it.
const settleWithin = 4 * time.Minute

// run breaks a fleet for a while and inspects what came of it.
func run(ctx context.Context, o options, log io.Writer) (r *report, err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "exportd-chaos"); err != nil {
			return nil, err
		}
		defer func() {
			if err == nil && r.ok() {
				_ = os.RemoveAll(o.dir) // a temporary folder
			}
		}()
	} else if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := newFleet(ctx, o)
	if f != nil {
		defer f.close()
	}
	if err != nil {
		return nil, err
	}
	target, closeTarget, err := demo.DialEmulator(ctx, f.hosts["firestore"], project)
	if err != nil {
		return nil, err
	}
	defer closeTarget()
	facts, err := demo.Load(ctx, target, demo.Options{Seed: o.seed, Users: 2000, Messages: o.messages, Now: time.Now()})
	if err != nil {
		return nil, err
	}
	in, err := newInspector(ctx, f.hosts)
	if err != nil {
		return nil, err
	}
	defer in.close()
	rs, err := newReceivers(ctx, facts.WebhookSecret)
	if err != nil {
		return nil, err
	}
	defer rs.close()
	r = &report{seed: o.seed, builds: f.builds, forms: map[string]int{}, figures: &comparison{not: "not all came to its end"}}
	c := &caller{fleet: f, demo: facts, http: &http.Client{Timeout: 20 * time.Second}, receivers: rs, accepted: map[string]*accepted{}}
	begun := time.Now()
	attacked := begun
	if err := attack(ctx, o, f, c, in, r, log); err != nil {
		return nil, err
	}
	r.took = time.Since(begun)
	if err := f.setFaults(ctx, fault.Config{}); err != nil {
		return nil, err
	}
	fmt.Fprintln(log, "faults are over; waiting for every job and callback to end")
	begun = time.Now()
	if err := waitSettled(ctx, c, in); err != nil {
		r.broken = append(r.broken, err.Error()+"; what the processes were doing is at the end of their logs in "+o.dir)
		defer f.dump() // not before what is inspected below: the cloud is one of them
	}
	r.settle = time.Since(begun)
	r.broken = append(r.broken, f.crashes()...)
	r.accepted, r.requests, r.retriedRequests, r.refused = len(c.accepted), c.requests, c.retries, c.refused
	if err := in.inspect(ctx, c, r); err != nil || len(r.broken) > 0 {
		return r, err
	}
	if f.builds.mixed() {
		r.figures = &comparison{not: "the build before may count less"}
		return r, nil
	}
	fmt.Fprintln(log, "some jobs are made to fail, so that there are causes; then figures are compared")
	if err := failOnPurpose(ctx, f, c, in, o.seed); err != nil {
		return r, err
	}
	r.figures, err = in.compareFigures(ctx, c, attacked)
	return r, err
}

// attack sends requests and changes the source while things are broken.
func attack(ctx context.Context, o options, f *fleet, c *caller, in *inspector, r *report, log io.Writer) error {
	broken, stop := context.WithTimeout(ctx, o.duration)
	defer stop()
	// Requests that are under way when the time is over may still be answered.
	asking, stopAsking := context.WithTimeout(ctx, o.duration+2*time.Minute)
	defer stopAsking()
	var all sync.WaitGroup
	var mu sync.Mutex
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		r.broken = append(r.broken, err.Error())
	}
	all.Go(func() {
		rng := rand.New(rand.NewPCG(o.seed, 1))
		for n := 0; pause(broken, time.Duration(rng.ExpFloat64()*float64(o.pace))); n++ {
			one := rand.New(rand.NewPCG(o.seed, uint64(1000+n)))
			all.Go(func() {
				if err := c.export(asking, one, n); err != nil {
					fail(err)
				}
			})
		}
	})
	all.Go(func() { r.changes = in.changeSource(broken, rand.New(rand.NewPCG(o.seed, 2)), c.demo) })
	var err error
	all.Go(func() {
		r.breaks, err = f.breakThings(broken, o, rand.New(rand.NewPCG(o.seed, 3)), log)
		err = errors.Join(err, f.newest(ctx))
	})
	all.Wait()
	return err
}

func waitSettled(ctx context.Context, c *caller, in *inspector) error {
	return waitUntil(ctx, func(ctx context.Context) (bool, error) {
		ok, err := in.settled(ctx)
		called, cerr := in.called(ctx, c)
		return ok && called, errors.Join(err, cerr)
	})
}

func waitUntil(ctx context.Context, over func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for {
		ok, err := over(ctx)
		if err == nil && ok {
			return nil
		}
		if !pause(ctx, time.Second) {
			return errors.Join(errors.New("not every job and callback ended in time"), err)
		}
	}
}
