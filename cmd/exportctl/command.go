package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"exportd/internal/dataset"
	"exportd/internal/version"
)

// environment is what the program gets from its process; tests give their own.
type environment struct {
	getenv                                        func(string) string
	stdin                                         io.Reader
	stdout, stderr                                io.Writer
	stdinTerminal, stdoutTerminal, stderrTerminal bool
	width                                         func() int // of the terminal, 0 if there is none
	readSecret                                    func() ([]byte, error)
	now                                           func() time.Time
}

// app is one run of the program.
type app struct {
	environment
	profileName string
	asJSON      bool
	progress    *progress // nil while there is none
}

// Groups of commands in the help.
const (
	groupExports  = "exports"
	groupData     = "data"
	groupOperate  = "operate"
	groupSettings = "settings"
)

// run runs a command line and returns the exit code.
func run(ctx context.Context, env environment, args []string) int {
	a := &app{environment: env}
	root := a.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	a.asJSON = a.asJSON || slices.Contains(args, "--json") // after a flag that could not be read
	return a.report(err)
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "exportctl",
		Short: "Export VIP users and messages, look after the jobs, operate the service",
		Long: `exportctl exports VIP users and VIP messages as CSV files, looks after export jobs
and operates an exportd service, over its HTTP API.

On a machine where "exportd-dev run" runs it works without any set-up: it finds
./.data/demo.json.

  exportctl export vip-messages -o messages.csv
  exportctl jobs list
  exportctl ops jobs list --state failed

Which service, and as whom, by what is there first:
  --profile NAME        of the config file, or a path to a demo.json
  EXPORTCTL_PROFILE     the same
  EXPORTCTL_URL, EXPORTCTL_KEY, EXPORTCTL_SECRET (and EXPORTCTL_SIGNATURE_VERSION)
  the default profile of the config file
  ./.data/demo.json

Exit codes:
  0  done                     4  no such thing, or no longer there
  1  failed                   5  the key is refused, or may not do this
  2  called wrong             6  rate limited or not reachable: try later
  3  the job failed or was    130 interrupted: the job goes on
     canceled`,
		Version:      version.Get().String(),
		SilenceUsage: true, SilenceErrors: true,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().StringVar(&a.profileName, "profile", "", "profile of the config file, or path of a demo.json")
	root.PersistentFlags().BoolVar(&a.asJSON, "json", false, "print what the service answers, as JSON")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return flagError(cmd, err) })
	root.AddGroup(
		&cobra.Group{ID: groupExports, Title: "Exports:"}, &cobra.Group{ID: groupData, Title: "Data:"},
		&cobra.Group{ID: groupOperate, Title: "Operate:"}, &cobra.Group{ID: groupSettings, Title: "Settings and tools:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupExports, a.exportCommand(), a.jobsCommand())
	for _, d := range dataset.BuiltIn {
		add(groupData, a.listCommand(d))
	}
	add(groupData, a.labelsCommand(), a.rowsCommand(), a.workspacesCommand(), a.channelsCommand(), a.limitsCommand())
	add(groupOperate, a.opsCommand(), a.keysCommand())
	add(groupSettings, a.profilesCommand(), a.signCommand(), a.callbacksCommand(), a.conformanceCommand())
	root.SetHelpCommandGroupID(groupSettings)
	root.SetCompletionCommandGroupID(groupSettings)
	return root
}

// parent is a command that only has subcommands.
func parent(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(children...)
	return cmd
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		hint := "the commands are in: " + cmd.CommandPath() + " --help"
		cmd.SuggestionsMinimumDistance = 2 // cobra's, which it sets where it suggests by itself alone
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean: " + cmd.CommandPath() + " " + near[0]
		}
		return &usageError{text: fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0]), hint: hint}
	}
	return &usageError{text: fmt.Sprintf("%s takes no argument, and got %q", cmd.CommandPath(), args[0]), hint: "see: " + cmd.CommandPath() + " --help"}
}

// oneArg takes exactly one argument and calls it what.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return &usageError{text: fmt.Sprintf("%s: %s is missing", cmd.CommandPath(), what), hint: "like: " + cmd.UseLine()}
		case len(args) > 1:
			return &usageError{text: fmt.Sprintf("%s takes one %s, and got %q too", cmd.CommandPath(), what, args[1])}
		}
		return nil
	}
}

// atMostOne is oneArg for what may be left out.
func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return oneArg(what)(cmd, args)
	}
}

// flagError says of a flag's value what would do: pflag says what Go's parser thinks of it. A flag of a
// command that is none is not the fault.
func flagError(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() {
		if unknown := cmd.ValidateArgs(cmd.Flags().Args()); unknown != nil {
			return unknown
		}
	}
	text := err.Error()
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		flag := invalid.GetFlag()
		what, known := map[string]string{
			"int": "a whole number", "int64": "a whole number", "bool": "true or false", "duration": "a time like 90s, 15m or 2h",
		}[flag.Value.Type()]
		if !known {
			what = "a " + flag.Value.Type()
		}
		text = fmt.Sprintf("--%s is %s, not %q", flag.Name, what, invalid.GetValue())
	}
	return &usageError{text: text, hint: "see: " + cmd.CommandPath() + " --help"}
}
