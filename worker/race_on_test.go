//go:build race

package worker_test

// crowdEach is small under the race detector, which makes everything ten times slower.
const crowdEach = 4

// raceEnabled: the race detector, which multiplies memory, is on.
const raceEnabled = true
