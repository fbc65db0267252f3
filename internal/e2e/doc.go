// Package e2e holds the end-to-end tests: they start the real binary, as an operator does, and use it as
// callers do, against the embedded cloud and a second time against Google's own emulators. There is nothing
// in it but tests.
package e2e
