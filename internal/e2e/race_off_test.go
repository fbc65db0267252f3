//go:build !race

package e2e

// raceDetector: the binary is built the way the test is.
const raceDetector = false
