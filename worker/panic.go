package worker

import (
	"fmt"
	"runtime/debug"
)

// panicError is a panic of an attempt. The attempt has failed, by a fault of exportd's own; the process, and all
// else that it is at, go on: a job at which each worker dies would take the others with it, again and again.
type panicError struct {
	value any
	stack []byte
}

// Error is of error.
func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// caught is fn with a panic as its error.
func caught(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return fn()
}
