package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Cause is why jobs failed, or callbacks were given up, exactly: what has one cause is mended by one act, and
// begun again together.
type Cause struct {
	// Code is that of the failed jobs, or of callbacks one of CallbackCauses.
	Code Code
	// What of it: which index, which permission, which bucket, which receiver. In which part a job failed is
	// none of it (JobError.Part): 34 parts that lack one index are one cause, and so are the parts of many
	// jobs that a service was away for, or that died with their workers, whose memory is bounded whatever the
	// rows are. Where rows themselves are at fault, What says which: the document that cannot be parsed, or
	// the stretch of rows that was counted otherwise than read. That is finer than a part, and stays the same
	// when a new plan cuts others.
	What string
}

// The codes of causes of callbacks, by the state that they ended in.
const (
	CauseExhausted Code = "CALLBACK_EXHAUSTED"
	CauseBlocked   Code = "CALLBACK_BLOCKED"
	CauseGone      Code = "CALLBACK_GONE"
	CauseSuspended Code = "CALLBACK_SUSPENDED"
)

// CallbackCauses are the states of callbacks that have a cause.
var CallbackCauses = map[Code]CallbackState{
	CauseExhausted: CallbackExhausted, CauseBlocked: CallbackBlocked, CauseGone: CallbackGone, CauseSuspended: CallbackSuspended,
}

// ID names the cause in filters and paths. It begins with the code.
func (c Cause) ID() string {
	sum := sha256.Sum256([]byte(string(c.Code) + "\x00" + c.What))
	return string(c.Code) + "-" + hex.EncodeToString(sum[:6])
}

// CauseCode is the code of a cause by its id, "" for what is no id.
func CauseCode(id string) Code {
	code, sum, ok := strings.Cut(id, "-")
	if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != 6 || sum != strings.ToLower(sum) || !validCode(Code(code)) {
		return ""
	}
	return Code(code)
}

// Cause is that of a failure. Where it is not on record exactly, messages that differ in numbers alone are of
// one.
func (e *JobError) Cause() Cause {
	if e.What != "" {
		return Cause{e.Code, e.What}
	}
	return Cause{e.Code, digits.ReplaceAllString(e.Message, "#")}
}

var digits = regexp.MustCompile(`\d+`)

// cause is that of a delivery that has ended undelivered; false for any other.
func (cb *Callback) cause() (c Cause, ok bool) {
	for code, state := range CallbackCauses {
		if cb.State == state {
			return Cause{code, clip(cb.Origin+" "+cb.answer(), maxWhat)}, true
		}
	}
	return Cause{}, false
}

// answer is what the last try came to.
func (cb *Callback) answer() string {
	if len(cb.Attempts) == 0 {
		return "was not asked"
	}
	switch try := cb.Attempts[len(cb.Attempts)-1]; {
	case cb.State == CallbackSuspended:
		return "is suspended"
	case try.Status != 0:
		return fmt.Sprintf("answers %d", try.Status)
	default:
		return strings.ReplaceAll(try.Class, "_", " ")
	}
}

const (
	// maxWhat bounds what a cause is about, in bytes: an index of a dozen fields has some 300.
	maxWhat = 1000
	// CauseAgain is how often a process notes at most that it met a cause: one that all jobs of a fleet meet
	// must not have them wait for each other at its document, which bears a write a second.
	CauseAgain = time.Minute
)

// CauseNote is what is remembered of a cause besides the jobs and callbacks that have it.
type CauseNote struct {
	Cause
	Message string
	Remedy  string
	// FirstAt is when it was first met, and LastAt when it was last noted that it was: CauseAgain may have
	// passed since at each process.
	FirstAt, LastAt time.Time
	// ExpiresAt is when the last job has gone that may have it.
	ExpiresAt time.Time
	// Probe is how the last look went whether it is mended.
	Probe *Probe
}

// Probe is a look whether a cause is mended.
type Probe struct {
	At      time.Time    `firestore:"at"`
	Verdict ProbeVerdict `firestore:"verdict"`
	Says    string       `firestore:"says"` // in words for operators
}

// ProbeVerdict is what a look came to.
type ProbeVerdict string

// The verdicts. Unknown is of causes that only a run can tell of.
const (
	ProbeFixed    ProbeVerdict = "fixed"
	ProbeNotFixed ProbeVerdict = "not_fixed"
	ProbeUnknown  ProbeVerdict = "unknown"
)

// link is the first in a text.
var link = regexp.MustCompile(`https://[^\s"'<>]+`)

// Link is where the remedy leads, "" if it leads nowhere: Firestore's text of a missing index has it.
func (n *CauseNote) Link() string { return strings.TrimRight(link.FindString(n.Remedy), ".,;)") }

