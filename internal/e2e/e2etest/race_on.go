//go:build race

package e2etest

// RaceDetector: the test was built with it. What it runs is to be built so, too.
const RaceDetector = true
