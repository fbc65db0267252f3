// Package jobstore keeps jobs, parts, events, callbacks and leases in Firestore.
//
//	ExportJobs/{jobId}                   the job
//	ExportJobs/{jobId}/parts/{partId}    its parts, ids as jobs.PartID
//	ExportJobs/{jobId}/events/{eventId}  its timeline, ids in order of time
//	ExportFingerprints/{fingerprint}     the job that equal requests share
//	ExportIdempotency/{hash}             the job that an Idempotency-Key gave
//	ExportCallbacks/{webhookId}          deliveries
//	ExportPlaces/{org hash}-{number}     places of an org's running jobs; five more documents of each
//	                                     end in -1 to -5 (jobs.PlaceTurns)
//	ExportCallbackReceivers/{hash}       destinations of callbacks that fail
//	ExportLinks/{org hash}               which generation of an org's links is good
//	ExportBudgets/{hash}-{day}           what a key with a budget has spent in a day
//	ExportDownloads/{hash}               who has followed a link to a file, by hour
//	ExportLeases/{name}                  the rescuer's lease, workers' presence, paused queues
//
// Transitions are jobs.Tx methods that the caller passes to Update; this package reads the documents, applies
// the transition and commits what it changed in one atomic commit, on condition that every document it writes
// is still the one that was read (its update time). That is compare-and-set: one read and one commit, no
// locks that a dead process could hold, no seconds of pause in which the official client waits after a lost
// transaction. A commit whose answer was lost is recognised by the random rev that each write carries.
package jobstore
