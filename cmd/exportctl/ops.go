package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"exportd/api/client"
	"exportd/internal/dataset"
	"exportd/internal/timeline"
	"exportd/jobs"
)

func (a *app) opsCommand() *cobra.Command {
	cmd := parent("ops", "See the jobs of all orgs, run failed ones again, pause queues",
		parent("jobs", "Jobs of all orgs", a.opsJobsList(), a.opsJobsGet()),
		a.opsSearch(), a.opsRerun(),
		parent("batches", "Reruns of many jobs", a.opsBatchesList(), a.opsBatchesGet(),
			a.opsBatchesChange("pause", "Have a batch stand still", "is paused"), a.opsBatchesChange("resume", "Have a paused batch go on", "goes on"),
			a.opsBatchesChange("cancel", "End a batch; the jobs that it has queued run on", "is canceled")),
		a.opsCauses(), a.opsTonight(), a.opsAudit(),
		a.opsCancel(), a.opsStats(),
		parent("queues", "What workers take work from", a.opsQueue("pause", "Let workers take no new work from a queue; work under way ends"),
			a.opsQueue("resume", "Let workers take work from a queue again")),
		a.opsCallbacks(), a.opsReceivers(), a.opsLinks())
	cmd.Long = `What operators do. The key needs the scope "ops"; a profile may have one for these
commands besides its own.

  exportctl ops tonight
  exportctl ops causes
  exportctl ops jobs list --state failed
  exportctl ops rerun --filter state=failed,errorCode=MISSING_INDEX --reason "index is there now" --dry-run`
	return cmd
}

// allCodes completes --error-code.
func allCodes() []string {
	codes := make([]string, len(jobs.Codes))
	for i, code := range jobs.Codes {
		codes[i] = string(code)
	}
	return codes
}

func (a *app) opsJobsList() *cobra.Command {
	var page pageFlags
	var search searchFlags
	var state, kind, org, workspace, code, cause, after, before string
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List jobs, newest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.listOpsJobs(cmd.Context(), page, client.OpsListJobsParams{
				State: given(client.State(state)), Kind: given(client.Kind(kind)), OrgID: given(org), WorkspaceID: given(workspace),
				ErrorCode: given(client.ErrorCode(code)), Cause: given(cause),
				RequestID: given(search.request), Batch: given(search.batch), CallbackHost: given(search.host), Text: given(search.text), Label: given(search.label),
				ContentType: given(search.contentType), MinAttempts: given(search.minAttempts), Slow: given(search.slow), CreatedAfter: given(after), CreatedBefore: given(before),
			})
		},
	}
	page.addTokens(cmd, 20)
	flags := cmd.Flags()
	flags.StringVar(&state, "state", "", "only jobs in this state")
	flags.StringVar(&kind, "kind", "", "only jobs of this kind, like vip-users")
	flags.StringVar(&org, "org", "", "only jobs of this org")
	flags.StringVarP(&workspace, "workspace", "w", "", "only jobs of this workspace")
	flags.StringVar(&code, "error-code", "", "only jobs with this error")
	flags.StringVar(&cause, "cause", "", "only jobs that failed by this cause, as ops causes lists them")
	flags.StringVar(&after, "created-after", "", "only newer jobs: ISO date or date-time")
	flags.StringVar(&before, "created-before", "", "only older jobs: ISO date or date-time")
	search.add(cmd)
	choices(cmd, "state", allStates...)
	choices(cmd, "kind", dataset.BuiltIn.Names()...)
	choices(cmd, "error-code", allCodes()...)
	return cmd
}

// listOpsJobs prints the jobs of all orgs that are asked for, page by page.
func (a *app) listOpsJobs(ctx context.Context, page pageFlags, params client.OpsListJobsParams) error {
	if err := page.check(); err != nil {
		return err
	}
	c, err := a.service(true, fewAttempts)
	if err != nil {
		return err
	}
	l, err := gather(page, "jobs", func(size int, token string) ([]byte, error) {
		params.PageSize, params.PageToken = &size, given(token)
		r, err := c.OpsListJobsWithResponse(ctx, &params)
		if err != nil {
			return nil, err
		}
		return r.Body, nil
	})
	if err != nil {
		return err
	}
	return showItems(a, l, jobWords, opsJobColumns, opsJobRow)
}

