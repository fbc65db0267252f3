package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"exportd/api/client"
	"exportd/internal/dataset"
)

func (a *app) jobsCommand() *cobra.Command {
	return parent("jobs", "List, watch, cancel, delete and download export jobs",
		a.jobsList(), a.jobsGet(), a.jobsWatch(), a.jobsDownload(), a.jobsManifest(), a.jobsVerify(), a.jobsCancel(), a.jobsDelete())
}

// allStates completes --state.
var allStates = []string{"queued", "running", "succeeded", "failed", "canceled", "expired"}

// pageFlags say how much of a list to show.
type pageFlags struct {
	limit int
	all   bool
	token string
}

func (f *pageFlags) add(cmd *cobra.Command, most int) {
	cmd.Flags().IntVarP(&f.limit, "limit", "n", most, "how many to show at most")
	cmd.Flags().BoolVar(&f.all, "all", false, "show all there are")
}

// addTokens is add for lists whose pages have tokens.
func (f *pageFlags) addTokens(cmd *cobra.Command, most int) {
	f.add(cmd, most)
	cmd.Flags().StringVar(&f.token, "page-token", "", "nextPageToken of a list with the same filters")
}

func (f *pageFlags) check() error {
	if f.limit < 1 {
		return &usageError{text: fmt.Sprintf("--limit is 1 or more, not %d", f.limit), hint: "for all there are: --all"}
	}
	return nil
}

// left is how many more to ask for, at most page; 0 ends it.
func (f *pageFlags) left(have, page int) int {
	if f.all {
		return page
	}
	return min(page, f.limit-have)
}

func (a *app) jobsList() *cobra.Command {
	var page pageFlags
	var state, kind string
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the jobs of your org, newest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := page.check(); err != nil {
				return err
			}
			c, err := a.service(false, fewAttempts)
			if err != nil {
				return err
			}
			l, err := gather(page, "jobs", func(size int, token string) ([]byte, error) {
				r, err := c.ListJobsWithResponse(cmd.Context(), &client.ListJobsParams{
					State: given(client.State(state)), Kind: given(client.Kind(kind)), PageSize: &size, PageToken: given(token),
				})
				if err != nil {
					return nil, err
				}
				return r.Body, nil
			})
			if err != nil {
				return err
			}
			return showItems(a, l, jobWords, jobColumns, jobRow)
		},
	}
	page.addTokens(cmd, 20)
	cmd.Flags().StringVar(&state, "state", "", "only jobs in this state")
	cmd.Flags().StringVar(&kind, "kind", "", "only jobs of this kind, like vip-users")
	choices(cmd, "state", allStates...)
	choices(cmd, "kind", dataset.BuiltIn.Names()...)
	return cmd
}

// given leaves out what is empty.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// itemList is a list as the service gives it, put together from pages as they came.
type itemList struct {
	name  string // that answers have it by
	items []json.RawMessage
	next  *string // nextPageToken
}

// value is the list as the service gives it.
func (l itemList) value() map[string]any {
	return map[string]any{l.name: l.items, "nextPageToken": l.next}
}

// mostItems is the largest page of a list.
const mostItems = 100

// mostNothing bounds the pages of a search that bring nothing, each of 2,000 jobs that were read.
const mostNothing = 5

// gather gets as many pages as it takes of a list that answers have by that name.
func gather(f pageFlags, name string, get func(size int, token string) ([]byte, error)) (itemList, error) {
	l := itemList{name: name, items: []json.RawMessage{}}
	nothing := 0 // pages in a row that brought nothing
	for token := f.token; ; token = *l.next {
		n := f.left(len(l.items), mostItems)
		if n <= 0 {
			return l, nil
		}
		body, err := get(n, token)
		if err != nil {
			return l, err
		}
		var page map[string]json.RawMessage
		var more []json.RawMessage
		l.next = nil
		if err := errors.Join(json.Unmarshal(body, &page), json.Unmarshal(page[name], &more), json.Unmarshal(page["nextPageToken"], &l.next)); err != nil {
			return l, fmt.Errorf("read list of %s: %w", name, err)
		}
		l.items = append(l.items, more...)
		if nothing++; len(more) > 0 {
			nothing = 0
		}
		if l.next == nil || nothing == mostNothing && !f.all {
			return l, nil
		}
	}
}

// itemWords are what one item of a list is called, and what is said where there is none.
type itemWords struct{ one, none string }

var jobWords = itemWords{"job", "No jobs."}

// showItems prints a list, a row for each item.
func showItems[T any](a *app, l itemList, w itemWords, columns []column, row func(*T) []cell) error {
	if a.asJSON {
		return a.printValue(l.value())
	}
	rows := make([][]cell, len(l.items))
	for i, raw := range l.items {
		var item T
		if err := json.Unmarshal(raw, &item); err != nil {
			return fmt.Errorf("read %s: %w", w.one, err)
		}
		rows[i] = row(&item)
	}
	if len(rows) == 0 {
		a.say("%s", w.none)
		return nil
	}
	a.table(columns, rows)
	if l.next != nil {
		a.say("There are more: --limit N or --all shows them.")
	}
	return nil
}

