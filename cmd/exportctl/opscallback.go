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
Those of which an attempt is under way are left alone.

A filter is NAME=VALUE,... of: state, orgId, origin, cause, createdAfter, createdBefore. All
of them must match. The state is required: pending, exhausted, suspended, blocked, gone or
delivered.`,
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

// redeliverBody is the request, with the filter as it was given: what is wrong with it is for the service to
// say.
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
	return a.redeliverPages(ctx, p, f.dryRun, f.yes, func(token string, dry bool) (client.Redelivered, error) {
		reason := f.reason
		if dry && reason == "" {
			reason = "dry run"
		}
		return postRedeliver(ctx, c, redeliverBody{Filter: filter, Reason: reason, DryRun: dry, PageToken: token})
	})
}

// redeliverPages counts, asks, and has post send again page by page.
func (a *app) redeliverPages(ctx context.Context, p profile, dryRun, yes bool, post func(token string, dry bool) (client.Redelivered, error)) error {
	dry, err := post("", true)
	if err != nil {
		return err
	}
	if dryRun {
		return a.showRedelivered(dry)
	}
	if dry.Matched == 0 {
		return a.showRedelivered(client.Redelivered{Complete: dry.Complete})
	}
	question := fmt.Sprintf("Send %s again, at %s?", plural(int64(dry.Matched), "callback", "callbacks"), p.URL)
	if err := a.confirm(ctx, yes, question); err != nil {
		return err
	}
	var all client.Redelivered
	for token := ""; !all.Complete; {
		got, err := post(token, false)
		if err != nil {
			return fmt.Errorf("after %s: %w", plural(int64(all.Redelivered), "callback", "callbacks"), err)
		}
		all.Matched, all.Redelivered, all.Complete = all.Matched+got.Matched, all.Redelivered+got.Redelivered, got.Complete
		if got.NextPageToken == nil {
			break
		}
		token = *got.NextPageToken
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

// opsCallbacks are the commands about callbacks of all jobs.
func (a *app) opsCallbacks() *cobra.Command {
	cmd := parent("callbacks", "Callbacks of all jobs", a.opsCallbacksList(), a.opsRedeliver())
	cmd.Aliases = []string{"callback"}
	return cmd
}

func (a *app) opsCallbacksList() *cobra.Command {
	var page pageFlags
	var state, org, origin, cause, after, before string
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List callbacks, newest first", Args: noArgs,
		Example: `  exportctl ops callbacks list --state exhausted --created-after 12h`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := page.check(); err != nil {
				return err
			}
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			l, err := gather(page, "callbacks", func(size int, token string) ([]byte, error) {
				r, err := c.OpsListCallbacksWithResponse(cmd.Context(), &client.OpsListCallbacksParams{
					State: given(client.OpsListCallbacksParamsState(state)), OrgID: given(org), Origin: given(origin), Cause: given(cause),
					CreatedAfter: given(after), CreatedBefore: given(before), PageSize: &size, PageToken: given(token),
				})
				if err != nil {
					return nil, err
				}
				return r.Body, nil
			})
			if err != nil {
				return err
			}
			return showItems(a, l, itemWords{"callback", "No callbacks."}, callbackColumns, callbackRow)
		},
	}
	page.addTokens(cmd, 20)
	flags := cmd.Flags()
	flags.StringVar(&state, "state", "", "only callbacks in this state")
	flags.StringVar(&org, "org", "", "only callbacks of this org")
	flags.StringVar(&origin, "origin", "", "only callbacks to this receiver: scheme, host and port")
	flags.StringVar(&cause, "cause", "", "only callbacks that were given up by this cause, as ops causes lists them")
	flags.StringVar(&after, "created-after", "", "only of exports that ended later: how long ago, like 12h, or an ISO date or date-time")
	flags.StringVar(&before, "created-before", "", "as --created-after: only of exports that ended earlier")
	choices(cmd, "state", "pending", "delivered", "exhausted", "blocked", "gone", "suspended", "dropped", "damaged")
	return cmd
}

var callbackColumns = []column{
	{name: "JOB"}, {name: "STATE"}, {name: "ENDED (UTC)"}, {name: "ATTEMPTS", right: true}, {name: "LAST"}, {name: "ORG", flexible: true, extra: true}, {name: "NEXT ATTEMPT", extra: true}, {name: "URL", whole: true},
}

func callbackRow(cb *client.OpsCallback) []cell {
	last := cell{}
	if n := len(cb.Delivery.Tries); n > 0 {
		last = words(cb.Delivery.Tries[n-1].Class)
		if status := cb.Delivery.Tries[n-1].Status; status != nil {
			last = words(fmt.Sprint("answer ", *status))
		}
	}
	return []cell{words(cb.JobID), stateCell(cb.Delivery.State), instant(&cb.Delivery.CreatedAt), number(int64(cb.Delivery.Attempts)), last, words(cb.OrgID), instant(cb.Delivery.NextAttemptAt), words(cb.Delivery.URL)}
}
