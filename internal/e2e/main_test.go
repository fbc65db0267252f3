package e2e

import (
	"fmt"
	"os"
	"testing"

	"exportd/internal/e2e/e2etest"
)

// exportd is the path of the binary under test, built once; exportd-dev is beside it.
var exportd string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if raw := os.Getenv(floodingVar); raw != "" {
		return floodingMain(raw)
	}
	dir, err := os.MkdirTemp("", "exportd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if exportd, err = e2etest.Build(dir, e2etest.RaceDetector); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return e2etest.Run(m)
}
