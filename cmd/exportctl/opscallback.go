package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

type redeliverFlags struct {
	filter, reason string
	dryRun, yes    bool
}

func (a *app) opsRedeliver() *cobra.Command {
	var f redeliverFlags
	cmd := &cobra.Command{
		Use: "redeliver [JOB]", Short: "Send the callback of an ended job again, or all that a filter matches", ValidArgsFunction: a.completeJobs(true),
		Long: `Sends the callback of an ended job again; or, with --filter, all callbacks that match.
Those that are under way are left alone.

A filter is NAME=VALUE,... of: state, orgId, origin, createdAfter, createdBefore. All of
them must match. The state is required: exhausted, suspended, blocked, gone or delivered.`,
		Example: `  exportctl ops callback redeliver JOB --reason "they lost it"
  exportctl ops callback redeliver --filter state=exhausted,origin=https://hooks.example.com --dry-run
  exportctl ops callback redeliver --filter state=exhausted --reason "their outage is over" --yes`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.filter == "" && len(args) == 0:
				return &usageError{text: "neither a job nor a --filter says what to send again", hint: "see: " + cmd.CommandPath() + " --help"}
			case f.filter != "" && len(args) > 0:
				return &usageError{text: "there is a job and a --filter: give one of them"}
			case f.filter != "":
				return nil
			case f.dryRun:
				return &usageError{text: "--dry-run is for --filter"}
			}
			return oneArg("job id")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.reason == "" && !f.dryRun {
				return errNoReason()
			}
			if f.filter == "" {
				return a.redeliverOne(cmd.Context(), args[0], f.reason)
			}
			return a.redeliverAll(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.filter, "filter", "", "NAME=VALUE,...: which callbacks")
	flags.StringVar(&f.reason, "reason", "", "why, for the record (required, but for a dry run)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only count what would be sent again; with --filter")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask; with --filter")
	return cmd
}

func (a *app) redeliverOne(ctx context.Context, id, reason string) error {
	c, err := a.service(true, fewAttempts)
	if err != nil {
		return err
	}
	r, err := c.OpsRedeliverCallbackWithResponse(ctx, id, client.OpsRedeliverCallbackJSONRequestBody{Reason: reason})
	if err != nil {
		return about(id, err)
	}
	if a.asJSON {
		return a.printJSON(r.Body)
	}
	a.say("The callback of job %s is on its way again.", id)
	return nil
}

// redeliverBody is the request, with the filter as it was given: what is wrong with it is
// for the service to say.
type redeliverBody struct {
	Filter map[string]string `json:"filter"`
	Reason string            `json:"reason"`
	DryRun bool              `json:"dryRun,omitempty"`
	// PageToken goes on behind what was sent already, which may match again by now.
	PageToken string `json:"pageToken,omitempty"`
}

// redeliverAll counts, asks and sends again, a few hundred a request.
func (a *app) redeliverAll(ctx context.Context, f redeliverFlags) error {
	filter, err := parseFilter(f.filter)
	if err != nil {
		return err
	}
	p, c, err := a.dial(true, fewAttempts)
	if err != nil {
		return err
	}
	dry, err := postRedeliver(ctx, c, redeliverBody{Filter: filter, Reason: "dry run", DryRun: true})
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.showRedelivered(dry)
	}
	if dry.Matched == 0 {
		return a.showRedelivered(client.Redelivered{Complete: dry.Complete})
	}
	question := fmt.Sprintf("Send %s again, at %s?", plural(int64(dry.Matched), "callback", "callbacks"), p.URL)
	if err := a.confirm(ctx, f.yes, question); err != nil {
		return err
	}
	var all client.Redelivered
	for body := (redeliverBody{Filter: filter, Reason: f.reason}); !all.Complete; {
		got, err := postRedeliver(ctx, c, body)
		if err != nil {
			return fmt.Errorf("after %s: %w", plural(int64(all.Redelivered), "callback", "callbacks"), err)
		}
		all.Matched, all.Redelivered, all.Complete = all.Matched+got.Matched, all.Redelivered+got.Redelivered, got.Complete
		if got.NextPageToken == nil {
			break
		}
		body.PageToken = *got.NextPageToken
	}
	return a.showRedelivered(all)
}

func postRedeliver(ctx context.Context, c *client.Client, body redeliverBody) (client.Redelivered, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return client.Redelivered{}, fmt.Errorf("encode request: %w", err)
	}
	r, err := c.OpsRedeliverCallbacksWithBodyWithResponse(ctx, "application/json", bytes.NewReader(raw))
	if err != nil {
		return client.Redelivered{}, err
	}
	return *r.JSON200, nil
}

func (a *app) showRedelivered(d client.Redelivered) error {
	if a.asJSON {
		return a.printValue(d)
	}
	more := ""
	if !d.Complete {
		more = " There are more: do it again."
		if d.DryRun {
			more = " There are more than a dry run looks at."
		}
	}
	switch {
	case d.DryRun:
		a.say("Dry run: %s would be sent again.%s", plural(int64(d.Matched), "callback", "callbacks"), more)
	case d.Matched == 0:
		a.say("No callback matches.%s", more)
	default:
		a.say("%s again.%s", plural(int64(d.Redelivered), "callback is on its way", "callbacks are on their way"), more)
	}
	return nil
}
