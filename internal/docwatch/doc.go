// Package docwatch watches documents of Firestore for many callers over few streams.
//
// The official client opens a Listen stream for each watched document, on the connection that everything else
// uses; Google takes 100 streams on a connection, so that a hundred waiting callers stop a process. Here
// callers that watch the same document share a target, 100 targets share a stream, 50 streams a connection,
// and the connections carry nothing else.
//
// A stream ends when the server, a proxy or the network says so, hourly at least. Its targets then go to the
// next one, after a random pause. They are not resumed but read again, a read for each document: what changed
// meanwhile is told, what did not is not, and there is no state that could be wrong.
package docwatch
