package jobs

import "time"

// DueKind is a class of documents that somebody must look at when their wakeAt has passed.
type DueKind int

// The classes. Each is asked for by itself.
const (
	DueJobs      DueKind = iota // queued and running ones
	DueEnded                    // jobs that have ended: files to expire, records to purge
	DueParts                    // of whatever job
	DueCallbacks                // ended ones have no wakeAt
	DuePlaces                   // of running jobs of orgs, which others wait for
)

// String names a class in metrics.
func (k DueKind) String() string {
	return [...]string{"jobs", "ended", "parts", "callbacks", "places"}[k]
}

// Due is a document whose wakeAt has passed.
type Due struct {
	// Message names it.
	Message Message
	// Foreign: no transition can ever be made on it, as exportd gives no such names. It is to be retired.
	Foreign bool
	// At is its wakeAt.
	At time.Time
	// Place is the place that is due, of DuePlaces.
	Place PlaceKey

	// Key is the store's name for the document, the same whenever it is due, and Version when it was last
	// written. Of what was not found by being due they are zero.
	Key     string
	Version time.Time
}

// PlaceKey names a place of an org.
type PlaceKey struct {
	OrgID  string
	Number int
}

// DuePage is a page of what is due; Next is nil when there is no more.
type DuePage struct {
	Docs []Due
	Next *DueCursor
}

// DueCursor is where a page ends.
type DueCursor struct {
	At  time.Time
	Key string
}

// AllShards lists the shards.
func AllShards() []int {
	all := make([]int, Shards)
	for i := range all {
		all[i] = i
	}
	return all
}

// Audit is a stretch of documents that somebody looks through, because one that was damaged may be in none of
// the indexes that the rescuer asks: its wakeAt, its shard, its state may be what is missing.
type Audit int

// The stretches. Live jobs come round soon, the others at leisure: a document that is not live as far as its
// state says keeps nobody waiting, and whoever reads a damaged job ends it.
const (
	AuditRunning Audit = iota
	AuditQueued
	AuditJobs
	AuditPending // callbacks, those that have waited longest
	AuditCallbacks
	AuditBatches
	Audits // how many there are
)
