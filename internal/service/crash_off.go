//go:build !crashpoints

package service

import "exportd/worker"

// withCrashes does nothing in a build that is shipped; see crash_on.go.
func withCrashes(c worker.Config) worker.Config { return c }
