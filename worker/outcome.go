package worker

import (
	"errors"
	"time"

	"exportd/jobs"
)

// outcome is what becomes of a message after its claim was tried.
type outcome int

const (
	// ack: the claim stands, or there is nothing to claim; the documents know.
	ack outcome = iota
	// nack: nobody can say now; deliver it again after a pause.
	nack
	// leave: the document is another build's, whose rescuer notifies again for it. Handed back, the message
	// would come for as long as workers of this build are the only ones.
	leave
	// bury: no code can ever handle it.
	bury
)

// String names an outcome in metrics.
func (o outcome) String() string { return [...]string{"ack", "nack", "leave", "bury"}[o] }

// nackPause is long enough for a restart of what was unavailable, short beside the rescuer's own notify.
const nackPause = 5 * time.Second

// outcomeOf is the one place that says what an error of a claim means for its message.
func outcomeOf(err error) outcome {
	switch {
	case err == nil, errors.Is(err, jobs.ErrNotDue), errors.Is(err, jobs.ErrLeaseLost):
		return ack
	case errors.Is(err, jobs.ErrUnknownSchema):
		return leave
	case errors.Is(err, jobs.ErrInvalid), errors.Is(err, jobs.ErrNotFound):
		return bury
	}
	// ErrUnavailable and whatever nobody foresaw: later, perhaps by somebody else.
	return nack
}
