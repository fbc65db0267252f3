package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"exportd/api/client"
	"exportd/internal/timeline"
)

// eventGroup are lines of a timeline that are shown as one.
type eventGroup = timeline.Group[client.TimelineEntry]

// foldTimeline makes groups of the lines about parts.
func foldTimeline(entries []client.TimelineEntry) []eventGroup {
	part := func(e client.TimelineEntry) *int { return e.Part }
	return timeline.Fold(entries, part, func(a, b client.TimelineEntry) bool {
		return a.Type == b.Type && a.Attempt == b.Attempt && eventText(a) == eventText(b)
	})
}

// numbers writes numbers as ranges: "0-3, 7".
func numbers(of []int) string { return timeline.Ranges(of, "-") }

// groupActor is who did what a group tells.
func groupActor(g eventGroup) string {
	if g.First().Actor != g.Last().Actor {
		return g.First().Actor + ", …"
	}
	return g.First().Actor
}

// groupText is what happened, and for several lines how often and until when.
func groupText(g eventGroup) string {
	text := eventText(g.First())
	if g.Count() > 1 {
		text = strings.TrimSpace(fmt.Sprintf("%s (%d times in %s)", text, g.Count(), duration(g.Last().At.Sub(g.First().At))))
	}
	return text
}

const (
	// partsShown is how many parts are shown if nobody asks for all: a screen has about as many lines.
	partsShown = 12
	// slowestShown is how many of them are there because they took longest.
	slowestShown = 3
)

// choose picks the parts to show: those with an error, the damaged, those under way, then the slowest of the
// others, and says what the rest is.
func choose(parts []client.Part) (shown []client.Part, rest string) {
	if len(parts) <= partsShown {
		return parts, ""
	}
	told := func(p client.Part) int {
		switch {
		case p.Error != nil, p.State == client.PartStateDamaged:
			return 0
		case p.State == client.PartStateRunning:
			return 1
		}
		return 2
	}
	sorted := slices.Clone(parts)
	slices.SortStableFunc(sorted, func(a, b client.Part) int {
		if ta, tb := told(a), told(b); ta != tb {
			return ta - tb
		}
		return int(worked(b.Spent) - worked(a.Spent))
	})
	n := min(slices.IndexFunc(append(sorted, client.Part{}), func(p client.Part) bool { return told(p) == 2 })+slowestShown, partsShown)
	states := map[string]int{}
	for _, p := range sorted[n:] {
		states[string(p.State)]++
	}
	var counts []string
	for _, s := range []string{"damaged", "running", "pending", "done"} {
		if states[s] > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", states[s], s))
		}
	}
	shown = sorted[:n]
	slices.SortFunc(shown, func(a, b client.Part) int { return a.Index - b.Index })
	return shown, strings.Join(counts, ", ")
}

// worked is how long somebody was at work, in milliseconds.
func worked(s client.Spent) int64 {
	return s.CountMs + s.PlanMs + s.ScanMs + s.EncodeMs + s.YieldMs + s.UploadMs + s.ComposeMs
}

func millis(n int64) string {
	if n == 0 {
		return ""
	}
	return duration(time.Duration(n) * time.Millisecond)
}

// spentRows are the steps that a job's time went into.
func spentRows(j *client.OpsJob) [][]cell {
	s := j.Spent
	var rows [][]cell
	for _, step := range []struct {
		name, what string
		ms         int64
	}{
		{"wait", "for a worker's slot, or a place of the org", s.WaitMs}, {"part wait", "of all parts, for a worker's slot", s.PartWaitMs},
		{"count", "the rows", s.CountMs}, {"plan", "cutting them into parts", s.PlanMs}, {"scan", "waiting for rows", s.ScanMs}, {"encode", "", s.EncodeMs},
		{"yield", "standing back for small exports", s.YieldMs}, {"upload", "waiting for the storage", s.UploadMs}, {"compose", "one file of the parts", s.ComposeMs},
	} {
		if step.ms > 0 {
			rows = append(rows, []cell{words(step.name), words(millis(step.ms)), faint(step.what)})
		}
	}
	if ran := between(j.StartedAt, j.FinishedAt); ran != "" {
		expected := cell{millis(j.ExpectedMs) + " at most was expected", plain}
		if j.Slow {
			expected = cell{"slow: " + expected.text, yellow}
		}
		rows = append(rows, []cell{words("ran"), words(ran), expected})
	}
	return rows
}
