package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

// evening is when a night begins, and nightOver until when it is told of.
const (
	evening   = 18
	nightOver = 12
)

// nightBegan is since when tonight is: yesterday evening in the morning, today's in the evening, else 12 h
// ago.
func nightBegan(now time.Time) time.Time {
	at := time.Date(now.Year(), now.Month(), now.Day(), evening, 0, 0, 0, now.Location())
	switch {
	case now.Hour() < nightOver:
		return at.AddDate(0, 0, -1)
	case now.Hour() >= evening && now.After(at):
		return at
	}
	return now.Add(-12 * time.Hour)
}

func (a *app) opsTonight() *cobra.Command {
	return &cobra.Command{
		Use: "tonight", Short: "Show on one screen how the night went: what ended, causes, callbacks, queues", Args: noArgs,
		Long: `Shows what happened since 18:00 of yesterday, as this machine's clock has it; in the
afternoon, in the last 12 hours.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			w := windowFlags{since: nightBegan(a.now().Local()).UTC().Format(time.RFC3339)}
			stats, err := c.OpsStatsWithResponse(cmd.Context(), w.params())
			if err != nil {
				return err
			}
			causes, err := causesOf(cmd.Context(), c, w, pageFlags{limit: 20})
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printValue(map[string]any{"stats": stats.JSON200, "causes": causes.items})
			}
			a.showNight(stats.JSON200)
			if len(causes.items) > 0 {
				a.heading("Causes")
			}
			return a.showCauses(causes)
		},
	}
}

// showNight prints what ended, and how the queues are, in a few lines.
func (a *app) showNight(s *client.Stats) {
	w := s.Window
	if w == nil {
		return
	}
	p := a.painter(a.stdoutTerminal)
	failed := plain
	if w.Ends["failed"] > 0 {
		failed = red
	}
	fmt.Fprintf(a.stdout, "Since %s UTC: %s succeeded, %s, %s canceled; %s rows; %s slow.\n", instant(&w.Since).text, thousands(w.Ends["succeeded"]),
		p.paint(failed, thousands(w.Ends["failed"])+" failed"), thousands(w.Ends["canceled"]), thousands(w.Rows), thousands(w.Slow))
	given := w.Callbacks["exhausted"] + w.Callbacks["blocked"] + w.Callbacks["gone"] + w.Callbacks["suspended"]
	lost := plain
	if given > 0 {
		lost = red
	}
	fmt.Fprintf(a.stdout, "Callbacks: %s delivered, %s, %s pending", thousands(w.Callbacks["delivered"]), p.paint(lost, thousands(given)+" given up"), thousands(s.Callbacks.Pending))
	if age := s.Callbacks.OldestAgeSeconds; age != nil {
		fmt.Fprintf(a.stdout, ", the oldest for %s", seconds(*age))
	}
	fmt.Fprint(a.stdout, ".\n")
	fmt.Fprintf(a.stdout, "Now: %s queued, %s running", thousands(s.States["queued"]), thousands(s.States["running"]))
	if age := s.Queue.OldestAgeSeconds; age != nil {
		fmt.Fprintf(a.stdout, ", the oldest queued for %s", seconds(*age))
	}
	fmt.Fprintf(a.stdout, "; %s alive.\n", plural(int64(s.WorkersAlive), "worker is", "workers are"))
	for _, name := range slices.Sorted(maps.Keys(s.Queues)) {
		if q := s.Queues[name]; q.Paused {
			fmt.Fprintf(a.stdout, "%s since %s by %s: %s\n", p.paint(yellow, "Queue "+clean(name, false)+" is paused"), instant(q.At).text, clean(optional(q.Actor).text, false), clean(optional(q.Reason).text, false))
		}
	}
	a.showTop(w.TopOrgs)
}
