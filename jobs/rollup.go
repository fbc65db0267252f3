package jobs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"
)

// What happened in a window is not counted from jobs, of which there may be millions: whatever ends a run, or
// the delivery of a callback, adds to the rollups of its hour in the same commit. The store adds without
// reading, so that no two ends wait for each other, and an end that is not committed is not counted.
const (
	// RollupHour is what a rollup is of, and RollupSlot the finest that can be asked for.
	RollupHour = time.Hour
	RollupSlot = 5 * time.Minute
	// RollupLife is for how long rollups are kept, by the database's TTL: a month, and the days to look back
	// at it.
	RollupLife = 35 * 24 * time.Hour
	// OrgRollups are the documents that an hour of one org is spread over, by the job. Firestore bears about
	// one write a second of a document for long (places are cut by the same, see PlaceTurns): 16 ends a
	// second of one org, which is over twice what the busiest of the simulated fleet has. Above that commits
	// take longer and are tried again; nothing is lost. What counts for all orgs together a store spreads by
	// its own measure: a number that is enough for the largest fleet would have every window of a small one
	// read hundreds of documents an hour.
	OrgRollups = 16
)

// Counter is what a rollup counts. Besides these there are those of failures by code, of callbacks by state,
// and of times by bucket.
type Counter string

// The counters of ends. Times are of first runs: of one that was run again, it is not known when it began to
// wait.
const (
	CountRows  Counter = "rows"
	CountBytes Counter = "bytes"
	CountSlow  Counter = "slow"
	CountRunMs Counter = "runMs"

	failurePrefix             = "failed_"
	callbackPrefix            = "callback_"
	queuePrefix    timePrefix = "queued_"
	runPrefix      timePrefix = "ran_"
)

// CountEnd counts runs that ended in a state, CountFailure those that failed by a code, CountCallback
// deliveries that came to a state.
func CountEnd(s State) Counter              { return Counter(s) }
func CountFailure(c Code) Counter           { return Counter(failurePrefix + string(c)) }
func CountCallback(s CallbackState) Counter { return Counter(callbackPrefix + string(s)) }

// EndStates are those that a run ends in.
var EndStates = []State{Succeeded, Failed, Canceled}

// Counts are counters with what they have come to.
type Counts map[Counter]int64

// Add adds what others have come to.
func (c Counts) Add(other Counts) {
	for k, n := range other {
		c[k] += n
	}
}

// Failures gives the failures by code, Callbacks the deliveries by state.
func (c Counts) Failures() map[Code]int64 { return named[Code](c, failurePrefix) }

// Callbacks is as Failures.
func (c Counts) Callbacks() map[CallbackState]int64 { return named[CallbackState](c, callbackPrefix) }

func named[T ~string](c Counts, prefix string) map[T]int64 {
	out := map[T]int64{}
	for k, n := range c {
		if name, ok := strings.CutPrefix(string(k), prefix); ok {
			out[T(name)] += n
		}
	}
	return out
}

// Queued are the times that first runs waited, Ran those that they took.
func (c Counts) Queued() Histogram { return histogramOf(c, queuePrefix) }

// Ran is as Queued.
func (c Counts) Ran() Histogram { return histogramOf(c, runPrefix) }

// Tally is what one end adds to the rollups of its time.
type Tally struct {
	At    time.Time
	OrgID string
	Kind  Kind // "" of callbacks
	Shard int  // spreads ends over the documents of an org
	Counts
}

// RollupKey names a document of rollups: of an hour and an org, "" for all together.
type RollupKey struct {
	Hour  time.Time
	OrgID string
	Shard int
}

// ID is the document's. It begins with what differs within an hour: ids that only grow would all be written
// in one place.
func (k RollupKey) ID() string {
	org := "all"
	if k.OrgID != "" {
		sum := sha256.Sum256([]byte(k.OrgID))
		org = hex.EncodeToString(sum[:16])
	}
	return fmt.Sprintf("%02d-%s-%s", k.Shard, org, k.Hour.UTC().Format("2006010215"))
}

// Keys are the documents that a tally is added to. Which shard it is of those of all together, a store says.
func (t *Tally) Keys() []RollupKey {
	hour := t.At.UTC().Truncate(RollupHour)
	keys := []RollupKey{{Hour: hour}}
	if t.OrgID != "" {
		keys = append(keys, RollupKey{Hour: hour, OrgID: t.OrgID, Shard: t.Shard % OrgRollups})
	}
	return keys
}

