package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"exportd/internal/e2e/e2etest"
)

// exportd is the path of the binary under test, built once; exportd-dev is beside it. measured is one without
// the race detector, for tests that measure memory, built when the first of them asks.
var (
	exportd  string
	measured func() (string, error)
)

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
	measured = sync.OnceValues(func() (string, error) {
		if !e2etest.RaceDetector {
			return exportd, nil
		}
		return e2etest.Build(filepath.Join(dir, "measured"), false)
	})
	return e2etest.Run(m)
}
