package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) opsCauses() *cobra.Command {
	var w windowFlags
	var page pageFlags
	cmd := &cobra.Command{
		Use: "causes [CAUSE]", Short: "List why jobs failed and callbacks were given up, or show one cause whole", Args: atMostOne("cause"),
		Long: `Jobs of one cause are mended by one act: the same index, permission, bucket. Callbacks of
one cause went to the same receiver, which gave the same answer.`,
		Example: `  exportctl ops causes --since 12h
  exportctl ops causes MISSING_INDEX-0a1b2c3d4e5f
  exportctl ops causes rerun MISSING_INDEX-0a1b2c3d4e5f --reason "the index is there now"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return a.showCause(cmd.Context(), c, args[0])
			}
			if err := page.check(); err != nil {
				return err
			}
			l, err := causesOf(cmd.Context(), c, w, page)
			if err != nil {
				return err
			}
			return a.showCauses(l)
		},
	}
	w.add(cmd, "24h")
	page.addTokens(cmd, 50)
	cmd.AddCommand(a.opsCausesRerun(), a.opsCausesProbe())
	return cmd
}

func causesOf(ctx context.Context, c *client.Client, w windowFlags, page pageFlags) (itemList, error) {
	return gather(page, "causes", func(size int, token string) ([]byte, error) {
		r, err := c.OpsListCausesWithResponse(ctx, &client.OpsListCausesParams{
			Since: given(w.since), Until: given(w.until), OrgID: given(w.org), Kind: given(client.Kind(w.kind)), PageSize: &size, PageToken: given(token),
		})
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
}

var causeColumns = []column{
	{name: "CAUSE"}, {name: "STATE"}, {name: "CASES", right: true}, {name: "LAST (UTC)"}, {name: "ORGS", flexible: true, extra: true}, {name: "WHAT", whole: true},
}

func causeRow(c *client.Cause) []cell {
	return []cell{words(c.CauseID), stateCell(c.State), words(casesText(c)), instant(&c.LastAt), words(orgsText(c.Orgs, c.OrgsComplete)), words(c.What)}
}

func (a *app) showCauses(l itemList) error {
	if err := showItems(a, l, itemWords{"cause", "No causes: nothing failed."}, causeColumns, causeRow); err != nil || a.asJSON || len(l.items) == 0 {
		return err
	}
	a.say("How to mend one:   exportctl ops causes CAUSE\nOnce it is mended: exportctl ops causes rerun CAUSE --reason ...")
	return nil
}

func casesText(c *client.Cause) string {
	if c.Of == client.CauseOfCallbacks {
		return plural(c.Count, "callback", "callbacks")
	}
	return plural(c.Count, "job", "jobs")
}

// caseText names a job, and in which part it failed.
func caseText(jobID string, part *int) string {
	if part == nil {
		return jobID
	}
	return fmt.Sprintf("%s, part %d", jobID, *part)
}

func orgsText(orgs []string, complete bool) string {
	s := strings.Join(orgs, ",")
	if !complete {
		s += ",..."
	}
	return s
}

func (a *app) showCause(ctx context.Context, c *client.Client, id string) error {
	r, err := c.OpsGetCauseWithResponse(ctx, id)
	if err != nil {
		return fmt.Errorf("cause %s: %w", id, err)
	}
	if a.asJSON {
		return a.printJSON(r.Body)
	}
	d := r.JSON200
	v := &d.Cause
	facts := [][2]cell{
		{words("cause"), words(v.CauseID)}, {words("state"), stateCell(v.State)}, {words("what"), words(v.What)}, {words("cases"), words(casesText(v))}, {words("orgs"), words(orgsText(v.Orgs, v.OrgsComplete))},
		{words("first"), instant(&v.FirstAt)}, {words("last"), instant(&v.LastAt)}, {words("error"), {v.Message, red}},
		{words("remedy"), {optional(v.Remedy).text, yellow}}, {words("link"), optional(v.Link)}, {words("example"), words(caseText(optional(v.ExampleJobID).text, v.ExamplePart))},
	}
	if v.Probe != nil {
		facts = append(facts, [2]cell{words("last look"), words(instant(&v.Probe.At).text + " " + strings.ReplaceAll(string(v.Probe.Verdict), "_", " ") + ": " + v.Probe.Says)})
	}
	a.list(facts)
	if len(d.Latest) > 0 {
		a.heading("Latest")
		var rows [][]cell
		for _, one := range d.Latest {
			rows = append(rows, []cell{words(caseText(one.JobID, one.Part)), instant(&one.At), words(one.OrgID)})
		}
		a.table([]column{{name: "JOB"}, {name: "TIME (UTC)"}, {name: "ORG", flexible: true}}, rows)
	}
	if len(d.Batches) > 0 {
		a.heading("Batches")
		a.table(batchColumns, batchRows(d.Batches))
	}
	if !d.BatchesComplete {
		a.say("Only the latest 50 batches of all causes were looked through; older ones are in: exportctl ops audit")
	}
	return nil
}

// causeBody is the request that begins the cases of a cause again.
type causeBody struct {
	Reason       string `json:"reason"`
	OrgID        string `json:"orgId,omitempty"`
	Kind         string `json:"kind,omitempty"`
	Mode         string `json:"mode,omitempty"`
	DryRun       bool   `json:"dryRun,omitempty"`
	MaxPerSecond int    `json:"maxPerSecond,omitempty"`
}

func (a *app) opsCausesRerun() *cobra.Command {
	var f rerunFlags
	var org, kind string
	cmd := &cobra.Command{
		Use: "rerun CAUSE", Short: "Begin again what a cause has ended", Args: oneArg("cause"),
		Long: `Runs the jobs of a cause again: one first, then ten, then the rest, each when those before
have ended. It stops where one fails by the same cause again. Callbacks of a cause are sent
again in the same way, each when the first attempts at those before have ended; it stops
where one has failed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.reason == "" {
				if !f.dryRun {
					return errNoReason()
				}
				f.reason = "dry run"
			}
			return a.rerunCause(cmd.Context(), args[0], causeBody{Reason: f.reason, OrgID: org, Kind: kind, Mode: f.mode, MaxPerSecond: f.maxPerSecond}, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&org, "org", "", "only of this org")
	flags.StringVar(&kind, "kind", "", "only jobs of this kind, like vip-users")
	flags.StringVar(&f.reason, "reason", "", "why, for the record (required, but for a dry run)")
	flags.StringVar(&f.mode, "mode", "", "of jobs: resume (default): keep finished parts while the snapshot can be read; fresh: a new snapshot")
	flags.IntVar(&f.maxPerSecond, "max-per-second", 0, "jobs or callbacks a second, 1 to 100 (default 5)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only show what would be begun again")
	flags.BoolVar(&f.detach, "detach", false, "do not wait for the end")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	choices(cmd, "mode", "resume", "fresh")
	return cmd
}

func postCause(ctx context.Context, c *client.Client, id string, body causeBody) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	r, err := c.OpsRerunCauseWithBodyWithResponse(ctx, id, "application/json", bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("cause %s: %w", id, err)
	}
	return r.Body, nil
}

// rerunCause shows what would be begun again, asks, and has it done.
func (a *app) rerunCause(ctx context.Context, id string, body causeBody, f rerunFlags) error {
	p, c, err := a.dial(true, fewAttempts)
	if err != nil {
		return err
	}
	is := ofJobs
	if strings.HasPrefix(id, "CALLBACK_") {
		is = ofCallbacks
	}
	return a.rerunMany(ctx, p, f, is, func(dry bool) ([]byte, error) {
		body.DryRun = dry
		return postCause(ctx, c, id, body)
	})
}

func (a *app) opsCausesProbe() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "probe CAUSE", Short: "Look whether a cause is mended", Args: oneArg("cause"),
		Long: `Tries what failed, as far as that changes nothing: the query of the latest case, the bucket,
or a signed test event to the receiver.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.OpsProbeCauseWithResponse(cmd.Context(), args[0], client.OpsProbeCauseJSONRequestBody{Reason: reason})
			if err != nil {
				return fmt.Errorf("cause %s: %w", args[0], err)
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			if p := r.JSON200.Cause.Probe; p != nil {
				a.say("%s: %s.", strings.ReplaceAll(string(p.Verdict), "_", " "), p.Says)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "is it mended", "why, for the record")
	return cmd
}
