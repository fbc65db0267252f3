// Package fsquery turns a StructuredQuery into a normal form that is easy to plan and to evaluate, refusing
// what production refuses with its texts.
//
// It also holds the slow, obvious evaluation of that form over rows in memory (Match, Compare, Run). The
// engine uses it to re-check rows; tests use it as the judge of the engine.
package fsquery
