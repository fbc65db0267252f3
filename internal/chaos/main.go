// Command chaos runs exportd as a fleet of real processes, breaks it at random for a while, and then looks
// whether every job that was accepted ended right.
//
//	go run ./internal/chaos -duration 10m -seed 7
//
// It starts the embedded cloud, two APIs and four workers, sends export requests of both kinds, all sizes and
// all forms of files, also of what has changed since one before, some of which it cancels, and meanwhile
// kills processes (kill -9), stops them so long that their leases run out, breaks connections, drops, delays
// and doubles messages and answers errors. Half of the exports are called back, at receivers that work, fail
// at first, hang up or are slow. Then faults end, and it checks: every accepted job succeeded or was canceled
// by the script; every file, read by other code than has written it, has each cell of the snapshot, or each
// change between two; every callback was delivered at least once, under one id, signed, and tells how its job
// ended; no object is left over; no document is stuck; every attempt's end is in the timeline. At last some
// jobs are made to fail, and every number of /ops/stats and /ops/causes must be what all job and callback
// documents give.
//
// With -previous the fleet is of two builds, which replace each other all the while, by kill -9 and by
// SIGTERM: an upgrade and a rollback with jobs in flight.
//
// The seed decides the script and the faults. What the processes do between is not deterministic, so a seed
// reproduces the pressure, not each interleaving.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// options are the flags.
type options struct {
	duration time.Duration
	seed     uint64
	pace     time.Duration // mean pause between two requests
	breaks   time.Duration // mean pause between two breaks
	bin      string
	previous string // "": one build
	dir      string
	messages int
	partRows int
}

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 10*time.Minute, "how long things are broken")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "seed of the script")
	flag.DurationVar(&o.pace, "pace", 2*time.Second, "mean pause between two export requests")
	flag.DurationVar(&o.breaks, "breaks", time.Second, "mean pause between two kills or stops")
	flag.StringVar(&o.bin, "bin", "bin/exportd", "the exportd binary, with exportd-dev beside it")
	flag.StringVar(&o.previous, "previous", "", "the exportd of the release before: half of the fleet begins as it, and whoever ends comes back as either")
	flag.StringVar(&o.dir, "dir", "", "data folder; a temporary one if empty")
	flag.IntVar(&o.messages, "messages", 20_000, "messages in the source")
	flag.IntVar(&o.partRows, "part-rows", 500, "rows of a part")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Printf("seed %d\n", o.seed)
	r, err := run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	r.print(os.Stdout)
	if !r.ok() {
		fmt.Fprintf(os.Stderr, "chaos: failed; again with -seed %d\n", o.seed)
		os.Exit(1)
	}
}