// Fixed reports whether a look found the cause mended, and it was not met since.
func (n *CauseNote) Fixed() bool {
	return n.Probed() && n.Probe.Verdict == ProbeFixed
}

// Probed reports whether somebody has looked since it was last noted whether the cause is mended. Nobody has
// at one of which nothing is remembered.
func (n *CauseNote) Probed() bool { return n != nil && n.Probe != nil && n.Probe.At.After(n.LastAt) }

// NotedBy reports whether a cause that is met at that time need not be noted again: it was noted less than
// CauseAgain before, and was not probed since.
func (n *CauseNote) NotedBy(at time.Time) bool {
	return !at.Before(n.LastAt) && at.Sub(n.LastAt) < CauseAgain && !n.Probed()
}

// noteOf is a cause as it is met now.
func noteOf(c Cause, message, remedy string, p Policy, now time.Time) *CauseNote {
	return &CauseNote{Cause: c, Message: message, Remedy: remedy, FirstAt: now, LastAt: now, ExpiresAt: now.Add(p.RecordLife)}
}

// blame ends the job's run with an error, and notes its cause.
func (tx *Tx) blame(e JobError) {
	if InSandbox(tx.Job.OrgID) { // nobody is to mend anything
		tx.Job.Error = &e
		return
	}
	c := e.Cause()
	e.CauseID = c.ID()
	tx.Job.Error, tx.Met = &e, noteOf(c, e.Message, e.Remedy, tx.Policy, tx.Now)
}

// remedies are for whoever looks after receivers.
var remedies = map[CallbackState]string{
	CallbackExhausted: "see that the receiver answers 2xx within 15 s; then send again what it has missed",
	CallbackBlocked:   "see deployments/operations for where callbacks may go, and whether the key that asked for them is in force",
	CallbackGone:      "the receiver answered 410, so nothing more is sent to that URL; resume it once it is wanted again",
	CallbackSuspended: "resume the receiver once it answers again: what was held back is then sent",
}

// blame notes why a delivery has ended undelivered.
func (tx *CallbackTx) blame() {
	cb := tx.Callback
	c, ok := cb.cause()
	if !ok || InSandbox(cb.OrgID) {
		cb.CauseID = ""
		return
	}
	cb.CauseID, tx.Met = c.ID(), noteOf(c, "callbacks were given up: "+c.What, remedies[cb.State], tx.Policy, tx.Now)
}

// CauseQuery asks for the cases of a cause: failed jobs by when they failed, or callbacks by when their
// export ended, within [From, To). Callbacks have no kind.
type CauseQuery struct {
	ID, OrgID string
	Kind      Kind
	From, To  time.Time
}

// Callbacks reports whether the cases are callbacks, and in which state.
func (q *CauseQuery) Callbacks() (CallbackState, bool) {
	state, ok := CallbackCauses[CauseCode(q.ID)]
	return state, ok
}

// CauseCase is a job that has a cause, or whose callback has.
type CauseCase struct {
	JobID, OrgID string
	At           time.Time
	Part         *int // as JobError.Part
}

// CauseCases are the cases of a cause, as far as they were not begun again.
type CauseCases struct {
	Count int64
	// Latest are the latest, at most CasesShown.
	Latest []CauseCase
}

// CasesShown is how many cases are read to tell of whom they are.
const CasesShown = 20

// BatchOutcome is how the jobs are that a batch has run again, or the callbacks that it has sent again.
// Stores count Rerun first, then Live, and look last for one that failed: what was begun again is seen as
// live or as ended then, whatever happens meanwhile.
type BatchOutcome struct {
	Rerun int64
	Live  int64 // of these, jobs that have not ended and callbacks that are pending
	// Listed is that of the batch, as it was before this was counted; whoever had it counted says so.
	Listed bool
	// Again says of one that it failed again, as JobFailedAgain does, and of jobs by the batch's cause if it
	// has one; "" if there is none.
	Again string
}

// JobFailedAgain says which job of a batch failed again.
func JobFailedAgain(id string) string { return "job " + id + " failed again" }

// Check says what is wrong with what is remembered of a cause, "" for nothing.
func (n *CauseNote) Check(id string, now time.Time) string {
	c := &checks{now: now}
	c.that(n.ID() == id && CauseCode(id) == n.Code, "code and what are not those of its id")
	c.text("what", n.What, maxText)
	c.text("message", n.Message, maxText)
	c.text("remedy", n.Remedy, maxText)
	c.that(n.FirstAt.After(earliest) && n.LastAt.After(earliest), "firstAt and lastAt are missing")
	c.happened("firstAt", n.FirstAt)
	c.happened("lastAt", n.LastAt)
	if n.Probe != nil {
		c.text("probe.says", n.Probe.Says, maxText)
		c.text("probe.verdict", string(n.Probe.Verdict), maxText)
		c.happened("probe.at", n.Probe.At)
	}
	return c.what
}
