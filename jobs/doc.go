// Package jobs is the floor that exportd stands on: what a job, a part and a callback are, which transitions
// are legal, and the contracts of the stores and queues that carry them. It knows no Google SDK, no HTTP and
// no clock.
//
// # States
//
//	           claim                 result proved
//	queued ───────────────> running ───────────────> succeeded ──> expired
//	  │  ^                   │ │ │                    file's life over   │
//	  │  └───────────────────┘ │ │                                       │
//	  │   attempt failed, or   │ └──────────> failed ────────┐           │
//	  │   worker interrupted   │  permanent, or out of       │           │
//	  │                        v  attempts                   │ rerun     │ rerun
//	  └──────────────────> canceled ─────────────────────────┴───────────┴──> queued
//
// # The protocol
//
// A message is a doorbell; the documents are the truth. Every transition is a method of Tx (BatchTx,
// CallbackTx): a pure function of the job, its part and the time, run inside one transaction of the store. It
// calls nobody: what it needs and has not been read, it asks for by ErrUnread. No other package changes a
// job, part, callback, batch or place (internal/layout looks). Three rules carry the rest:
//
//  1. Every job that may need somebody has WakeAt set, every part that is held or waits for
//     a retry as well. A crash between any two steps leaves a document whose WakeAt passes, and
//     the rescuer does what is due.
//  2. Each claim makes a new lease token and raises the epoch. A write under another token
//     is refused with ErrLeaseLost, so that a worker that slept through its lease can
//     change nothing, and objects are named after the token, so it can overwrite nothing.
//  3. Nothing is told to anybody before its transaction has committed.
//
// The model in model_test.go runs these same methods through every interleaving of two workers, a rescuer, a
// canceler, an operator and a batch of reruns, of one build and of two, with a crash at each step.
package jobs
