// Package fsvalue holds what Firestore says about single values and names: resource names, field paths, the
// total order of values, what may be written, how large a document is, and an encoding whose byte order is
// the value order.
//
// It has no state and starts nothing; every function may be called from any goroutine as long as nobody
// changes the protobuf messages handed in. Errors that a caller of the server should see are gRPC status
// errors already.
package fsvalue
