// Package fsstore keeps Firestore documents and their index entries in an ordered key-value engine, with
// every version of the retention period readable.
//
// It owns the key layout, the commit clock, the group commit and reads at an instant. It knows nothing about
// gRPC, queries or transactions: those are the server's. A commit is acknowledged only after its log record
// is on disk, and documents, index entries and history of one commit are one atomic batch.
//
// Instants are microseconds since the Unix epoch throughout.
package fsstore
