package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

// stuckAfter is when a batch that has done nothing looks as if nobody does it.
const stuckAfter = 10 * time.Second

// pollEvery is how often a batch is asked how far it is.
const pollEvery = time.Second

type rerunFlags struct {
	filter       string
	reason       string
	mode         string
	maxPerSecond int
	dryRun       bool
	detach       bool
	yes          bool
}

func (a *app) opsRerun() *cobra.Command {
	var f rerunFlags
	cmd := &cobra.Command{
		Use: "rerun [JOB]", Short: "Run an ended job again, or all that a filter matches",
		Long: `Runs a job that failed, was canceled or has expired again; or, with --filter, all jobs
that match. The service does the latter by itself, at most --max-per-second at a time, and
goes on if this command is interrupted.

A filter is NAME=VALUE,... of: state, kind, orgId, workspaceId, errorCode, createdAfter,
createdBefore. All of them must match.`,
		Example: `  exportctl ops rerun JOB --reason "index is there now"
  exportctl ops rerun --filter state=failed,errorCode=MISSING_INDEX --reason "index is there now" --dry-run
  exportctl ops rerun --filter fileLost=true --reason "files lost from the bucket"
  exportctl ops rerun --filter state=failed,createdAfter=2026-11-20 --reason "outage is over" --yes`,
		ValidArgsFunction: a.completeJobs(true),
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.filter == "" && len(args) == 0:
				return &usageError{text: "neither a job nor a --filter says what to run again", hint: "see: " + cmd.CommandPath() + " --help"}
			case f.filter != "" && len(args) > 0:
				return &usageError{text: "there is a job and a --filter: give one of them"}
			case f.filter == "":
				return oneArg("job id")(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.filter == "" {
				return a.rerunOne(cmd.Context(), args[0], f)
			}
			return a.rerunAll(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.filter, "filter", "", "NAME=VALUE,...: which jobs")
	flags.StringVar(&f.reason, "reason", "", "why, for the record (required, but for a dry run)")
	flags.StringVar(&f.mode, "mode", "", "resume (default): keep finished parts while the snapshot can be read; fresh: a new snapshot")
	flags.IntVar(&f.maxPerSecond, "max-per-second", 0, "jobs to queue a second, 1 to 100 (default 5); with --filter")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only show what would be run again; with --filter")
	flags.BoolVar(&f.detach, "detach", false, "do not wait until all are queued; with --filter")
	flags.BoolVarP(&f.yes, "yes", "y", false, "do not ask; with --filter")
	choices(cmd, "mode", "resume", "fresh")
	return cmd
}

func (a *app) rerunOne(ctx context.Context, id string, f rerunFlags) error {
	switch {
	case f.dryRun || f.detach || f.maxPerSecond != 0:
		return &usageError{text: "--dry-run, --detach and --max-per-second are for --filter"}
	case f.reason == "":
		return errNoReason()
	}
	c, err := a.service(true, fewAttempts)
	if err != nil {
		return err
	}
	r, err := c.OpsRerunJobWithResponse(ctx, id, client.OpsRerunJobJSONRequestBody{Reason: f.reason, Mode: given(client.RerunMode(f.mode))})
	if err != nil {
		return about(id, err)
	}
	if a.asJSON {
		return a.printJSON(r.Body)
	}
	mode := "with a new snapshot"
	if r.JSON202 != nil && r.JSON202.Mode == client.RerunModeResume {
		mode = "from where it was"
	}
	a.say("Job %s is queued again, %s.", id, mode)
	return nil
}

func errNoReason() error {
	return &usageError{text: "--reason is missing: it goes into the record", hint: `like: --reason "index is there now"`}
}

// parseFilter reads NAME=VALUE,... The service knows the names and values.
func parseFilter(s string) (map[string]string, error) {
	filter := map[string]string{}
	for item := range strings.SplitSeq(s, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok || name == "" || value == "" {
			return nil, &usageError{text: fmt.Sprintf("--filter: %q is not NAME=VALUE", item), hint: "like: --filter state=failed,errorCode=MISSING_INDEX"}
		}
		if _, twice := filter[name]; twice {
			return nil, &usageError{text: "--filter has " + name + " twice"}
		}
		filter[name] = value
	}
	return filter, nil
}

// rerunBody is the request, with the filter as it was given: what is wrong with it is for
// the service to say.
type rerunBody struct {
	Filter       map[string]string `json:"filter"`
	Reason       string            `json:"reason"`
	Mode         string            `json:"mode,omitempty"`
	DryRun       bool              `json:"dryRun,omitempty"`
	MaxPerSecond int               `json:"maxPerSecond,omitempty"`
}

func (a *app) rerunAll(ctx context.Context, f rerunFlags) error {
	filter, err := parseFilter(f.filter)
	if err != nil {
		return err
	}
	if f.reason == "" {
		if !f.dryRun {
			return errNoReason()
		}
		f.reason = "dry run"
	}
	p, c, err := a.dial(true, fewAttempts)
	if err != nil {
		return err
	}
	body := rerunBody{Filter: filter, Reason: f.reason, Mode: f.mode, MaxPerSecond: f.maxPerSecond, DryRun: true}
	if f.dryRun || !f.yes {
		dry, err := a.dryRun(ctx, c, body, f.dryRun)
		if err != nil || f.dryRun {
			return err
		}
		if dry.Eligible == 0 && dry.Complete {
			a.say("Nothing to run again.")
			return nil
		}
		question := fmt.Sprintf("Run %s again, at %s?", plural(int64(dry.Eligible), "job", "jobs"), p.URL)
		if !dry.Complete {
			question = fmt.Sprintf("Run %s jobs and more again, at %s?", thousands(int64(dry.Eligible)), p.URL)
		}
		if err := a.confirm(ctx, false, question); err != nil {
			return err
		}
	}
	body.DryRun = false
	raw, err := a.postRerun(ctx, c, body)
	if err != nil {
		return err
	}
	var batch client.Batch
	if err := json.Unmarshal(raw, &batch); err != nil {
		return fmt.Errorf("read batch: %w", err)
	}
	if !f.detach {
		return a.followBatch(ctx, p, batch.BatchID)
	}
	if a.asJSON {
		return a.printJSON(raw)
	}
	fmt.Fprintln(a.stdout, clean(batch.BatchID, false))
	return nil
}

func (a *app) postRerun(ctx context.Context, c *client.Client, body rerunBody) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	r, err := c.OpsRerunJobsWithBodyWithResponse(ctx, "application/json", bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}

// dryRun shows what would be run again.
func (a *app) dryRun(ctx context.Context, c *client.Client, body rerunBody, result bool) (client.DryRun, error) {
	var dry client.DryRun
	raw, err := a.postRerun(ctx, c, body)
	if err != nil {
		return dry, err
	}
	if err := json.Unmarshal(raw, &dry); err != nil {
		return dry, fmt.Errorf("read dry run: %w", err)
	}
	if a.asJSON {
		if result {
			return dry, a.printJSON(raw)
		}
		return dry, nil
	}
	a.showDryRun(&dry)
	return dry, nil
}

func (a *app) showDryRun(d *client.DryRun) {
	rows := [][]cell{
		{words("matched"), number(int64(d.Matched)), {}},
		{{"would be run again", green}, number(int64(d.Eligible)), {}},
	}
	for _, n := range d.NotEligible {
		some := strings.Join(n.JobIds, " ")
		if n.Count > len(n.JobIds) && len(n.JobIds) > 0 {
			some += " ..."
		}
		rows = append(rows, []cell{{"not: " + n.Reason, yellow}, number(int64(n.Count)), faint(some)})
	}
	a.table([]column{{name: "DRY RUN"}, {name: "JOBS", right: true}, {name: "", flexible: true, extra: true}}, rows)
	if !d.Complete {
		a.say("There are more jobs than a dry run looks at.")
	}
}

// followBatch shows a batch's progress until it has finished.
func (a *app) followBatch(ctx context.Context, p profile, id string) error {
	c, err := a.connect(p, true, manyAttempts)
	if err != nil {
		return err
	}
	bar := a.newProgress()
	defer bar.stop()
	begun := a.now()
	for {
		r, err := c.OpsGetBatchWithResponse(ctx, id)
		switch {
		case err != nil && ctx.Err() != nil:
			return a.leaveBatch(bar, p, id)
		case err != nil:
			return fmt.Errorf("batch %s: %w", id, err)
		case r.JSON200 == nil:
			return errors.New("the answer is not a batch")
		}
		if r.JSON200.State == client.BatchStateFinished {
			bar.stop()
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.showBatchEnd(r.JSON200)
			return nil
		}
		note := plural(r.JSON200.Rerun, "job is", "jobs are") + " queued again so far"
		if r.JSON200.Rerun == 0 && a.now().Sub(begun) > stuckAfter {
			note += "; workers do this: is one alive? See: " + p.command("ops", "stats")
		}
		bar.onNote("Batch "+id, note)
		select {
		case <-ctx.Done():
			return a.leaveBatch(bar, p, id)
		case <-time.After(pollEvery):
		}
	}
}

func (a *app) leaveBatch(bar *progress, p profile, id string) error {
	bar.stop()
	a.say("Interrupted. Batch %s goes on.\nSee how far it is:  %s", id, p.command("ops", "batches", "get", id))
	return interruptedError{}
}

func (a *app) showBatchEnd(b *client.Batch) {
	a.say("Batch %s: %s queued again.", b.BatchID, plural(b.Rerun, "job is", "jobs are"))
	for _, n := range b.NotEligible {
		a.say("  not: %s  %s", n.Reason, thousands(int64(n.Count)))
	}
}

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
			var rows [][]cell
			for _, b := range r.JSON200.Batches {
				rows = append(rows, []cell{
					words(b.BatchID), stateCell(b.State), instant(&b.CreatedAt), number(b.Rerun), number(notEligible(b)), words(b.Reason), words(batchFilter(b.Filter)), words(b.Actor),
				})
			}
			if len(rows) == 0 {
				a.say("No batches.")
				return nil
			}
			a.table([]column{
				{name: "BATCH"}, {name: "STATE"}, {name: "CREATED (UTC)"}, {name: "RERUN", right: true}, {name: "NOT", right: true}, {name: "REASON", flexible: true}, {name: "FILTER", flexible: true}, {name: "BY", flexible: true, extra: true},
			}, rows)
			return nil
		},
	}
}