var opsJobColumns = []column{
	{name: "JOB"}, {name: "KIND"}, {name: "STATE"}, {name: "CREATED (UTC)"}, {name: "ERROR", flexible: true, extra: true},
	{name: "ORG", flexible: true, extra: true}, {name: "ROWS", right: true, extra: true}, {name: "ATTEMPTS", right: true, extra: true}, {name: "WORKSPACE", flexible: true, extra: true},
}

func opsJobRow(j *client.OpsJob) []cell {
	return []cell{
		words(j.JobID), words(string(j.Kind)), stateCell(j.State), instant(j.CreatedAt), {errorCode(j.Error), red},
		words(j.OrgID), rowsOf(j.TotalCount, j.Progress), number(int64(j.Attempt)), words(j.Params.WorkspaceID),
	}
}

func (a *app) opsJobsGet() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "get JOB", Aliases: []string{"show"}, Short: "Show a job with its timeline, where its time went, parts and callbacks", Args: oneArg("job id"), ValidArgsFunction: a.completeJobs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.OpsGetJobWithResponse(cmd.Context(), args[0])
			if err != nil {
				return about(args[0], err)
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			a.showOpsJob(r.JSON200, all)
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show each part and each line of the timeline")
	return cmd
}

func (a *app) showOpsJob(d *client.OpsJobDetail, all bool) {
	a.list(opsJobFacts(&d.Job, d.Parts))
	a.heading("Timeline (UTC)") // what happened comes last and is never cut: the terminal wraps it
	groups := foldTimeline(d.Timeline)
	if all {
		groups = unfolded(d.Timeline)
	}
	a.table([]column{{name: "TIME"}, {name: "AFTER", right: true}, {name: "ATTEMPT", right: true}, {name: "PART", right: true, extra: true}, {name: "BY", flexible: true}, {name: "EVENT"}, {name: "WHAT"}},
		timelineRows(groups))
	if rows := spentRows(&d.Job); len(rows) > 0 {
		a.heading("Where the time went")
		a.table([]column{{name: "STEP"}, {name: "TIME", right: true}, {name: "WHAT"}}, rows)
	}
	a.showParts(d, all)
	for _, cb := range d.Callbacks {
		a.heading("Callback " + cb.Event)
		a.list([][2]cell{
			{words("id"), words(cb.ID)}, {words("url"), words(cb.URL)}, {words("state"), stateCell(cb.State)}, {words("next attempt"), instant(cb.NextAttemptAt)},
		})
		if rows := tryRows(cb); len(rows) > 0 {
			a.table([]column{{name: "TIME"}, {name: "TOOK", right: true}, {name: "STATUS", right: true}, {name: "RESULT"}, {name: "ANSWER", flexible: true, extra: true}}, rows)
		}
	}
}

func (a *app) showParts(d *client.OpsJobDetail, all bool) {
	parts, rest := d.Parts, ""
	if !all {
		parts, rest = choose(d.Parts)
	}
	if len(parts) == 0 {
		return
	}
	a.heading("Parts")
	a.table([]column{
		{name: "PART", right: true}, {name: "STATE"}, {name: "ROWS", right: true}, {name: "SIZE", right: true}, {name: "ATTEMPTS", right: true},
		{name: "WAIT", right: true, extra: true}, {name: "SCAN", right: true, extra: true}, {name: "ENCODE", right: true, extra: true}, {name: "UPLOAD", right: true, extra: true},
		{name: "OWNER", flexible: true, extra: true}, {name: "ERROR", flexible: true, extra: true},
	}, partRows(parts))
	if rest != "" {
		a.say("Not shown are %s; --all shows them.", rest)
	}
	if d.PartsOmitted > 0 {
		a.say("%s more are not shown.", plural(int64(d.PartsOmitted), "part", "parts"))
	}
}

