package main

import (
	"os"
	"runtime/debug"
)

// garbagePercent is how much garbage may lie beside what is in use. A release is built without cgo, so that
// the storage engine's memtables and cached blocks, up to 32 MiB, are in Go's heap: at Go's 100 each block
// that the cache gains costs its size twice, and the process grows and shrinks with how far compactions are
// behind.
const garbagePercent = 50

// boundGarbage sets that, unless GOGC says otherwise.
func boundGarbage() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}