// Slot names the stretch of the hour that the tally is of: "00" to "55", its first minute.
func (t *Tally) Slot() string { return fmt.Sprintf("%02d", t.At.UTC().Truncate(RollupSlot).Minute()) }

// Rollup is a document of rollups as read: counts by the begin of the slot and by kind.
type Rollup struct {
	RollupKey
	Slots map[time.Time]map[Kind]Counts
}

// Add adds counts to a slot.
func (r *Rollup) Add(slot time.Time, kind Kind, c Counts) {
	if r.Slots == nil {
		r.Slots = map[time.Time]map[Kind]Counts{}
	}
	if r.Slots[slot] == nil {
		r.Slots[slot] = map[Kind]Counts{}
	}
	if r.Slots[slot][kind] == nil {
		r.Slots[slot][kind] = Counts{}
	}
	r.Slots[slot][kind].Add(c)
}

// MergeRollups adds up the documents of each hour and org, in the order of time. It changes none of them.
func MergeRollups(docs []*Rollup) []*Rollup {
	type key struct {
		hour int64
		org  string
	}
	sums := map[key]*Rollup{}
	for _, r := range docs {
		k := key{r.Hour.Unix(), r.OrgID}
		if sums[k] == nil {
			sums[k] = &Rollup{RollupKey: RollupKey{Hour: r.Hour.UTC(), OrgID: r.OrgID}}
		}
		for slot, kinds := range r.Slots {
			for kind, c := range kinds {
				sums[k].Add(slot, kind, c)
			}
		}
	}
	return slices.SortedFunc(maps.Values(sums), func(a, b *Rollup) int {
		return cmp.Or(a.Hour.Compare(b.Hour), strings.Compare(a.OrgID, b.OrgID))
	})
}

// tally notes that the run has ended.
func (tx *Tx) tally() {
	j := tx.Job
	if InSandbox(j.OrgID) {
		return // nothing has happened
	}
	c := Counts{CountEnd(j.State): 1, CountRows: 0, CountRunMs: 0}
	switch {
	case j.State == Failed && j.Error != nil:
		c[CountFailure(j.Error.Code)] = 1
	case j.State == Succeeded:
		c[CountRows], c[CountBytes] = j.Result.Rows, j.Result.Size
		if j.Slow() {
			c[CountSlow] = 1
		}
	}
	if queued, ran, ok := j.firstRun(); ok {
		c[queuePrefix.bucket(queued)], c[runPrefix.bucket(ran)] = 1, 1
		c[CountRunMs] = ran.Milliseconds()
	}
	tx.Tally = newTally(tx.Now, j.OrgID, j.ID, c)
	if j.Kind.Valid() {
		tx.Tally.Kind = j.Kind
	}
}

// newTally is of no org where that is damaged: then it counts for all together alone.
func newTally(at time.Time, orgID, jobID string, c Counts) *Tally {
	if !ValidOrg(orgID) {
		orgID = ""
	}
	return &Tally{At: at, OrgID: orgID, Shard: spread(jobID), Counts: c}
}

// firstRun is how long a job waited for its first claim, and how long it ran, if it has ended and was not run
// again.
func (j *Job) firstRun() (queued, ran time.Duration, ok bool) {
	if j.AttemptBase != 0 || j.StartedAt.IsZero() || j.FinishedAt.IsZero() {
		return 0, 0, false
	}
	return max(0, j.StartedAt.Sub(j.CreatedAt)), max(0, j.FinishedAt.Sub(j.StartedAt)), true
}

// TallyCallback is what a transition of a delivery adds that was in the state before; nil for nothing.
func TallyCallback(before CallbackState, cb *Callback, now time.Time) *Tally {
	if before == cb.State || cb.State == CallbackPending || InSandbox(cb.OrgID) {
		return nil
	}
	return newTally(now, cb.OrgID, cb.JobID, Counts{CountCallback(cb.State): 1, CountRows: 0, CountRunMs: 0})
}

// spread is a number by which the ends of jobs are spread over documents.
func spread(jobID string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(jobID)) // never fails
	return int(h.Sum32() >> 1)
}
