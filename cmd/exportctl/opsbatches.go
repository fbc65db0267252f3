package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) opsBatchesList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the latest batches", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.OpsListBatchesWithResponse(cmd.Context())
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			rows := batchRows(r.JSON200.Batches)
			if len(rows) == 0 {
				a.say("No batches.")
				return nil
			}
			a.table(batchColumns, rows)
			return nil
		},
	}
}

var batchColumns = []column{
	{name: "BATCH"}, {name: "STATE"}, {name: "CREATED (UTC)"}, {name: "AGAIN", right: true}, {name: "NOT", right: true}, {name: "REASON", flexible: true}, {name: "FILTER", flexible: true}, {name: "BY", flexible: true, extra: true},
}

func batchRows(batches []client.Batch) (rows [][]cell) {
	for i := range batches {
		b := &batches[i]
		rows = append(rows, []cell{
			words(b.BatchID), stateCell(b.State), instant(&b.CreatedAt), number(b.Rerun), number(notEligible(*b)), words(b.Reason), words(batchFilter(b)), words(b.Actor),
		})
	}
	return rows
}

// batchWords are what a batch is of, and what it does to it.
type batchWords struct{ one, many, verb, does, again string }

var (
	ofJobs      = batchWords{"job", "jobs", "Run", "run again", "queued again"}
	ofCallbacks = batchWords{"callback", "callbacks", "Send", "sent again", "sent again"}
)

func itemsOf(b *client.Batch) batchWords {
	if b.Of == client.BatchOfCallbacks {
		return ofCallbacks
	}
	return ofJobs
}

// have says how many are begun again, as "1 job is queued again".
func (w batchWords) have(n int64) string {
	return plural(n, w.one+" is", w.many+" are") + " " + w.again
}

func notEligible(b client.Batch) int64 {
	var n int64
	for _, r := range b.NotEligible {
		n += int64(r.Count)
	}
	return n
}

// batchFilter writes a filter as --filter takes it.
func batchFilter(b *client.Batch) string {
	if b.Jobs > 0 {
		return plural(int64(b.Jobs), "job", "jobs") + " by id"
	}
	var items []string
	add := func(name string, c cell) {
		if c.text != "" {
			items = append(items, name+"="+c.text)
		}
	}
	if cb := b.Callbacks; cb != nil {
		add("state", words(string(cb.Filter.State)))
		add("orgId", optional(cb.Filter.OrgID))
		add("origin", optional(cb.Filter.Origin))
		add("cause", optional(cb.Filter.Cause))
		add("createdAfter", instant(cb.Filter.CreatedAfter))
		add("createdBefore", instant(cb.Filter.CreatedBefore))
		return "callbacks " + strings.Join(items, ",")
	}
	f := b.Filter
	if f == nil {
		return ""
	}
	add("state", optional(f.State))
	add("kind", optional(f.Kind))
	add("orgId", optional(f.OrgID))
	add("workspaceId", optional(f.WorkspaceID))
	if f.Cause == nil { // it begins with the code
		add("errorCode", optional(f.ErrorCode))
	}
	add("cause", optional(f.Cause))
	add("createdAfter", optional(f.CreatedAfter))
	add("createdBefore", optional(f.CreatedBefore))
	return strings.Join(items, ",")
}

func (a *app) opsBatchesGet() *cobra.Command {
	return &cobra.Command{
		Use: "get BATCH", Aliases: []string{"show"}, Short: "Show how far a batch is", Args: oneArg("batch id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.OpsGetBatchWithResponse(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("batch %s: %w", args[0], err)
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			b := r.JSON200
			is := itemsOf(b)
			facts := [][2]cell{
				{words("batch"), words(b.BatchID)}, {words("state"), stateCell(b.State)}, {words("filter"), words(batchFilter(b))}, {words("mode"), optional(b.Mode)},
				{words("reason"), words(b.Reason)}, {words("by"), words(b.Actor)}, {words("at most"), words(plural(int64(b.MaxPerSecond), is.one, is.many) + " a second")},
				{words("created"), instant(&b.CreatedAt)}, {words("finished"), instant(b.FinishedAt)}, {words("paused"), instant(b.PausedAt)}, {words("stopped"), {optional(b.Stopped).text, red}}, {words(is.again), number(b.Rerun)},
			}
			if cb := b.Callbacks; cb != nil {
				facts = append(facts, [2]cell{words("delivered"), number(cb.Delivered)}, [2]cell{words("under way"), number(cb.UnderWay)}, [2]cell{words("given up"), number(cb.GivenUp)})
			}
			a.list(facts)
			for _, n := range b.NotEligible {
				fmt.Fprintf(a.stdout, "not: %s  %s\n", clean(n.Reason, false), thousands(int64(n.Count)))
			}
			return nil
		},
	}
}

// opsBatchesChange makes the command that has a batch stand still, go on, or end.
func (a *app) opsBatchesChange(verb, short, done string) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: verb + " BATCH", Short: short, Args: oneArg("batch id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			body, err := changeBatch(cmd.Context(), c, verb, args[0], reason)
			if err != nil {
				return fmt.Errorf("batch %s: %w", args[0], err)
			}
			if a.asJSON {
				return a.printJSON(body)
			}
			a.say("Batch %s %s.", args[0], done)
			return nil
		},
	}
	needReason(cmd, &reason)
	return cmd
}

func changeBatch(ctx context.Context, c *client.Client, verb, id, reason string) ([]byte, error) {
	switch verb {
	case "pause":
		r, err := c.OpsPauseBatchWithResponse(ctx, id, client.OpsPauseBatchJSONRequestBody{Reason: reason})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	case "resume":
		r, err := c.OpsResumeBatchWithResponse(ctx, id, client.OpsResumeBatchJSONRequestBody{Reason: reason})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	}
	r, err := c.OpsCancelBatchWithResponse(ctx, id, client.OpsCancelBatchJSONRequestBody{Reason: reason})
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}
