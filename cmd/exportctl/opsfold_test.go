package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/api/client"
)

// manyParts is a job of 34 parts that each failed three times, after an interruption of some.
func manyParts() *client.OpsJobDetail {
	at := time.Date(2026, 11, 26, 5, 0, 0, 0, time.UTC)
	start := at
	d := &client.OpsJobDetail{Job: client.OpsJob{JobID: "bb2ocewj64sctz52oqzsdsspze", State: "failed", StartedAt: &start}}
	say := func(t client.TimelineEntryType, by string, part int, text string) {
		e := client.TimelineEntry{At: at, Type: t, Actor: by, Attempt: 1}
		if part >= 0 {
			e.Part = &part
		}
		if text != "" {
			e.Message = &text
		}
		d.Timeline = append(d.Timeline, e)
		at = at.Add(125 * time.Millisecond)
	}
	say(client.TimelineEntryTypeClaimed, "worker w1", -1, "")
	say(client.TimelineEntryTypePlanned, "worker w1", -1, "3400 rows in 34 parts")
	for try := range 3 {
		for i := range 34 {
			if try == 0 && i%9 == 3 {
				say(client.TimelineEntryTypeInterrupted, "rescuer w2", i, "")
			}
			say(client.TimelineEntryTypePartFailed, fmt.Sprint("worker w", i%2+1), i, "the source does not answer")
		}
	}
	say(client.TimelineEntryTypeFailed, "worker w1", -1, "the source does not answer")
	d.Job.FinishedAt, d.Job.ExpectedMs = &at, 3000
	for i := range 34 {
		p := client.Part{Index: i, State: client.PartStatePending, Rows: 100, Attempt: 3, Spent: client.Spent{ScanMs: int64(10 * (i * 7 % 34))}}
		switch {
		case i == 5 || i == 30:
			p.Error = &client.JobError{Code: "SOURCE_UNAVAILABLE", Message: "the source does not answer"}
		case i%3 == 0:
			p.State = client.PartStateDone
		}
		d.Parts = append(d.Parts, p)
	}
	return d
}

// TestFold: nothing of a timeline is lost by folding, and no line about the job moves.
func TestFold(t *testing.T) {
	t.Parallel()
	d := manyParts()
	groups, n := foldTimeline(d.Timeline), 0
	var order []string
	for _, g := range groups {
		n += g.Count()
		order = append(order, string(g.First().Type))
	}
	if n != len(d.Timeline) || n != 109 || strings.Join(order, " ") != "claimed planned part_failed interrupted failed" {
		t.Errorf("%d of %d lines in %v", n, len(d.Timeline), order)
	}
	if got := numbers([]int{7, 0, 1, 2, 9, 10}); got != "0-2, 7, 9-10" {
		t.Errorf("numbers() = %s", got)
	}
	var indexes []int
	shown, rest := choose(d.Parts)
	for _, p := range shown {
		indexes = append(indexes, p.Index)
	}
	// Two that failed, and the slowest three.
	if !slices.Equal(indexes, []int{5, 19, 24, 29, 30}) || rest != "19 pending, 10 done" {
		t.Errorf("parts %v are shown, and %s not", indexes, rest)
	}
	from := "2026-03-04T05:06:07Z"
	d.Parts[5].From = &from
	for index, want := range map[int]string{5: "part 5: rows from 2026-03-04T05:06:07Z", 6: "part 6: all rows", 99: "part 99"} {
		if got := failedIn(index, d.Parts); got != want {
			t.Errorf("failedIn(%d) = %q, want %q", index, got, want)
		}
	}
	if shown, rest := choose(d.Parts[:partsShown]); len(shown) != partsShown || rest != "" {
		t.Errorf("of %d parts %d are shown", partsShown, len(shown))
	}
}
