package jobs

import "slices"

// State is where a job stands, as callers see it. doc.go draws the diagram.
type State string

const (
	// Queued: accepted; a worker takes it when NotBefore has passed.
	Queued State = "queued"
	// Running: a worker holds the job's lease, or workers hold its parts'.
	Running State = "running"
	// Succeeded: the file is there, proved and downloadable until FileExpiresAt.
	Succeeded State = "succeeded"
	// Failed: ended with Error; an operator may run it again.
	Failed State = "failed"
	// Canceled: ended by its owner or an operator; may be run again.
	Canceled State = "canceled"
	// Expired: succeeded once, the file is gone, by its age or, with an Error, before; may be run again.
	Expired State = "expired"
)

// States lists every state, in the order a job may pass through them.
var States = []State{Queued, Running, Succeeded, Failed, Canceled, Expired}

// transitions is the one table of legal moves. Renewing a lease, pinning a snapshot or committing a part
// leaves the state as it is and is not listed.
var transitions = map[State][]State{
	Queued:    {Running, Canceled, Failed},
	Running:   {Queued, Succeeded, Failed, Canceled},
	Succeeded: {Expired, Queued}, // Queued: by a fresh rerun only
	Failed:    {Queued},
	Canceled:  {Queued},
	Expired:   {Queued},
}

// CanBecome reports whether a job in s may move to next.
func (s State) CanBecome(next State) bool { return slices.Contains(transitions[s], next) }

// Valid reports whether s is a state this version knows.
func (s State) Valid() bool { return slices.Contains(States, s) }

// Ended reports whether a job in s needs no more work by a worker.
func (s State) Ended() bool { return s.Valid() && s != Queued && s != Running }

// Phase is what a running job is at; callers do not see it.
type Phase string

const (
	// PhaseStart: no plan yet; the holder of the job's lease pins the snapshot, counts and plans, and, when
	// one part is enough, writes the file by itself.
	PhaseStart Phase = ""
	// PhaseParts: the plan is stored; parts are claimed one by one, nobody holds the job.
	PhaseParts Phase = "parts"
	// PhaseFinalize: every part is done; the holder of the job's lease composes the file.
	PhaseFinalize Phase = "finalize"
)
