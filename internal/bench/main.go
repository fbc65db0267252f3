// Command bench measures what exportd promises about speed, memory, scale and cost, and prints one table:
// each line compares two things within this run, with the raw figures beside the ratio, so that the machine
// it ran on matters little. `make bench` runs it.
//
//	a  scan and encode     against the official client, and against receive-and-drop
//	b  encode alone        against encoding/csv, and against copying the output
//	c  a whole export      against a plain handler, on the embedded cloud
//	d  memory              of a worker, over the size of the export and by the form of its file
//	e  scale               over parts in flight and worker processes, on shaped streams
//	f  cost                calls that an export makes beyond reading its rows
//	g  fairness            small exports beside a large one
//	h  everything in one   memory, upload and download of `exportd-dev` with a large file
//	i  lists               under a constant rate of requests, beside exports
//	j  overview            of the labels of a large window, on shaped streams
//	k  telemetry           what it costs lines a, c and i; only where it is asked for
//	l  the embedded cloud  alone, against Google's emulators where they are installed; only where it is asked for
//
// Lines c to l run the real program: `exportd-dev emulators`, `exportd worker` and `exportd api` as processes
// of their own, jobs submitted as the API submits them; line h is `exportd-dev run`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		stop()
		os.Exit(1)
	}
}

// errShort means that the run was complete and a target was not reached.
var errShort = errors.New("a target was not reached")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	lines := flags.String("lines", "a,b,c,d,e,f,g,h,i,j", "the lines to measure; k and l are not among them unless they are named")
	fraction := flags.Float64("fraction", 1, "share of the full sizes: 0.1 takes a minute or two and tells less")
	data := flags.String("data", "", "folder that keeps the embedded cloud's data for the next run (default: a temporary one)")
	profile := flags.String("profile", "", "folder for CPU profiles of lines a and b, each way of doing it in a file of its own")
	strict := flags.Bool("strict", false, "exit with 1 when a target is not reached")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q; see -help", flags.Arg(0))
	}
	if !(*fraction > 0 && *fraction <= 1) {
		return fmt.Errorf("-fraction is more than 0 and at most 1, not %v", *fraction)
	}
	s := &suite{sizes: fullSizes().times(*fraction), data: *data, profile: *profile, progress: stderr, google: true}
	begun := time.Now()
	s.note("%d cores, load %s, %s", runtime.NumCPU(), load(), runtime.Version())
	if f, ok := stdout.(*os.File); !ok || !terminal(f) {
		text.DisableColors()
	}
	table, err := s.run(ctx, strings.Split(*lines, ","))
	err = errors.Join(err, s.close())
	if len(table) > 0 {
		fmt.Fprintln(stdout, render(table))
	}
	s.note("took %s", time.Since(begun).Round(time.Second))
	if err == nil && *strict && !reached(table) {
		return errShort
	}
	return err
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// load is how busy the machine is, in processes that want a core: figures taken beside other work mean
// little.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return one
}
