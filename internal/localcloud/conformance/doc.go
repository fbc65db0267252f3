// Package conformance lets Google's own tests of Google's own clients judge the embedded cloud: make
// conformance.
package conformance
