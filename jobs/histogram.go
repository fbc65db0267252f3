package jobs

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Histogram counts times by bucket. Those of any two windows can be added. Each bucket ends at 2^(1/4) of
// where it begins, so that a quantile is at most 9 % off; the 28 octaves from a millisecond to three days are
// 112.
type Histogram map[int]int64

const (
	bucketsPerOctave = 4
	maxBucket        = 28 * bucketsPerOctave
)

// timePrefix is of counters that are a histogram.
type timePrefix string

// bucketOf is the bucket of a time: 0 holds all below a millisecond.
func bucketOf(d time.Duration) int {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 1 {
		return 0
	}
	return min(1+int(bucketsPerOctave*math.Log2(ms)), maxBucket)
}

func (p timePrefix) bucket(d time.Duration) Counter {
	return Counter(string(p) + strconv.Itoa(bucketOf(d)))
}

func histogramOf(c Counts, p timePrefix) Histogram {
	h := Histogram{}
	for k, n := range c {
		rest, ok := strings.CutPrefix(string(k), string(p))
		if b, err := strconv.Atoi(rest); ok && err == nil && b >= 0 && b <= maxBucket && n > 0 {
			h[b] += n
		}
	}
	return h
}

// Count is how many times there are.
func (h Histogram) Count() (n int64) {
	for _, c := range h {
		n += c
	}
	return n
}

// Quantile is the time that a share of all do not exceed, as the middle of its bucket; 0 if there is none.
func (h Histogram) Quantile(share float64) time.Duration {
	rank := int64(math.Ceil(share * float64(h.Count())))
	for b := range maxBucket + 1 {
		if rank -= h[b]; rank <= 0 && h[b] > 0 {
			if b == 0 {
				return 0
			}
			ms := math.Exp2((float64(b-1) + 0.5) / bucketsPerOctave)
			return time.Duration(ms * float64(time.Millisecond)).Round(time.Millisecond / 10)
		}
	}
	return 0
}
