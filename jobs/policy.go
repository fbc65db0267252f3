package jobs

import "time"

// Policy holds the numbers of the protocol. The zero value is of no use; config.Policy has the ones that
// exportd runs with.
type Policy struct {
	// LeaseFor is how long a claim lasts without renewal. Work that a killed worker held stands still that
	// long, so short; a renewal that hangs must not lose it, so several times RenewEvery.
	LeaseFor time.Duration
	// RenewEvery is the heartbeat. A cancel is noticed at the next one.
	RenewEvery time.Duration
	// Skew is how far the clocks of two workers may be apart: a lease is taken from its holder only that long
	// after it has run out.
	Skew time.Duration
	// NotifyAgain is when the message of a queued job or of a window of parts is notified again if nobody
	// came: messages may be lost.
	NotifyAgain time.Duration
	// MaxAttempts bounds the attempts of one run of a job, and of one part.
	MaxAttempts int
	// MaxInterruptions bounds how often in a row a job or part may be interrupted: a job that kills each of
	// its workers must end too.
	MaxInterruptions int
	// BackoffMin and BackoffMax bound the pause after a failed attempt, which doubles.
	BackoffMin, BackoffMax time.Duration
	// Window is the most parts of one job in flight.
	Window int
	// SnapshotLife is how long a snapshot stays readable: an hour, or 7 days with point-in-time recovery;
	// less a margin for the reads under way.
	SnapshotLife time.Duration
	// FileLife and RecordLife are how long a file and a job's record are kept.
	FileLife, RecordLife time.Duration
	// SweepAfter is when leftovers are looked for a second time after a job has ended: by then a worker that
	// had lost its lease has noticed.
	SweepAfter time.Duration
	// Scenarios are how long what happens in a sandbox takes; DefaultScenarioTimes if zero.
	Scenarios ScenarioTimes
	// Jitter gives a random number in [0, 1).
	Jitter func() float64
	// Token makes the token of a new lease; NewToken if nil. No two calls may give the same.
	Token func() string
}

// lapseMargin is by how much what hangs on a job outlives RecordLife, counted from when it was written: a run
// may take as long as its snapshot can be read, which is seven days at most.
const lapseMargin = 8 * 24 * time.Hour

// LapsesAt is when the database may delete what a transition at t writes besides the job's own document. It
// is after the end of the record of a job that ends within a week, so that nothing is missed; of a job that
// is run again after months, the lines of the first run go earlier.
func (p Policy) LapsesAt(t time.Time) time.Time { return t.Add(p.RecordLife + lapseMargin) }

// Backoff is the pause before attempt number spent+1: BackoffMin doubled per spent attempt, at most
// BackoffMax, of which a random half is taken off so that jobs that failed together do not come back
// together.
func (p Policy) Backoff(spent int) time.Duration {
	d := p.BackoffMin
	for i := 1; i < spent && d < p.BackoffMax; i++ {
		d *= 2
	}
	d = min(d, p.BackoffMax)
	return d/2 + time.Duration(p.Jitter()*float64(d/2))
}