func opsJobFacts(j *client.OpsJob, parts []client.Part) [][2]cell {
	facts := [][2]cell{
		{words("job"), words(j.JobID)}, {words("kind"), words(string(j.Kind))}, {words("state"), stateCell(j.State)}, {words("phase"), words(j.Phase)},
		{words("org"), words(j.OrgID)}, {words("key"), words(j.KeyID)}, {words("request"), words(j.RequestID)},
		{words("workspace"), words(j.Params.WorkspaceID)}, {words("medium"), words(j.Params.MediumID)}, {words("filter"), words(filterText(j.Kind, j.Params))},
		{words("created"), instant(j.CreatedAt)}, {words("started"), instant(j.StartedAt)}, {words("finished"), instant(j.FinishedAt)},
		{words("snapshot"), instant(j.SnapshotTime)},
		{words("rows"), rowsOf(j.TotalCount, j.Progress)}, {words("parts"), partsOf(j.Progress)}, {words("size"), sizeOf(j.SizeBytes)},
		{words("attempts"), words(attemptsText(j))}, {words("owner"), optional(j.Owner)}, {words("lease until"), instant(j.LeaseUntil)},
		{words("not before"), instant(j.NotBefore)}, {words("next look"), instant(j.WakeAt)}, {words("file until"), instant(j.FileExpiresAt)},
		{words("deleted"), instant(j.DeletedAt)}, {words("rerun of"), optional(j.RerunOf)},
	}
	if j.Error != nil {
		facts = append(facts, [2]cell{words("error"), {string(j.Error.Code) + ": " + j.Error.Message, red}})
	}
	if j.FailedPart != nil {
		facts = append(facts, [2]cell{words("failed in"), words(failedIn(*j.FailedPart, parts))})
	}
	if j.CauseID != nil {
		facts = append(facts, [2]cell{words("cause"), words(*j.CauseID)}, [2]cell{words("what"), optional(j.What)})
	}
	if j.Remedy != nil {
		facts = append(facts, [2]cell{words("remedy"), {*j.Remedy, yellow}})
	}
	return facts
}

// failedIn names a part, with the rows that it has where that is known.
func failedIn(index int, parts []client.Part) string {
	s := fmt.Sprintf("part %d", index)
	if i := slices.IndexFunc(parts, func(p client.Part) bool { return p.Index == index }); i >= 0 {
		s += ": " + timeline.Stretch(parts[i].From, parts[i].To)
	}
	return s
}

func attemptsText(j *client.OpsJob) string {
	s := fmt.Sprintf("%d (epoch %d)", j.Attempt, j.Epoch)
	if j.Interruptions > 0 {
		s += ", " + plural(int64(j.Interruptions), "interruption", "interruptions")
	}
	return s
}

// unfolded has a group for each line.
func unfolded(entries []client.TimelineEntry) []eventGroup {
	groups := make([]eventGroup, len(entries))
	for i, e := range entries {
		groups[i].Lines = []client.TimelineEntry{e}
		if e.Part != nil {
			groups[i].Parts = []int{*e.Part}
		}
	}
	return groups
}

func timelineRows(groups []eventGroup) [][]cell {
	rows := make([][]cell, len(groups))
	for i, g := range groups {
		first, after := g.First(), ""
		if i > 0 {
			after = "+" + duration(first.At.Sub(groups[i-1].First().At))
		}
		rows[i] = []cell{
			words(first.At.UTC().Format("2006-01-02 15:04:05.000")), faint(after), number(int64(first.Attempt)), words(numbers(g.Parts)), words(groupActor(g)), eventCell(first.Type), words(groupText(g)),
		}
	}
	return rows
}

