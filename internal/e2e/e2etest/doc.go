// Package e2etest runs the real exportd for tests: it builds the binary, starts processes on free loopback
// ports, signs requests, and reads CSV byte for byte.
//
// Nothing in it knows how exportd works inside: it sees what a caller or an operator sees.
package e2etest
