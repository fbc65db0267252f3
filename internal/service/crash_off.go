//go:build !crashpoints

package service

import (
	"exportd/internal/export"
	"exportd/worker"
)

// crashingObjects, withTestSheets and withCrashes do nothing in a build that is shipped; see crash_on.go.
func crashingObjects(o export.Objects) export.Objects { return o }

func withTestSheets(cfg export.Config) export.Config { return cfg }

func withCrashes(c worker.Config) worker.Config { return c }
