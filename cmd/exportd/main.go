// Command exportd is the service: API, workers, and the embedded cloud for development.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"exportd/internal/config"
)

func main() { os.Exit(run()) }

// run ends with 0 after a clean stop, 2 when it was called or configured wrong, 1 when
// something failed. The first SIGINT or SIGTERM stops gracefully, a second ends the process at once.
func run() int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(130)
	}()
	err := newCommand(environment{getenv: os.Getenv, environ: os.Environ(), stdout: os.Stdout, stderr: os.Stderr}).ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "exportd:", err)
	if _, ok := errors.AsType[config.Faults](err); ok || errors.Is(err, errUsage) {
		return 2
	}
	return 1
}
