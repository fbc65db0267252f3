// Package layout holds the test of the project's structure: which package may import which, and what may
// stand at the top level. ARCHITECTURE.md explains the rules.
package layout