func notEligible(b client.Batch) int64 {
	var n int64
	for _, r := range b.NotEligible {
		n += int64(r.Count)
	}
	return n
}

// batchFilter writes a filter as --filter takes it.
func batchFilter(f client.BatchFilter) string {
	var items []string
	add := func(name string, c cell) {
		if c.text != "" {
			items = append(items, name+"="+c.text)
		}
	}
	add("state", optional(f.State))
	add("kind", optional(f.Kind))
	add("orgId", optional(f.OrgID))
	add("workspaceId", optional(f.WorkspaceID))
	add("errorCode", optional(f.ErrorCode))
	add("createdAfter", optional(f.CreatedAfter))
	add("createdBefore", optional(f.CreatedBefore))
	return strings.Join(items, ",")
}

func (a *app) opsBatchesGet() *cobra.Command {
	return &cobra.Command{
		Use: "get BATCH", Short: "Show how far a batch is", Args: oneArg("batch id"),
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
			a.list([][2]cell{
				{words("batch"), words(b.BatchID)}, {words("state"), stateCell(b.State)}, {words("filter"), words(batchFilter(b.Filter))}, {words("mode"), words(string(b.Mode))},
				{words("reason"), words(b.Reason)}, {words("by"), words(b.Actor)}, {words("at most"), words(plural(int64(b.MaxPerSecond), "job", "jobs") + " a second")},
				{words("created"), instant(&b.CreatedAt)}, {words("finished"), instant(b.FinishedAt)}, {words("queued again"), number(b.Rerun)},
			})
			for _, n := range b.NotEligible {
				fmt.Fprintf(a.stdout, "not: %s  %s\n", clean(n.Reason, false), thousands(int64(n.Count)))
			}
			return nil
		},
	}
}
