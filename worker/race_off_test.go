//go:build !race

package worker_test

// crowdEach makes 1,000 callbacks of 50 hosts.
const crowdEach = 20

// raceEnabled: the race detector, which multiplies memory, is on.
const raceEnabled = false
