// Package heaptest is for tests of what stays in memory: of tables that strangers fill, mostly. They run
// alone, not in parallel, as all that the process holds is measured.
package heaptest

import (
	"flag"
	"runtime"
)

// entries is by default what would pass the bound of each table if it had none, as a million takes minutes
// under the race detector.
var entries = flag.Int("strangers", 150_000, "how many entries tests put into each table that strangers fill")

// Entries is how many entries a test puts into a table.
func Entries() int { return *entries }

// InUse is the bytes of what is reachable.
func InUse() int {
	runtime.GC()
	runtime.GC() // what a finalizer or a pool held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
