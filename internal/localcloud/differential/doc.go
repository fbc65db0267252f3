// Package differential has the embedded Firestore, on files and in memory, a plain evaluator, and Google's
// emulator where it is installed, answer the same random writes and queries, as tests: all must agree, or a
// line of known.go says by which rule of production they need not.
package differential
