// Package simulate finds out where exportd would break first at a hundred times today's load, before it is
// there: how full each of Google's limits is, how long jobs wait, and what it costs.
//
// # What is real
//
// Workers are worker.Pool, with their queues, heartbeats, rescuer and callback queue; they and the API's
// submissions work on jobstore.Store, with its groups, remembered jobs and retries, through Google's own
// Firestore client; the transitions are those of package jobs, plans those of package export. Each runs as it
// does in production, but in a bubble of testing/synctest: time is virtual and moves on when all wait, so
// that an hour of a thousand workers takes minutes. Nothing of the protocol is written down here a second
// time, so that a change of it changes the figures.
//
// # What is modelled
//
//   - Firestore: the client's connection ends in a database in memory, with the indexes of
//     deployments/firestore.indexes.json and production's preconditions; a query without its
//     index is refused. Each call takes a random latency, half of it before it takes effect and half
//     behind. Writes are counted for each document, and for each range of an index in which entries
//     come in the order of time (same values in the fields before the time).
//   - Pub/Sub: at-least-once, no order, unary pulls that wait, deadlines of 20 s.
//   - Cloud Storage, IAM, receivers: calls that take time and are counted, in the order in which package
//     objectstore makes them.
//   - Rows: time that passes at a stream's pace; what is in them plays no part.
//   - Callers: each waits with a listener, which reads the job once and after each change.
//   - Faults: a killed worker's calls never return; a brown-out makes Firestore slower and has calls
//     fail, half of them after they took effect.
//
// # What is assumed
//
// Latencies, paces and the sizes of orgs and exports are tables (latency.go, traffic.go) that the report
// repeats. Processors are not simulated: a worker is as fast as its services let it be. Nor are the effects
// of a limit that is passed: the figures say that it would be.
//
// Random choices are functions of the seed, of the time, and of what they are about, so that runs of one seed
// have the same jobs at the same times and figures that agree. They are not equal to the last call: retries
// in the job store and the rescuers' pauses take their jitter from the runtime's randomness, and the runtime
// orders goroutines that wake in the same instant.
//
// TestAgainstRealServices runs the same script on the embedded cloud and compares each kind of call.
package simulate
