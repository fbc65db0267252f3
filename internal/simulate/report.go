package simulate

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Report writes the results as the text of deployments/capacity.md.
func Report(results []*Result, seed uint64) string {
	var b strings.Builder
	b.WriteString(`# Capacity

Written by ` + "`make simulate`" + `; do not edit. Real workers, job store and Firestore client run in virtual time against simulated services;
what is real, modelled and assumed is in the documentation of ` + "`internal/simulate`" + `. `)
	fmt.Fprintf(&b, "Seed %d.\n\n", seed)
	b.WriteString("## Scenarios\n\n")
	b.WriteString("A load is the busiest ten seconds (a document's: the busiest minute of the clock) as a part of the limit. Queue times are from accepted to claimed, p50 / p99, by size of org:\n" +
		"the largest hundredth, the next nine, the rest. Overhead is everything that is charged but the reads of the rows themselves.\n\n")
	scenarios(&b, results)
	b.WriteString("\n## What is due\n\nBy how much retries were claimed late, and leftovers of ended jobs swept late, p50 / p99.\n\n| scenario | workers | retries | late | swept | late |\n|---|---|---|---|---|---|\n")
	for _, r := range results {
		if r.Retried.N+r.Retired.N > 0 {
			fmt.Fprintf(&b, "| %s, %s/min | %d | %d | %s | %d | %s |\n", r.Scenario.Name, figure(r.Scenario.PerMinute), r.Scenario.Workers, r.Retried.N, r.Retried, r.Retired.N, r.Retired)
		}
	}
	scaling(&b, results)
	b.WriteString("\n## Loads of each scenario\n\n")
	allLoads(&b, results)
	b.WriteString("\n## Limits\n\n| limit | value | source |\n|---|---|---|\n")
	for _, l := range Limits() {
		fmt.Fprintf(&b, "| %s | %s %s | %s |\n", l.What, figure(l.Value), l.Unit, l.Source)
	}
	b.WriteString("\nNo limit but a pace: Firestore takes 500 operations a second to a new collection at once and 50 % more every 5 minutes\n(firestore/docs/best-practices, \"500/50/5\"). The busiest scenario above makes " +
		ramp(results) + "\n")
	b.WriteString("\n## Prices\n\n| what | USD | source |\n|---|---|---|\n")
	for _, p := range Prices() {
		fmt.Fprintf(&b, "| %s | %s for %s | %s |\n", p.What, figure(p.USD), figure(p.Per), p.Source)
	}
	b.WriteString("\n## Latencies\n\n| call | p50 | p99 | source |\n|---|---|---|---|\n")
	for _, l := range []struct {
		name string
		latency
	}{
		{"Firestore commit", firestoreCommit}, {"Firestore documents", firestoreRead}, {"Firestore query, count", firestoreQuery},
		{"Pub/Sub publish", pubsubPublish}, {"Pub/Sub delivery", pubsubDeliver}, {"Pub/Sub acknowledge", pubsubCall},
		{"Storage upload's end, compose", storageWrite}, {"Storage other", storageCall}, {"IAM signBlob", signBlob}, {"receivers of callbacks", receiverAnswer},
	} {
		fmt.Fprintf(&b, "| %s | %v | %v | %s |\n", l.name, l.p50, l.p99, l.source)
	}
	fmt.Fprintf(&b, "\nA query stream gives %s rows/s, a count goes over %s index entries/s.\n", figure(scanRows), figure(countEntries))
	return b.String()
}

// scaling shows what the autoscaler saw and did, a line whenever the number of workers changed, and every two
// minutes.
func scaling(b *strings.Builder, results []*Result) {
	for _, r := range results {
		if len(r.Samples) == 0 {
			continue
		}
		s := r.Scenario.Scaling
		fmt.Fprintf(b, "\n## Workers that are scaled\n\nBy the numbers of the manifests (`kubernetes/components/keda`, held to those here by a test): %d to %d workers, of each query the most: jobs that wait / %s, parts under way / %s,\n"+
			"workers x age of the oldest / %v; what waits counts while fewer than %d slots for jobs are free. Up by %d %% or %d in %v, down by %d %% in %v after %v in which no more was wanted. It sees slots as of the last scrape (%v), the\n"+
			"queue up to a minute late, and a pod takes %v to begin. Processors are not simulated: the API, which is scaled by them, is not in this.\n\n",
			s.Min, s.Max, figure(s.QueuedEach), figure(s.PartsEach), s.Oldest, s.FreeSlots, s.UpPercent, s.UpPods, s.UpEvery, s.DownPercent, s.DownEvery, s.DownAfter, scrapeEvery, podStarts)
		b.WriteString("| minute | exports/min | waiting | oldest | free slots for jobs | parts under way | wanted by waiting, parts, oldest | workers |\n|---|---|---|---|---|---|---|---|\n")
		last := -1
		for _, p := range r.Samples {
			if p.Workers == last && p.At%(2*time.Minute) != 0 {
				continue
			}
			last = p.Workers
			fmt.Fprintf(b, "| %.2f | %s | %d | %s | %d | %d | %d, %d, %d | %d |\n", p.At.Minutes(), figure(p.PerMinute), p.Queued, brief(p.Oldest), p.Free, p.Parts, p.ByQueued, p.ByParts, p.Old, p.Workers)
		}
		b.WriteString("\n| asked for at | jobs | waited, p50 / p99 |\n|---|---|---|\n")
		for i, step := range r.Scenario.Steps {
			fmt.Fprintf(b, "| %s a minute, for %v | %d | %s |\n", figure(step.PerMinute), step.For, r.Steps[i].N, r.Steps[i])
		}
	}
}

