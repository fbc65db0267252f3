package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"exportd/internal/backoff"
	"exportd/internal/localcloud/fault"
)

// breaks counts what the script did.
type breaks struct{ kills, cloudKills, stops, faultChanges int }

// breakThings kills, stops and starts processes at random until ctx ends, and sees to it that everything runs
// in the end.
func (f *fleet) breakThings(ctx context.Context, o options, rng *rand.Rand, log io.Writer) (breaks, error) {
	var b breaks
	for {
		if err := f.setFaults(context.WithoutCancel(ctx), randomFaults(rng)); err != nil {
			return b, err
		}
		b.faultChanges++
		for range 5 {
			if !pause(ctx, time.Duration(rng.ExpFloat64()*float64(o.breaks))) {
				return b, nil
			}
			if err := f.breakOne(ctx, rng, log, &b); err != nil {
				return b, err
			}
		}
	}
}

func (f *fleet) breakOne(ctx context.Context, rng *rand.Rand, log io.Writer, b *breaks) error {
	detached := context.WithoutCancel(ctx) // a process that was killed is started again, also at the end
	switch n := rng.IntN(20); {
	case n < 11:
		p := f.workers[rng.IntN(workerCount)]
		if f.builds.end(p, rng, log) {
			b.kills++
		}
		f.builds.next(p, rng)
		pause(ctx, time.Duration(rng.IntN(2000))*time.Millisecond)
		return p.start(detached)
	case n < 14:
		p := f.apis[rng.IntN(apiCount)]
		if f.builds.end(p, rng, log) {
			b.kills++
		}
		f.builds.next(p, rng)
		return p.start(detached)
	case n < 16:
		fmt.Fprintf(log, "kill -9 %s\n", f.cloud.name)
		f.cloud.kill()
		b.kills++
		b.cloudKills++
		pause(ctx, time.Duration(rng.IntN(1500))*time.Millisecond)
		if err := f.cloud.start(detached); err != nil {
			return err
		}
		return f.setFaults(detached, randomFaults(rng))
	default:
		p := f.workers[rng.IntN(workerCount)]
		d := time.Duration(3000+rng.IntN(12_000)) * time.Millisecond // the lease is 4 s, taken from its holder after 8
		fmt.Fprintf(log, "stop %s for %s\n", p.name, d)
		if err := p.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		b.stops++
		pause(ctx, d)
		return p.signal(syscall.SIGCONT)
	}
}

// randomFaults is what the cloud does wrong for a while: each kind of error on about 5 % of the calls that it
// can hit, lost answers, cut streams, and messages that are dropped, doubled or late.
func randomFaults(rng *rand.Rand) fault.Config {
	code := []string{"UNAVAILABLE", "ABORTED", "RESOURCE_EXHAUSTED"}[rng.IntN(3)]
	return fault.Config{Seed: rng.Uint64(), Rules: map[string]fault.Rule{
		// Slow streams, so that parts take long enough to be hit.
		"Firestore/RunQuery": {ErrorRate: 0.05, Code: "UNAVAILABLE", CutRate: 0.05, CutAfter: 1 + rng.IntN(400), LatencyMS: 20, RowsPerSecond: float64(200 + rng.IntN(1500))},
		"Firestore/Commit":   {ErrorRate: 0.05, LostRate: 0.03, Code: code},
		"Firestore/*":        {ErrorRate: 0.05, Code: "UNAVAILABLE"},
		"Publisher/*":        {ErrorRate: 0.05, Code: "UNAVAILABLE", DropRate: 0.1, DoubleRate: 0.1},
		"Subscriber/*":       {ErrorRate: 0.05, Code: "UNAVAILABLE", DropRate: 0.1, DoubleRate: 0.1, DelayRate: 0.1, DelayMS: 1000},
		"Storage/*":          {ErrorRate: 0.05, LostRate: 0.03, CutRate: 0.05, CutAfter: rng.IntN(20_000), Code: []string{"UNAVAILABLE", "RESOURCE_EXHAUSTED"}[rng.IntN(2)]},
	}}
}

// pause waits; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	return backoff.Sleep(ctx, d) == nil
}
