// Command exportctl is the command line of exportd for its callers and its operators. It speaks to the HTTP
// API and nothing else.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, processEnvironment(), os.Args[1:])
	stop()
	os.Exit(code)
}

func processEnvironment() environment {
	return environment{
		getenv: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, now: time.Now,
		stdinTerminal: isTerminal(os.Stdin), stdoutTerminal: isTerminal(os.Stdout), stderrTerminal: isTerminal(os.Stderr),
		width: func() int {
			for _, f := range []*os.File{os.Stdout, os.Stderr} {
				if w, _, err := term.GetSize(int(f.Fd())); err == nil {
					return w
				}
			}
			return 0
		},
		readSecret: func() ([]byte, error) { return term.ReadPassword(int(os.Stdin.Fd())) },
	}
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