var jobColumns = []column{
	{name: "JOB"}, {name: "KIND"}, {name: "STATE"}, {name: "CREATED (UTC)"},
	{name: "ERROR", flexible: true, extra: true}, {name: "ROWS", right: true, extra: true}, {name: "TOOK", right: true, extra: true}, {name: "SIZE", right: true, extra: true},
}

func jobRow(j *client.Job) []cell {
	return []cell{
		words(j.JobID), words(string(j.Kind)), stateCell(j.State), instant(j.CreatedAt), {errorCode(j.Error), red},
		rowsOf(j.TotalCount, j.Progress), words(between(j.StartedAt, j.FinishedAt)), sizeOf(j.SizeBytes),
	}
}

func rowsOf(total *int64, p client.Progress) cell {
	switch {
	case total != nil:
		return number(*total)
	case p.RowsTotal != nil:
		return words(fmt.Sprintf("%s (%d %%)", thousands(p.RowsDone), p.Percent))
	}
	return cell{}
}

func sizeOf(n *int64) cell {
	if n == nil {
		return cell{}
	}
	return words(size(*n))
}

func errorCode(e *client.JobError) string {
	if e == nil {
		return ""
	}
	return string(e.Code)
}

// completeWithin bounds what the Tab key waits for.
const completeWithin = 2 * time.Second

// completeJobs completes the ids of the latest jobs.
func (a *app) completeJobs(operator bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		c, err := a.service(operator, 1)
		if err != nil || len(args) > 0 {
			return nil, none
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		var ids []string
		add := func(id string, state client.State, kind client.Kind) {
			ids = append(ids, cobra.CompletionWithDesc(clean(id, false), clean(string(state)+" "+string(kind), false)))
		}
		if operator {
			r, err := c.OpsListJobsWithResponse(ctx, &client.OpsListJobsParams{})
			if err == nil && r.JSON200 != nil {
				for _, j := range r.JSON200.Jobs {
					add(j.JobID, j.State, j.Kind)
				}
			}
			return ids, none | cobra.ShellCompDirectiveKeepOrder
		}
		r, err := c.ListJobsWithResponse(ctx, &client.ListJobsParams{})
		if err == nil && r.JSON200 != nil {
			for _, j := range r.JSON200.Jobs {
				add(j.JobID, j.State, j.Kind)
			}
		}
		return ids, none | cobra.ShellCompDirectiveKeepOrder
	}
}

