package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"exportd/api/client"
	"exportd/internal/dataset"
	"exportd/jobs"
)

type exportFlags struct {
	rows    rowFlags
	request client.Request
	file    fileFlags
	output  string
	detach  bool
	dryRun  bool
}

func (a *app) exportCommand() *cobra.Command {
	var kinds []*cobra.Command
	for _, d := range dataset.BuiltIn {
		kinds = append(kinds, a.exportKind(d))
	}
	cmd := parent("export", "Export VIP users or VIP messages to a CSV file", append(kinds, a.exportDatasetCommand())...)
	cmd.Long = `Exports VIP users or VIP messages to a CSV file.

An export is a job of the service. While it is under way this command may be
interrupted: the job goes on, and "exportctl jobs download" brings its file. The same
export again attaches to the job in flight, or to the result of the last minute.`
	return cmd
}

func (a *app) exportKind(d *dataset.Dataset) *cobra.Command {
	f := &exportFlags{rows: rowFlags{dataset: d}, request: client.Request{Kind: client.Kind(d.Name)}}
	within := ""
	if d.Window != nil {
		within = fmt.Sprintf(" of up to %d days", d.Window.Days)
	}
	cmd := &cobra.Command{
		Use: d.Name, Short: "Export " + d.Title + within + ", " + orderText(d), Args: noArgs,
		Example: "  exportctl export " + d.Name + " -o out.csv\n  exportctl export " + d.Name + " -o - | head\n  exportctl export " + d.Name + " --detach",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.read(); err != nil {
				return err
			}
			return a.export(cmd.Context(), f)
		},
	}
	f.rows.add(cmd)
	f.addFile(cmd)
	return cmd
}

// addFile adds the flags that every export has.
func (f *exportFlags) addFile(cmd *cobra.Command) {
	r, flags := &f.request, cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "", "file to write, - for standard output; without it a link is printed")
	flags.BoolVar(&f.detach, "detach", false, "start the job, print its id and end")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what it would come to (rows, bytes, seconds, reads, which job it attaches to) and start nothing")
	f.file.add(cmd)
	flags.StringVar(&r.CallbackURL, "callback-url", "", "where the service POSTs when the job has ended")
	flags.StringVar(&r.IdempotencyKey, "idempotency-key", "", "the same key gives the same job for 24 hours, while that is there")
	flags.StringVar((*string)(&r.TestScenario), "test-scenario", "", "with a sandbox key, what is to become of it: slow, fail-final, ...; a wrong one lists all")
	flags.BoolVar(&r.Fresh, "no-cache", false, "a new job, also where an equal one is in flight or just done")
	_ = cmd.MarkFlagFilename("output", "csv") // the flag is there
}

// choices completes a flag's values.
func choices(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// read checks what the service cannot know.
func (f *exportFlags) read() error {
	if err := f.file.check(); err != nil {
		return err
	}
	if f.detach && f.output != "" {
		return &usageError{text: "--detach does not wait for a file, so there is nothing to write to --output"}
	}
	if f.dryRun && (f.detach || f.output != "") {
		return &usageError{text: "--dry-run starts nothing, so there is nothing to --detach from or to write to --output"}
	}
	if err := checkName(f.output, *f.file[jobs.ParamFormat], *f.file[jobs.ParamCompression] == jobs.CompressionGzip, *f.file[jobs.ParamProfile] == jobs.ProfileExcel); err != nil {
		return err
	}
	return checkOutput(f.output)
}

// checkOutput finds out before a job is started that its file could not be written.
func checkOutput(path string) error {
	if path == "" || path == "-" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return &usageError{text: "--output " + path + " is a folder", hint: "Give a file in it, like: -o " + quote(filepath.Join(path, "out.csv"))}
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return &usageError{text: "--output " + path + ": there is no folder " + filepath.Dir(path), hint: "mkdir -p " + quote(filepath.Dir(path))}
	}
	return nil
}

func (a *app) export(ctx context.Context, f *exportFlags) error {
	if f.output == "-" && a.asJSON {
		return &usageError{text: "--json and --output - both want standard output"}
	}
	p, err := a.profile()
	if err != nil {
		return err
	}
	if f.rows.dataset != nil {
		if f.request.Params, err = f.rows.params(p); err != nil {
			return err
		}
	}
	if f.request.Params == nil {
		f.request.Params = map[string]string{}
	}
	f.file.set(f.request.Params)
	c, err := a.connect(p, false, manyAttempts)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.showQuote(ctx, c, f.request)
	}
	job, err := c.Submit(ctx, f.request)
	if err != nil {
		if ctx.Err() != nil {
			a.say("Interrupted before the service named a job. The same command again attaches to it, if there is one.")
			return interruptedError{}
		}
		return err
	}
	if f.detach {
		return a.showSubmitted(ctx, c, p, job)
	}
	return a.fetch(ctx, c, p, job.JobID, f.output)
}