func eventCell(t client.TimelineEntryType) cell {
	c := cell{strings.ReplaceAll(string(t), "_", " "), plain}
	switch t {
	case client.TimelineEntryTypeSucceeded:
		c.color = green
	case client.TimelineEntryTypeFailed, client.TimelineEntryTypeAttemptFailed, client.TimelineEntryTypePartFailed:
		c.color = red
	case client.TimelineEntryTypeInterrupted, client.TimelineEntryTypeSnapshotRestarted, client.TimelineEntryTypeRerun, client.TimelineEntryTypeCanceled:
		c.color = yellow
	}
	return c
}

// eventText is code, message and reason of an event.
func eventText(e client.TimelineEntry) string {
	var parts []string
	for _, s := range []*string{e.Code, e.Message} {
		if s != nil {
			parts = append(parts, *s)
		}
	}
	text := strings.Join(parts, ": ")
	if e.Reason != nil {
		text = strings.TrimSpace(text + " because: " + *e.Reason)
	}
	return text
}

func partRows(parts []client.Part) [][]cell {
	rows := make([][]cell, len(parts))
	for i, p := range parts {
		rowsDone := thousands(p.Rows)
		if p.State != client.PartStateDone {
			rowsDone = thousands(p.RowsDone) + " of " + thousands(p.Rows)
		}
		why := ""
		if p.Error != nil {
			why = string(p.Error.Code) + ": " + p.Error.Message
		}
		rows[i] = []cell{number(int64(p.Index)), stateCell(p.State), words(rowsDone), words(size(p.SizeBytes)), number(int64(p.Attempt)),
			words(millis(p.Spent.WaitMs)), words(millis(p.Spent.ScanMs)), words(millis(p.Spent.EncodeMs)), words(millis(p.Spent.UploadMs)), optional(p.Owner), words(why)}
	}
	return rows
}

func tryRows(cb client.Delivery) [][]cell {
	rows := make([][]cell, len(cb.Tries))
	for i, t := range cb.Tries {
		status := "none"
		if t.Status != nil {
			status = fmt.Sprint(*t.Status)
		}
		rows[i] = []cell{instant(&t.At), words(duration(time.Duration(t.DurationMs) * time.Millisecond)), words(status), words(t.Class), optional(t.Response)}
	}
	return rows
}

func (a *app) opsCancel() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "cancel JOB", Short: "Cancel a job of any org", Args: oneArg("job id"), ValidArgsFunction: a.completeJobs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.OpsCancelJobWithResponse(cmd.Context(), args[0], client.OpsCancelJobJSONRequestBody{Reason: reason})
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
	needReason(cmd, &reason)
	return cmd
}

// needReason adds --reason, without which operators change nothing.
func needReason(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", "", "why, for the record (required)")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *reason == "" {
			return errNoReason()
		}
		return nil
	}
}

func (a *app) opsStats() *cobra.Command {
	var w windowFlags
	cmd := &cobra.Command{
		Use: "stats", Short: "Show how many jobs there are, the queues and the workers, and what happened in a window", Args: noArgs,
		Example: `  exportctl ops stats --since 12h
  exportctl ops stats --since 2026-11-25T18:00Z --until 2026-11-26T06:00Z --org org_1`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			r, err := c.OpsStatsWithResponse(cmd.Context(), w.params())
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(r.Body)
			}
			if w.since != "" {
				a.showWindow(r.JSON200.Window)
				a.heading("Now")
			}
			a.showStats(r.JSON200)
			return nil
		},
	}
	w.add(cmd, "")
	return cmd
}

// rescue says whether somebody does what is due; nothing where the service does not tell.
func (a *app) rescue(s *client.Stats) string {
	if len(s.Rescuers) == 0 {
		return ""
	}
	var unheld []string
	for _, r := range s.Rescuers {
		if r.Owner == nil {
			unheld = append(unheld, strconv.Itoa(r.Partition))
		}
	}
	if len(unheld) > 0 {
		return "; " + a.painter(a.stdoutTerminal).paint(red, fmt.Sprintf("nobody rescues partition %s of %d", strings.Join(unheld, ", "), len(s.Rescuers)))
	}
	return "; " + plural(int64(len(s.Rescuers)), "partition is", "partitions are") + " rescued"
}