func (a *app) jobsGet() *cobra.Command {
	return &cobra.Command{
		Use: "get JOB", Aliases: []string{"show"}, Short: "Show a job", Args: oneArg("job id"), ValidArgsFunction: a.completeJobs(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(false, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.GetJobWithResponse(cmd.Context(), args[0], &client.GetJobParams{})
			if err != nil {
				return about(args[0], err)
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.list(jobFacts(r.JSON200))
			return nil
		},
	}
}

// about names the job in an error that does not.
func about(id string, err error) error {
	if err == nil || client.JobIDOf(err) != "" {
		return err
	}
	return fmt.Errorf("job %s: %w", id, err)
}

// jobFacts are what there is to say about a job.
func jobFacts(j *client.Job) [][2]cell {
	facts := [][2]cell{
		{words("job"), words(j.JobID)}, {words("kind"), words(string(j.Kind))}, {words("state"), stateCell(j.State)},
		{words("workspace"), words(j.Params.WorkspaceID)}, {words("medium"), words(j.Params.MediumID)},
		{words("filter"), words(filterText(j.Kind, j.Params))},
		{words("created"), instant(j.CreatedAt)}, {words("started"), instant(j.StartedAt)}, {words("finished"), instant(j.FinishedAt)},
		{words("took"), words(between(j.StartedAt, j.FinishedAt))}, {words("snapshot"), instant(j.SnapshotTime)},
		{words("rows"), rowsOf(j.TotalCount, j.Progress)}, {words("parts"), partsOf(j.Progress)}, {words("size"), sizeOf(j.SizeBytes)},
		{words("crc32c"), optional(j.Crc32C)}, {words("file until"), instant(j.FileExpiresAt)},
	}
	if j.Attempt > 1 {
		facts = append(facts, [2]cell{words("attempts"), number(int64(j.Attempt))})
	}
	if j.GuardedCells != nil && *j.GuardedCells > 0 {
		facts = append(facts, [2]cell{words("guarded cells"), number(*j.GuardedCells)})
	}
	if j.RescuedValues != nil {
		facts = append(facts, [2]cell{words("rescued values"), number(*j.RescuedValues)})
	}
	if c := j.Changes; c != nil {
		facts = append(facts, [2]cell{words("since"), words(c.Since)}, [2]cell{words("changes"), words(changesText(c))})
	}
	if j.Error != nil {
		facts = append(facts, [2]cell{words("error"), {string(j.Error.Code) + ": " + j.Error.Message, red}})
	}
	if cb := j.Callback; cb != nil {
		facts = append(facts, [2]cell{words("callback"), words(callbackText(cb))})
	}
	return facts
}

// changesText are the rows of a file of changes by kind.
func changesText(c *client.Changes) string {
	return fmt.Sprintf("%s added, %s changed, %s removed, %s unchanged", number(c.Added).text, number(c.Changed).text, number(c.Removed).text, number(c.Unchanged).text)
}

func partsOf(p client.Progress) cell {
	if p.PartsTotal == 0 {
		return cell{}
	}
	return words(fmt.Sprintf("%d of %d", p.PartsDone, p.PartsTotal))
}

// filterText is the filter of an export in the words of flags.
func filterText(kind client.Kind, p client.Params) string {
	s := ""
	add := func(name, value string) {
		if s != "" {
			s += ", "
		}
		s += strings.TrimSpace(name + " " + value)
	}
	if p.From != nil && p.To != nil {
		add("from", p.From.UTC().Format("2006-01-02T15:04:05Z")+" to before "+p.To.UTC().Format("2006-01-02T15:04:05Z"))
	}
	for name, value := range filtersOf(kind, p) {
		add(name, value)
	}
	for name, value := range fileOf(p) {
		add(name, value)
	}
	return s
}

func callbackText(cb *client.CallbackStatus) string {
	s := cb.URL
	if cb.State != nil {
		s += ": " + string(*cb.State)
	}
	if cb.Attempts > 0 {
		s += ", " + plural(int64(cb.Attempts), "attempt", "attempts")
	}
	if cb.LastStatus != nil {
		s += fmt.Sprintf(", last answer %d", *cb.LastStatus)
	}
	if cb.NextAttemptAt != nil {
		s += ", next at " + instant(cb.NextAttemptAt).text
	}
	return s
}

func (a *app) jobsWatch() *cobra.Command {
	return &cobra.Command{
		Use: "watch JOB", Short: "Follow a job until it has ended; ends with 3 if it failed or was canceled", Args: oneArg("job id"), ValidArgsFunction: a.completeJobs(false),
		RunE: func(cmd *cobra.Command, args []string) error { return a.watch(cmd.Context(), args[0]) },
	}
}

func (a *app) watch(ctx context.Context, id string) error {
	p, c, err := a.dial(false, manyAttempts)
	if err != nil {
		return err
	}
	bar := a.newProgress()
	defer bar.stop()
	job, err := c.Wait(ctx, id, bar.onJob)
	bar.stop()
	switch {
	case err != nil && ctx.Err() != nil:
		a.say("Interrupted. Job %s goes on.\nCome back:  %s", id, p.command("jobs", "watch", id))
		return interruptedError{}
	case err != nil:
		return err
	case a.asJSON:
		err = a.printJob(ctx, c, id)
	default:
		a.list(jobFacts(job))
	}
	if err == nil && job.State != client.StateSucceeded && job.State != client.StateExpired {
		return &reportedError{exitJobFailed} // the facts say why
	}
	return err
}

func (a *app) jobsDownload() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "download JOB", Short: "Wait for a job and download its file; goes on where an earlier try ended", Args: oneArg("job id"), ValidArgsFunction: a.completeJobs(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "-" && a.asJSON {
				return &usageError{text: "--json and --output - both want standard output"}
			}
			if err := checkOutput(output); err != nil {
				return err
			}
			p, c, err := a.dial(false, manyAttempts)
			if err != nil {
				return err
			}
			if output == "" {
				job, err := c.GetJob(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				output = args[0] + extension(job)
			}
			return a.fetch(cmd.Context(), c, p, args[0], output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, - for standard output (default JOB with the extension of its format)")
	_ = cmd.MarkFlagFilename("output", "csv") // the flag is there
	return cmd
}

func (a *app) jobsCancel() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "cancel JOB", Short: "Cancel a job that has not ended", Args: oneArg("job id"), ValidArgsFunction: a.completeJobs(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(false, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.CancelJobWithResponse(cmd.Context(), args[0], client.CancelJobJSONRequestBody{Reason: given(reason)})
			if err != nil {
				return about(args[0], err)
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.say("Job %s is canceled.", args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the job's record")
	return cmd
}

func (a *app) jobsDelete() *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use: "delete JOB", Short: "Cancel a job if it runs, and erase its file", Args: oneArg("job id"), ValidArgsFunction: a.completeJobs(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(false, fewAttempts)
			if err != nil {
				return err
			}
			if err := a.confirm(cmd.Context(), yes, fmt.Sprintf("Erase job %s and its file, for good?", args[0])); err != nil {
				return err
			}
			if _, err = c.DeleteJobWithResponse(cmd.Context(), args[0], client.DeleteJobJSONRequestBody{Reason: given(reason)}); err != nil {
				return about(args[0], err)
			}
			a.say("Job %s and its file are gone.", args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the job's record")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
