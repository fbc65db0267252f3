// Package fuzz sends any bytes to every port of the embedded cloud, as tests: nothing may panic, hang, or
// take more memory than what was sent calls for. `make fuzz` runs these targets and those of all other
// packages.
package fuzz