func scenarios(b *strings.Builder, results []*Result) {
	b.WriteString("| scenario | workers | orgs | exports/min | accepted | refused (429) | lost, stuck, failed, short | queue large | middle | small | accepted to ended | first bottleneck | USD/M rows: rows + overhead | USD/idle day |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		s := r.Scenario
		perMillion, idle := "", ""
		if r.Rows > 0 {
			m := float64(r.Rows) / 1e6
			perMillion = fmt.Sprintf("%.2f + %.4f", r.Cost.Rows/m, r.Cost.Overhead/m)
		} else {
			idle = fmt.Sprintf("%.2f", r.Cost.day(r.Took))
		}
		refused := 0
		for _, n := range r.Refused {
			refused += n
		}
		fmt.Fprintf(b, "| %s | %d | %d | %s | %d | %d | %d, %d, %d, %d | %s | %s | %s | %s | %s | %s | %s |\n",
			s.Name, s.Workers, s.Orgs, figure(s.PerMinute), r.Jobs, refused, r.Lost, r.Stuck, r.Failed, r.Short,
			r.Queue["large"], r.Queue["middle"], r.Queue["small"], r.Total, first(r), perMillion, idle)
	}
}

// first is the fullest resource.
func first(r *Result) string {
	l := r.Loads[0]
	if l.Peak == 0 {
		return "none"
	}
	return fmt.Sprintf("%s: %.0f %%", l.Resource, 100*l.Share())
}

func allLoads(b *strings.Builder, results []*Result) {
	b.WriteString("| scenario | workers | resource | busiest | limit | load |\n|---|---|---|---|---|---|\n")
	for _, r := range results {
		for _, l := range r.Loads {
			if l.Share() < 0.05 {
				continue
			}
			of := ""
			if l.Of != "" {
				of = " (" + general(l.Of) + ")"
			}
			fmt.Fprintf(b, "| %s, %s/min | %d | %s%s | %s | %s %s | %.0f %% |\n",
				r.Scenario.Name, figure(r.Scenario.PerMinute), r.Scenario.Workers, l.Resource, of, figure(l.Peak), figure(l.Limit), l.Unit, 100*l.Share())
		}
	}
	b.WriteString("\nLoads below 5 % are left out.\n")
}

// general is a document's name with what is random in it left out, or an index's as it is.
func general(of string) string {
	segments := strings.Split(of, "/")
	for i, s := range segments {
		if len(s) == 26 && i%2 == 1 {
			segments[i] = "{id}"
		}
	}
	return strings.Join(segments, "/")
}

// ramp says how long traffic has to grow to the busiest scenario's.
func ramp(results []*Result) string {
	most := 0.0
	for _, r := range results {
		most = max(most, r.Operations)
	}
	steps := max(0, math.Ceil(math.Log(most/500)/math.Log(1.5)))
	return fmt.Sprintf("%s a second at its peak,\nrows left out: such traffic is to be reached over %v.", figure(most), time.Duration(steps)*5*time.Minute)
}

// String gives the two quantiles.
func (q Quantiles) String() string {
	if q.N == 0 {
		return ""
	}
	return brief(q.P50) + " / " + brief(q.P99)
}

func brief(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < 100*time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// figure writes a number with three digits at most behind the point, thousands apart.
func figure(f float64) string {
	s := strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.4f", f), "0"), ".")
	if f >= 100 {
		s = fmt.Sprintf("%.0f", f)
	}
	whole, rest, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return whole
}
