// Package panics keeps a panic in one goroutine from ending all that a process is at: a request, a part, a
// document at which each process died would take the others' work with it, again and again.
//
// Whoever begins a goroutine says what a panic in it comes to. Where somebody waits for its result, that is
// an error (Task, Catch). A loop that nobody waits for goes on after a pause, and a Reporter tells of it
// (Loop, Run). What a panic may leave half done has to stand up to that by itself: locks are given back by
// defer, and documents are changed by transactions. internal/layout looks that each goroutine of a service is
// one or the other.
package panics

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Error is a panic as an error.
type Error struct {
	Value any
	Stack []byte
}

// Error is of error.
func (e *Error) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Of gives the panic that an error comes of.
func Of(err error) (*Error, bool) { return errors.AsType[*Error](err) }

// Catch is to be deferred: a panic of the function that defers it becomes its error.
func Catch(err *error) {
	if v := recover(); v != nil {
		*err = &Error{v, debug.Stack()}
	}
}

// Do is fn with a panic as its error.
func Do(fn func() error) (err error) {
	defer Catch(&err)
	return fn()
}

// Task is fn for a group of goroutines whose first error counts.
func Task(fn func() error) func() error {
	return func() error { return Do(fn) }
}
