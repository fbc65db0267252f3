package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"exportd/api/client"
	"exportd/jobs"
)

// stuckAfter is when a batch that has done nothing looks as if nobody does it.
const stuckAfter = 10 * time.Second

// pollEvery is how often a batch is asked how far it is.
const pollEvery = time.Second

type rerunFlags struct {
	filter       string
	idsFrom      string
	set          []string
	canary       bool
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

With --set, a job is run again with other parameters, as a new job; the service validates
them as a request for an export.

A filter is NAME=VALUE,... of the names of exportctl ops search, and fileLost=true. All of
them must match. q=TERMS has them as ops search takes them.`,
		Example: `  exportctl ops rerun JOB --reason "index is there now"
  exportctl ops rerun JOB --set from=2026-11-01 --set label= --reason "too many rows"
  exportctl ops rerun --filter state=failed,errorCode=MISSING_INDEX --reason "index is there now" --dry-run
  exportctl ops rerun --filter fileLost=true --reason "files lost from the bucket"
  exportctl ops rerun --filter state=failed,createdAfter=2026-11-20 --reason "outage is over" --yes`,
		ValidArgsFunction: a.completeJobs(true),
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(f.set) > 0 && (f.idsFrom != "" || f.filter != ""):
				return &usageError{text: "--set is for one job"}
			case f.idsFrom != "" && (f.filter != "" || len(args) > 0):
				return &usageError{text: "--ids-from says what to run again: give no job and no --filter"}
			case f.idsFrom != "":
				return nil
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
			if f.filter == "" && f.idsFrom == "" {
				return a.rerunOne(cmd.Context(), args[0], f)
			}
			return a.rerunAll(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.filter, "filter", "", "NAME=VALUE,...: which jobs")
	flags.StringVar(&f.idsFrom, "ids-from", "", "file of job ids, - is standard input: which jobs")
	flags.BoolVar(&f.canary, "canary", false, "one first, then ten, then the rest, each when those before have ended well; with --filter or --ids-from")
	flags.StringArrayVar(&f.set, "set", nil, "NAME=VALUE: another value of a parameter, as a new job; NAME= is without it; may be repeated")
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
	case f.dryRun || f.detach || f.maxPerSecond != 0 || f.canary:
		return &usageError{text: "--dry-run, --detach, --canary and --max-per-second are for --filter and --ids-from"}
	case f.reason == "":
		return errNoReason()
	}
	params, err := parseSet(f.set)
	if err != nil {
		return err
	}
	c, err := a.service(true, fewAttempts)
	if err != nil {
		return err
	}
	r, err := c.OpsRerunJobWithResponse(ctx, id, client.OpsRerunJobJSONRequestBody{Reason: f.reason, Mode: given(client.RerunMode(f.mode)), Params: params})
	if err != nil {
		return about(id, err)
	}
	if a.asJSON {
		return a.printJSON(r.Body)
	}
	if r.JSON202 != nil && r.JSON202.Job.JobID != id {
		a.say("Job %s is run again as job %s.", id, r.JSON202.Job.JobID)
		return nil
	}
	mode := "with a new snapshot"
	if r.JSON202 != nil && r.JSON202.Mode == client.RerunModeResume {
		mode = "from where it was"
	}
	a.say("Job %s is queued again, %s.", id, mode)
	return nil
}

// parseSet reads NAME=VALUE of each --set; nil is NAME=, for a parameter to be left out. What is wrong with
// them is for the service to say.
func parseSet(items []string) (map[string]any, error) {
	var set map[string]any
	for _, item := range items {
		name, value, ok := strings.Cut(item, "=")
		if !ok || name == "" {
			return nil, &usageError{text: fmt.Sprintf("--set: %q is not NAME=VALUE", item), hint: "like: --set from=2026-11-01"}
		}
		if _, twice := set[name]; twice {
			return nil, &usageError{text: "--set has " + name + " twice"}
		}
		if set == nil {
			set = map[string]any{}
		}
		if set[name] = nil; value != "" {
			set[name] = value
		}
	}
	return set, nil
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

// rerunBody is the request, with the filter as it was given: what is wrong with it is for the service to say.
type rerunBody struct {
	Filter       map[string]string `json:"filter,omitempty"`
	JobIDs       []string          `json:"jobIds,omitempty"`
	Canary       bool              `json:"canary,omitempty"`
	Reason       string            `json:"reason"`
	Mode         string            `json:"mode,omitempty"`
	DryRun       bool              `json:"dryRun,omitempty"`
	MaxPerSecond int               `json:"maxPerSecond,omitempty"`
}

func (a *app) rerunAll(ctx context.Context, f rerunFlags) error {
	body := rerunBody{Mode: f.mode, MaxPerSecond: f.maxPerSecond, Canary: f.canary}
	var err error
	if f.idsFrom != "" {
		body.JobIDs, err = a.readIDs(f.idsFrom)
	} else {
		body.Filter, err = parseFilter(f.filter)
	}
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
	body.Reason = f.reason
	return a.rerunMany(ctx, p, f, ofJobs, func(dry bool) ([]byte, error) {
		body.DryRun = dry
		return postRerun(ctx, c, body)
	})
}

// rerunMany shows what would be run again, asks, and has post make the batch.
func (a *app) rerunMany(ctx context.Context, p profile, f rerunFlags, is batchWords, post func(dry bool) ([]byte, error)) error {
	if f.dryRun || !f.yes {
		raw, err := post(true)
		if err != nil {
			return err
		}
		dry, err := a.readDryRun(raw, f.dryRun, is)
		if err != nil || f.dryRun {
			return err
		}
		if any, err := a.askRerun(ctx, p, dry, is); err != nil || !any {
			return err
		}
	}
	raw, err := post(false)
	if err != nil {
		return err
	}
	return a.batchMade(ctx, p, raw, f.detach)
}

// askRerun asks whether to run what a dry run found; false where that is nothing.
func (a *app) askRerun(ctx context.Context, p profile, dry client.DryRun, is batchWords) (any bool, err error) {
	if dry.Eligible == 0 && dry.Complete {
		a.say("Nothing to %s again.", strings.ToLower(is.verb))
		return false, nil
	}
	question := fmt.Sprintf("%s %s again, at %s?", is.verb, plural(int64(dry.Eligible), is.one, is.many), p.URL)
	if !dry.Complete {
		question = fmt.Sprintf("%s %s %s and more again, at %s?", is.verb, thousands(int64(dry.Eligible)), is.many, p.URL)
	}
	return true, a.confirm(ctx, false, question)
}

// readIDs reads job ids from a file, or from standard input for "-": one in a line, or several between blanks
// or commas.
func (a *app) readIDs(path string) ([]string, error) {
	raw, err := []byte(nil), error(nil)
	if path == "-" {
		raw, err = io.ReadAll(io.LimitReader(a.stdin, maxIDsFile))
	} else {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, &usageError{text: "--ids-from: " + err.Error()}
	}
	ids := strings.FieldsFunc(string(raw), func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	for i, id := range ids {
		if !jobs.ValidID(id) {
			return nil, &usageError{text: fmt.Sprintf("--ids-from: %q, the %d. word, is no job id", id, i+1), hint: "like: exportctl ops jobs list --json | jq -r '.jobs[].jobId' > ids"}
		}
	}
	switch {
	case len(ids) == 0:
		return nil, &usageError{text: "--ids-from: there is no job id in it"}
	case len(ids) > jobs.MaxBatchIDs:
		return nil, &usageError{text: fmt.Sprintf("--ids-from: %d job ids, at most %d are taken", len(ids), jobs.MaxBatchIDs), hint: "split the file, as with: split -l 2000"}
	}
	return ids, nil
}

// maxIDsFile bounds what is read from standard input: far more than ids are taken.
const maxIDsFile = 1 << 20

// batchMade tells of a batch, and follows it unless told to leave it.
func (a *app) batchMade(ctx context.Context, p profile, raw []byte, detach bool) error {
	var batch client.Batch
	if err := json.Unmarshal(raw, &batch); err != nil {
		return fmt.Errorf("read batch: %w", err)
	}
	if !detach {
		return a.followBatch(ctx, p, batch.BatchID)
	}
	if a.asJSON {
		return a.printJSON(raw)
	}
	fmt.Fprintln(a.stdout, clean(batch.BatchID, false))
	return nil
}

func postRerun(ctx context.Context, c *client.Client, body rerunBody) ([]byte, error) {
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

// readDryRun shows a dry run: in JSON only where it is the result.
func (a *app) readDryRun(raw []byte, result bool, is batchWords) (dry client.DryRun, err error) {
	if err := json.Unmarshal(raw, &dry); err != nil {
		return dry, fmt.Errorf("read dry run: %w", err)
	}
	if a.asJSON {
		if result {
			return dry, a.printJSON(raw)
		}
		return dry, nil
	}
	a.showDryRun(&dry, is)
	return dry, nil
}

func (a *app) showDryRun(d *client.DryRun, is batchWords) {
	rows := [][]cell{
		{words("matched"), number(int64(d.Matched)), {}},
		{{"would be " + is.does, green}, number(int64(d.Eligible)), {}},
	}
	for _, n := range d.NotEligible {
		some := strings.Join(n.JobIds, " ")
		if n.Count > len(n.JobIds) && len(n.JobIds) > 0 {
			some += " ..."
		}
		rows = append(rows, []cell{{"not: " + n.Reason, yellow}, number(int64(n.Count)), faint(some)})
	}
	a.table([]column{{name: "DRY RUN"}, {name: strings.ToUpper(is.many), right: true}, {name: "", flexible: true, extra: true}}, rows)
	if !d.Complete {
		a.say("There are more %s than a dry run looks at.", is.many)
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
		if r.JSON200.FinishedAt != nil {
			bar.stop()
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			return a.batchEnded(r.JSON200)
		}
		note := itemsOf(r.JSON200).have(r.JSON200.Rerun) + " so far"
		switch {
		case r.JSON200.State == client.BatchStatePaused:
			note += "; it is paused: " + p.command("ops", "batches", "resume", id)
		case r.JSON200.Canary && r.JSON200.Stage < 2:
			note += ", as a canary: the rest follows when these have ended well"
		}
		if r.JSON200.Rerun == 0 && r.JSON200.State == client.BatchStateRunning && a.now().Sub(begun) > stuckAfter {
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

// batchEnded tells how a batch went. One that was stopped is a failure: what it is of fails as before.
func (a *app) batchEnded(b *client.Batch) error {
	a.showBatchEnd(b)
	if b.Stopped == nil {
		return nil
	}
	a.say("It was stopped: %s.", *b.Stopped)
	return &reportedError{exitFailed}
}

func (a *app) showBatchEnd(b *client.Batch) {
	a.say("Batch %s: %s.", b.BatchID, itemsOf(b).have(b.Rerun))
	for _, n := range b.NotEligible {
		a.say("  not: %s  %s", n.Reason, thousands(int64(n.Count)))
	}
}
