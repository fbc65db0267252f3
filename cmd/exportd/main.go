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
// something failed. A second signal ends the process at once.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // from here on signals have their default effect again
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
