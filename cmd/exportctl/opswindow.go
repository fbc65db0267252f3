package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

// windowFlags say of when, and of whom, operators ask.
type windowFlags struct{ since, until, org, kind string }

func (w *windowFlags) add(cmd *cobra.Command, since string) {
	w.addTimes(cmd, since)
	flags := cmd.Flags()
	flags.StringVar(&w.org, "org", "", "only of this org")
	flags.StringVar(&w.kind, "kind", "", "only of this kind, like vip-users")
}

// addTimes has flags for the window alone.
func (w *windowFlags) addTimes(cmd *cobra.Command, since string) {
	flags := cmd.Flags()
	flags.StringVar(&w.since, "since", since, "from when on: how long ago, like 90m, 12h or 7d, or an ISO date or date-time")
	flags.StringVar(&w.until, "until", "", "until when, as --since; now by default")
}

func (w *windowFlags) params() *client.OpsStatsParams {
	return &client.OpsStatsParams{Since: given(w.since), Until: given(w.until), OrgID: given(w.org), Kind: given(client.Kind(w.kind))}
}

// showWindow prints what happened in a window.
func (a *app) showWindow(w *client.StatsWindow) {
	if w == nil {
		return
	}
	fmt.Fprintf(a.stdout, "%s to %s (UTC)\n\n", instant(&w.Since).text, instant(&w.Until).text)
	var rows [][]cell
	for _, state := range []string{"succeeded", "failed", "canceled"} {
		rows = append(rows, []cell{stateCell(state), number(w.Ends[state])})
	}
	rows = append(rows, []cell{words("slow"), number(w.Slow)}, []cell{words("rows"), number(w.Rows)})
	a.table([]column{{name: "ENDED"}, {name: "", right: true}}, rows)
	a.tally("FAILED WITH", w.ErrorCodes, red)
	a.tally("CALLBACKS", w.Callbacks, plain)
	rows = nil
	for _, t := range []struct {
		name string
		client.Times
	}{{"waited", w.QueuedSeconds}, {"ran", w.RanSeconds}} {
		if t.P50 != nil && t.P95 != nil {
			rows = append(rows, []cell{words(t.name), number(t.Count), words(seconds(*t.P50)), words(seconds(*t.P95))})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(a.stdout)
		a.table([]column{{name: "FIRST RUNS"}, {name: "JOBS", right: true}, {name: "HALF WITHIN", right: true}, {name: "95 % WITHIN", right: true}}, rows)
	}
	a.showTop(w.TopOrgs)
	a.showBuckets(w)
}

func seconds(s float32) string { return duration(time.Duration(float64(s) * float64(time.Second))) }

// tally prints counts by name, the largest first.
func (a *app) tally(head string, counts map[string]int64, c color) {
	var rows [][]cell
	for _, name := range slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		return cmp.Or(cmp.Compare(counts[y], counts[x]), cmp.Compare(x, y))
	}) {
		if counts[name] > 0 {
			rows = append(rows, []cell{{name, c}, number(counts[name])})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(a.stdout)
		a.table([]column{{name: head}, {name: "", right: true}}, rows)
	}
}

func (a *app) showTop(top *client.TopOrgs) {
	if top == nil || len(top.ByRows) == 0 {
		return
	}
	orgs := slices.Clone(top.ByRows)
	for _, o := range top.ByTime {
		if !slices.ContainsFunc(orgs, func(x client.OrgStats) bool { return x.OrgID == o.OrgID }) {
			orgs = append(orgs, o)
		}
	}
	var rows [][]cell
	for _, o := range orgs {
		rows = append(rows, []cell{words(o.OrgID), number(o.Rows), words(seconds(o.RanSeconds)), number(o.Ended), number(o.Failed)})
	}
	fmt.Fprintln(a.stdout)
	a.table([]column{{name: "LARGEST ORGS", flexible: true}, {name: "ROWS", right: true}, {name: "RAN", right: true}, {name: "ENDED", right: true}, {name: "FAILED", right: true}}, rows)
	if !top.Complete {
		a.say("There are more orgs than were looked at: one that was large in no single hour may be missing.")
	}
}

// showBuckets prints a line for each stretch in which something ended.
func (a *app) showBuckets(w *client.StatsWindow) {
	var rows [][]cell
	most := int64(1)
	total := func(b client.StatsBucket) (n int64) {
		for _, c := range b.Ends {
			n += c
		}
		return n
	}
	for _, b := range w.Buckets {
		most = max(most, total(b))
	}
	for _, b := range w.Buckets {
		n := total(b)
		if n == 0 {
			continue
		}
		bar := cell{strings.Repeat("#", int(max(1, n*20/most))), green}
		if b.Ends["failed"] > 0 {
			bar.color = red
		}
		rows = append(rows, []cell{instant(&b.At), number(b.Ends["succeeded"]), number(b.Ends["failed"]), number(b.Ends["canceled"]), number(b.Rows), bar})
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(a.stdout)
	a.table([]column{{name: fmt.Sprintf("FROM (UTC), %s", time.Duration(w.BucketSeconds)*time.Second)}, {name: "SUCCEEDED", right: true}, {name: "FAILED", right: true},
		{name: "CANCELED", right: true}, {name: "ROWS", right: true}, {name: "", extra: true}}, rows)
}