// showSubmitted prints the id of a job that was started.
func (a *app) showSubmitted(ctx context.Context, c *client.Client, p profile, job *client.Job) error {
	if a.asJSON {
		return a.printJob(ctx, c, job.JobID)
	}
	fmt.Fprintln(a.stdout, clean(job.JobID, false))
	if a.stdoutTerminal {
		a.say("Its file, when it is done:  %s", p.command("jobs", "download", job.JobID, "-o", string(job.Kind)+extension(job)))
	}
	return nil
}

// fetch waits for a job and brings its file to path, or shows where the file is if path is empty.
// Interrupted, it says how to go on.
func (a *app) fetch(ctx context.Context, c *client.Client, p profile, id, path string) error {
	begun := a.now()
	bar := a.newProgress()
	defer bar.stop()
	job, err := c.Wait(ctx, id, bar.onJob)
	if err != nil {
		return a.leave(ctx, p, bar, id, path, err)
	}
	if _, err := c.ResultOf(job); err != nil {
		if job.State == client.StateExpired {
			return &hinted{fmt.Errorf("job %s: %w: it is expired", id, client.ErrNoFile), "Export it again to get a new file."}
		}
		if a.asJSON {
			return errors.Join(err, a.printJob(ctx, c, id))
		}
		return err
	}
	switch path {
	case "":
	case "-":
		if _, err = c.Download(ctx, job, a.stdout, bar.onFile); err != nil {
			return a.leave(ctx, p, bar, id, path, err)
		}
	default:
		wanted := path
		if path, err = saveName(ctx, c, job, path); err != nil {
			return a.leave(ctx, p, bar, id, path, err)
		}
		if path != wanted {
			a.say("The file is %s, so it is written as %s, not %s.", strings.TrimPrefix(filepath.Ext(path), "."), path, wanted)
			if _, err := os.Lstat(wanted); err == nil {
				a.say("%s is of before.", wanted)
			}
		}
		if err = c.Save(ctx, job, path, bar.onFile); err != nil {
			return a.leave(ctx, p, bar, id, path, err)
		}
	}
	bar.stop()
	for line := range strings.SplitSeq(summary(job, path, a.now().Sub(begun)), "\n") {
		a.say("%s", line)
	}
	switch {
	case a.asJSON:
		return a.printJob(ctx, c, id)
	case path == "" && job.CSVURL != nil:
		fmt.Fprintln(a.stdout, clean(*job.CSVURL, false))
	}
	return nil
}

// summary says what came of an export.
func summary(job *client.Job, path string, took time.Duration) string {
	s := "Exported " + plural(*job.TotalCount, "row", "rows")
	if job.SizeBytes != nil {
		s += ", " + size(*job.SizeBytes)
	}
	if job.Changes != nil {
		s += " (" + changesText(job.Changes) + ")"
	}
	s += " in " + duration(took)
	switch path {
	case "":
		s += ". The link works until " + instant(job.CSVURLExpiresAt).text + " UTC; jobs download makes new ones."
	case "-":
		s += "; checksum right."
	default:
		s += " to " + path + "; checksum right."
	}
	if job.GuardedCells != nil && *job.GuardedCells > 0 {
		s += "\n" + plural(*job.GuardedCells, "cell", "cells") + " got a ' in front, because a spreadsheet would take " + itThem(*job.GuardedCells) + " for a formula."
	}
	return s
}

func itThem(n int64) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

// leave tells a person who interrupts how to come back.
func (a *app) leave(ctx context.Context, p profile, bar *progress, id, path string, err error) error {
	if ctx.Err() == nil {
		return err
	}
	job := bar.latest()
	bar.stop()
	where := "."
	if job != nil && job.State == client.StateRunning && job.Progress.RowsTotal != nil {
		where = fmt.Sprintf(" (%d %%, %s of %s rows).", job.Progress.Percent, thousands(job.Progress.RowsDone), thousands(*job.Progress.RowsTotal))
	}
	if path == "" || path == "-" {
		path = "out.csv"
	}
	if job != nil && job.State == client.StateSucceeded {
		a.say("Interrupted. Job %s is done; what has arrived of its file is kept.", id)
		a.say("Go on:      %s", p.command("jobs", "download", id, "-o", path))
		return interruptedError{}
	}
	a.say("Interrupted. Job %s goes on without you%s", id, where)
	a.say("Come back:  %s", p.command("jobs", "download", id, "-o", path))
	a.say("Or end it:  %s", p.command("jobs", "cancel", id))
	return interruptedError{}
}

// command is a command line of this program for the same profile.
func (p profile) command(args ...string) string {
	if p.flag != "" {
		args = append([]string{"--profile", p.flag}, args...)
	}
	args = slices.Clone(args)
	for i, arg := range args {
		args[i] = quote(arg)
	}
	return "exportctl " + strings.Join(args, " ")
}

// printJob prints a job as the service shows it.
func (a *app) printJob(ctx context.Context, c *client.Client, id string) error {
	r, err := c.GetJobWithResponse(ctx, id, &client.GetJobParams{})
	if err != nil {
		return err
	}
	return a.printJSON(r.Body)
}