func (a *app) showStats(s *client.Stats) {
	var rows [][]cell
	for _, state := range allStates {
		rows = append(rows, []cell{stateCell(state), number(s.States[state])})
	}
	a.table([]column{{name: "JOBS"}, {name: "", right: true}}, rows)
	if len(s.ErrorCodes) > 0 {
		codes := slices.SortedFunc(maps.Keys(s.ErrorCodes), func(x, y string) int {
			return cmp.Or(cmp.Compare(s.ErrorCodes[y], s.ErrorCodes[x]), cmp.Compare(x, y))
		})
		rows = nil
		for _, code := range codes {
			rows = append(rows, []cell{{code, red}, number(s.ErrorCodes[code])})
		}
		fmt.Fprintln(a.stdout)
		a.table([]column{{name: "FAILED WITH"}, {name: "", right: true}}, rows)
	}
	rows = nil
	for _, q := range slices.Sorted(maps.Keys(s.Queues)) {
		v := s.Queues[q]
		state, why := cell{"running", green}, ""
		if v.Paused {
			state = cell{"paused", yellow}
			why = strings.TrimSpace(fmt.Sprintf("%s by %s: %s", instant(v.At).text, optional(v.Actor).text, optional(v.Reason).text))
		}
		rows = append(rows, []cell{words(q), state, number(s.DeadLetters[q].Count), words(why)})
	}
	fmt.Fprintln(a.stdout)
	a.table([]column{{name: "QUEUE"}, {name: "STATE"}, {name: "DEAD LETTERS", right: true}, {name: "SINCE", flexible: true}}, rows)
	waiting := plural(s.Queue.Depth, "job waits", "jobs wait")
	if s.Queue.OldestAgeSeconds != nil {
		waiting += ", the oldest for " + duration(time.Duration(*s.Queue.OldestAgeSeconds*float32(time.Second)))
	}
	workers := cell{plural(int64(s.WorkersAlive), "worker is", "workers are") + " alive", plain}
	if s.WorkersAlive == 0 {
		workers = cell{"no worker is alive", red}
	}
	fmt.Fprintf(a.stdout, "\n%s; %s%s.\n", waiting, a.painter(a.stdoutTerminal).paint(workers.color, workers.text), a.rescue(s))
	for _, q := range slices.Sorted(maps.Keys(s.DeadLetters)) {
		if d := s.DeadLetters[q]; d.Count > 0 {
			fmt.Fprintf(a.stdout, "Last dead letter of %s: %s %s\n", clean(q, false), instant(d.LastAt).text, clean(optional(d.LastReason).text, false))
		}
	}
}

func (a *app) opsQueue(verb, short string) *cobra.Command {
	var reason string
	queues := []string{string(client.QueueExports), string(client.QueueCallbacks)}
	cmd := &cobra.Command{
		Use: verb + " QUEUE", Short: short, Args: oneArg("queue (exports or callbacks)"), ValidArgs: queues,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(queues, args[0]) {
				return &usageError{text: fmt.Sprintf("there is no queue %q", args[0]), hint: "The queues are exports and callbacks"}
			}
			c, err := a.service(true, fewAttempts)
			if err != nil {
				return err
			}
			body, done := []byte(nil), "paused: workers take no new work from it."
			q := client.Queue(args[0])
			if verb == "pause" {
				r, e := c.OpsPauseQueueWithResponse(cmd.Context(), q, client.OpsPauseQueueJSONRequestBody{Reason: reason})
				if err = e; e == nil {
					body = r.Body
				}
			} else {
				done = "running."
				r, e := c.OpsResumeQueueWithResponse(cmd.Context(), q, client.OpsResumeQueueJSONRequestBody{Reason: reason})
				if err = e; e == nil {
					body = r.Body
				}
			}
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(body)
			}
			a.say("Queue %s is %s", args[0], done)
			return nil
		},
	}
	needReason(cmd, &reason)
	return cmd
}
