package simulate

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"time"
)

// latency is how long a call takes: log-normal, given by its median and 99th percentile.
type latency struct {
	p50, p99 time.Duration
	source   string
}

// Latencies of Google's services as seen from the same region. Google gives none, so they are assumed:
// medians and tails as monitoring of such services usually shows them, on the slow side.
var (
	firestoreCommit = latency{30 * time.Millisecond, 150 * time.Millisecond, "assumed; regional database, a commit of up to 10 writes"}
	firestoreRead   = latency{10 * time.Millisecond, 80 * time.Millisecond, "assumed; documents by name"}
	firestoreQuery  = latency{20 * time.Millisecond, 120 * time.Millisecond, "assumed; queries and counts served by an index, beside what they read"}
	pubsubPublish   = latency{20 * time.Millisecond, 100 * time.Millisecond, "assumed; publish until acknowledged"}
	pubsubDeliver   = latency{30 * time.Millisecond, 100 * time.Millisecond, "assumed; acknowledged publish until an open pull has the message"}
	pubsubCall      = latency{10 * time.Millisecond, 60 * time.Millisecond, "assumed; acknowledgements, deadlines, the way of a pull"}
	storageWrite    = latency{80 * time.Millisecond, 500 * time.Millisecond, "assumed; last request of an upload, compose"}
	storageCall     = latency{30 * time.Millisecond, 200 * time.Millisecond, "assumed; attributes, list, delete"}
	signBlob        = latency{50 * time.Millisecond, 250 * time.Millisecond, "assumed; IAM signBlob"}
	receiverAnswer  = latency{120 * time.Millisecond, 2 * time.Second, "assumed; receivers of callbacks"}
)

// Rates of what takes long.
const (
	// scanRows a second is what one query stream of Firestore gives: the figure that exportd's issues give
	// for production.
	scanRows = 8_000
	// countEntries a second is how fast a count goes over an index: assumed.
	countEntries = 2_500_000
	// rowBytes is a row of a file: the average of the demo data's messages.
	rowBytes = 150
	// perDocument is what each document of an answer adds: assumed.
	perDocument = 50 * time.Microsecond
)

// What package records does when a read fails: so many tries, with pauses that double from and up to.
const (
	recordsTries   = 8
	recordsPause   = 100 * time.Millisecond
	recordsLongest = 5 * time.Second
)

// z99 is the standard normal's 99th percentile.
const z99 = 2.326

// at gives the latency at a quantile in (0, 1). The tail ends at three times the 99th percentile.
func (l latency) at(u float64) time.Duration {
	sigma := math.Log(float64(l.p99)/float64(l.p50)) / z99
	z := math.Sqrt2 * math.Erfinv(2*u-1)
	return min(time.Duration(float64(l.p50)*math.Exp(sigma*z)), 3*l.p99)
}

// chance gives a number in (0, 1) for something that happens now to what keys name: a function of the seed,
// not of the order in which goroutines come, so that runs of a seed are alike.
func (w *world) chance(keys ...string) float64 {
	h := fnv.New64a()
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], w.seed)
	binary.LittleEndian.PutUint64(b[8:], uint64(time.Since(w.began)))
	_, _ = h.Write(b[:])
	for _, k := range keys {
		_, _ = h.Write([]byte(k))
		_, _ = h.Write([]byte{0})
	}
	x := h.Sum64() // FNV's high bits are poor: mixed as splitmix64 does
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return (float64(x>>11) + 0.5) / (1 << 53)
}
