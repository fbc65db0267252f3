package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"exportd/internal/config"
)

// environment is what a command gets from its process; tests give their own.
type environment struct {
	getenv         func(string) string
	environ        []string
	stdout, stderr io.Writer
}

// errUsage marks errors of how the command was called.
var errUsage = errors.New("see exportd --help")

func newCommand(env environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "exportd",
		Short: "Exports of VIP users and VIP messages as jobs",
		Long: `exportd answers the list routes of VIP users and messages and turns exports into
jobs: a worker pages Firestore, writes CSV to Cloud Storage, and the caller polls
or is called back.

Start with:  exportd dev     everything in one process, with demo data
In production:  exportd setup, then exportd api and exportd worker`,
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without a command there is help; what is no command is refused as any surplus argument.
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w; %w", err, errUsage) })
	root.AddCommand(devCommand(env), emulatorsCommand(env), apiCommand(env), workerCommand(env), setupCommand(env), doctorCommand(env))
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		help(cmd, args)
		if cmd == root {
			fmt.Fprintf(cmd.OutOrStdout(), "\nEnvironment:\n%s", settingsTable())
		}
	})
	return root
}

// noArgs is cobra.NoArgs with our exit code.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return fmt.Errorf("%w; %w", err, errUsage)
	}
	return nil
}

// settingsTable is the table of settings for a terminal.
func settingsTable() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, s := range config.Settings() {
		doc := strings.ReplaceAll(s.Doc, "`", "")
		if s.Default != "" {
			doc += " [" + s.Default + "]"
		}
		fmt.Fprintf(w, "  %s\t%s\n", s.Var, doc)
	}
	_ = w.Flush() // to a strings.Builder
	return b.String()
}
