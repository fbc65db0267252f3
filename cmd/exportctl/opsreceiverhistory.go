package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) opsReceiverHistory() *cobra.Command {
	var w windowFlags
	cmd := &cobra.Command{
		Use: "receivers [ORIGIN]", Short: "Show how receivers of callbacks have answered, those that fail first, or one of them over time", Args: atMostOne("origin (scheme, host and port)"),
		Long: `Of callbacks of exports that ended within the window. OVER TIME has a character for each
stretch of it: . nothing was sent, + all attempts were answered, x none, ~ some.`,
		Example: `  exportctl ops receivers --since 12h
  exportctl ops receivers https://hooks.example.com --since 7d
  exportctl ops receivers list`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			params := &client.OpsReceiverHistoryParams{Since: given(w.since), Until: given(w.until), OrgID: given(w.org)}
			if len(args) == 1 {
				params.Origin = &args[0]
			}
			r, err := c.OpsReceiverHistoryWithResponse(cmd.Context(), params)
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			if len(args) == 1 && len(r.JSON200.Receivers) == 1 {
				a.showReceiver(&r.JSON200.Receivers[0])
			} else {
				a.showHistories(r.JSON200.Receivers)
			}
			if !r.JSON200.Complete {
				a.say("There are more callbacks than were looked at: counts are of the newest.")
			}
			return nil
		},
	}
	w.addTimes(cmd, "24h")
	cmd.Flags().StringVar(&w.org, "org", "", "only callbacks of this org")
	return cmd
}

func (a *app) showHistories(receivers []client.ReceiverHistory) {
	if len(receivers) == 0 {
		a.say("No callbacks.")
		return
	}
	rows := make([][]cell, len(receivers))
	for i := range receivers {
		r := &receivers[i]
		rows[i] = []cell{
			words(r.Origin), number(int64(r.Callbacks)), number(int64(r.Attempts)), number(int64(r.Pending)), failures(r.Dead), {instant(r.FailingSince).text, red}, lastAnswer(r), words(overTime(r)), words(orgsText(r.Orgs, r.OrgsComplete)),
		}
	}
	a.table([]column{
		{name: "RECEIVER", whole: true}, {name: "CALLBACKS", right: true}, {name: "ATTEMPTS", right: true}, {name: "PENDING", right: true}, {name: "GIVEN UP", right: true}, {name: "FAILING SINCE (UTC)"},
		{name: "LAST"}, {name: "OVER TIME", extra: true}, {name: "ORGS", flexible: true, extra: true},
	}, rows)
}

// failures is a number in red, unless there are none.
func failures(n int) cell {
	c := number(int64(n))
	if n > 0 {
		c.color = red
	}
	return c
}

func lastAnswer(r *client.ReceiverHistory) cell {
	switch {
	case r.Last == nil:
		return cell{}
	case r.Last.Status != nil:
		return words(fmt.Sprint("answer ", *r.Last.Status))
	}
	return words(r.Last.Class)
}

// overTime draws how attempts went, a character for each stretch.
func overTime(r *client.ReceiverHistory) string {
	var b strings.Builder
	for _, s := range r.Buckets {
		switch {
		case s.Succeeded == 0 && s.Failed == 0:
			b.WriteByte('.')
		case s.Failed == 0:
			b.WriteByte('+')
		case s.Succeeded == 0:
			b.WriteByte('x')
		default:
			b.WriteByte('~')
		}
	}
	return b.String()
}

// showReceiver prints one with a line for each stretch in which something was sent.
func (a *app) showReceiver(r *client.ReceiverHistory) {
	facts := [][2]cell{
		{words("receiver"), words(r.Origin)}, {words("orgs"), words(orgsText(r.Orgs, r.OrgsComplete))}, {words("callbacks"), number(int64(r.Callbacks))}, {words("attempts"), number(int64(r.Attempts))},
		{words("pending"), number(int64(r.Pending))}, {words("given up"), number(int64(r.Dead))}, {words("failing since"), {instant(r.FailingSince).text, red}}, {words("last"), lastAnswer(r)},
	}
	if r.Last != nil {
		facts = append(facts, [2]cell{words("at"), instant(&r.Last.At)}, [2]cell{words("it said"), optional(r.Last.Response)})
	}
	a.list(facts)
	var rows [][]cell
	for _, s := range slices.Backward(r.Buckets) {
		if s.Succeeded+s.Failed > 0 {
			rows = append(rows, []cell{instant(&s.At), number(int64(s.Succeeded)), failures(s.Failed)})
		}
	}
	if len(rows) > 0 {
		a.heading("Attempts")
		a.table([]column{{name: "FROM (UTC)"}, {name: "SUCCEEDED", right: true}, {name: "FAILED", right: true}}, rows)
	}
}
