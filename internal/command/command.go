// Package command is what exportd's programs share on a command line: signals, exit codes, how a wrong call
// is told, --version and the table of settings in the help.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/config"
	"exportd/internal/version"
)

// Environment is what a command gets from its process; tests give their own.
type Environment struct {
	Getenv         func(string) string
	Environ        []string
	Stdout, Stderr io.Writer
}

// interrupted is the exit code of a program that a signal ended before it had done what it was to do.
const interrupted = 130

// Run runs the program that root makes and returns its exit code: 0 after a clean stop, 2 when it was called
// or configured wrong, 130 when it was interrupted before it was ready or done, 1 when something failed. The
// first SIGINT or SIGTERM stops gracefully, a second ends the process at once.
func Run(root func(Environment) *cobra.Command) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(interrupted)
	}()
	cmd := root(Environment{Getenv: os.Getenv, Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr})
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled) {
		fmt.Fprintf(os.Stderr, "%s: interrupted before it was ready or done; it can be started again\n", cmd.Name())
		return interrupted
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", cmd.Name(), err)
	if _, ok := errors.AsType[config.Faults](err); ok {
		return 2
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return 2
	}
	return 1
}

// Program makes the root command of a program of its commands.
func Program(env Environment, name, short, long string, commands ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use: name, Short: short, Long: long, Version: version.Get().String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without a command there is help; what is no command is refused as any surplus argument.
		Args: NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err, name} })
	root.AddCommand(commands...)
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		help(cmd, args)
		if cmd == root {
			fmt.Fprintf(cmd.OutOrStdout(), "\nEnvironment:\n%s", settingsTable())
		}
	})
	return root
}

// usageError is about how a program was called.
type usageError struct {
	err     error
	program string
}

func (e *usageError) Error() string { return fmt.Sprintf("%v; see %s --help", e.err, e.program) }

// NoArgs is cobra.NoArgs with the exit code of a wrong call.
func NoArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return &usageError{err, cmd.Root().Name()}
	}
	return nil
}

// settingsTable is the table of settings for a terminal.
func settingsTable() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, s := range config.Settings() {
		doc := strings.ReplaceAll(s.Meaning(), "`", "")
		if s.Default != "" {
			doc += " [" + s.Default + "]"
		}
		fmt.Fprintf(w, "  %s\t%s\n", s.Var, doc)
	}
	_ = w.Flush() // to a strings.Builder
	return b.String()
}
