package jobs

import (
	"fmt"
	"strings"
	"time"
)

// Spent is where the time of a run of a job, or of an attempt, went. Of parts that are written side by side
// it is the sum, so that it may be more than has passed.
type Spent struct {
	// Wait is for how long the job was queued and could have been claimed: for a worker's slot, or a place
	// among the jobs of its org. Of a part, it is from its last message to its claim; PartWait is that of all
	// parts of a job.
	Wait     time.Duration `firestore:"wait,omitempty"`
	PartWait time.Duration `firestore:"partWait,omitempty"`
	Count    time.Duration `firestore:"count,omitempty"` // counting the rows
	Plan     time.Duration `firestore:"plan,omitempty"`  // cutting them into parts
	Scan     time.Duration `firestore:"scan,omitempty"`  // waiting for rows
	Encode   time.Duration `firestore:"encode,omitempty"`
	Yield    time.Duration `firestore:"yield,omitempty"`  // standing back for small jobs
	Upload   time.Duration `firestore:"upload,omitempty"` // waiting for the storage to take what is encoded
	Compose  time.Duration `firestore:"compose,omitempty"`
}

// Step is a step that took time.
type Step struct {
	Name string
	Took time.Duration
	// Waits: nobody worked.
	Waits bool
}

// fields are the steps in their order.
func (s *Spent) fields() []struct {
	name  string
	took  *time.Duration
	waits bool
} {
	return []struct {
		name  string
		took  *time.Duration
		waits bool
	}{
		{"wait", &s.Wait, true}, {"part_wait", &s.PartWait, true}, {"count", &s.Count, false}, {"plan", &s.Plan, false}, {"scan", &s.Scan, false},
		{"encode", &s.Encode, false}, {"yield", &s.Yield, false}, {"upload", &s.Upload, false}, {"compose", &s.Compose, false},
	}
}

// Steps lists the steps that took time, in their order.
func (s Spent) Steps() []Step {
	var out []Step
	for _, f := range s.fields() {
		if *f.took > 0 {
			out = append(out, Step{f.name, *f.took, f.waits})
		}
	}
	return out
}

// maxSpent bounds what is believed of a step: years of a thousand parts, and sums of some of it do not
// overflow.
const maxSpent = maxCount * time.Nanosecond * 64

// Plus gives the sum. What no clock can have measured is none.
func (s Spent) Plus(more Spent) Spent {
	to, from := s.fields(), more.fields()
	for i := range to {
		*to[i].took = min(max(*to[i].took, 0), maxSpent) + min(max(*from[i].took, 0), maxSpent)
	}
	return s
}

// ofPart is what a job says of the time of one of its parts.
func (s Spent) ofPart() Spent {
	s.PartWait, s.Wait = s.Wait, 0
	return s
}

// String is for people: "count 12ms, scan 830ms, upload 210ms".
func (s Spent) String() string {
	var out []string
	for _, step := range s.Steps() {
		if took := step.Took.Round(time.Millisecond); took > 0 {
			out = append(out, strings.ReplaceAll(step.Name, "_", " ")+" "+took.String())
		}
	}
	return strings.Join(out, ", ")
}

// SpentWith is where the time of the job's run went, as far as it is recorded: the job has what its own
// attempts and finished parts took, parts have the rest. What a worker that was killed had not reported by
// its last renewal nobody knows.
func (j *Job) SpentWith(parts []*Part) Spent {
	out := j.Spent.Plus(j.SpentNow)
	for _, p := range parts {
		if p.Damage == "" && !p.SpentCounted && p.JobEpoch == j.Epoch && p.PlanEpoch == j.PlanEpoch {
			out = out.Plus(p.Spent.Plus(p.SpentNow).ofPart())
		}
	}
	return out
}

// Total is what the attempts at the part took in this run.
func (p *Part) Total() Spent { return p.Spent.Plus(p.SpentNow) }

// addStateTime notes where the time of the state went that the job leaves.
func (tx *Tx) addStateTime(next State) {
	j := tx.Job
	switch j.State {
	case Queued:
		since := j.CreatedAt
		for _, t := range []time.Time{j.ReadyAt, j.NotBefore} {
			if t.After(since) {
				since = t
			}
		}
		j.Spent = j.Spent.Plus(Spent{Wait: tx.Now.Sub(since)})
	case Running:
		tx.addSpent()
	}
	if next == Queued {
		j.ReadyAt = tx.Now
	}
}

// noteSpent notes what the holder of the job's lease has spent since its claim.
func (tx *Tx) noteSpent() {
	if tx.Spent != (Spent{}) {
		tx.Job.SpentNow, tx.Spent = tx.Spent, Spent{}
	}
}

// addSpent adds up what the holder of the job's lease has spent, by what it or its last renewal says.
func (tx *Tx) addSpent() {
	tx.noteSpent()
	tx.Job.Spent, tx.Job.SpentNow = tx.Job.Spent.Plus(tx.Job.SpentNow), Spent{}
}

// notePartSpent and addPartSpent are the same for a part.
func (tx *Tx) notePartSpent(p *Part) {
	if tx.Spent != (Spent{}) {
		p.SpentNow, tx.Spent = tx.Spent, Spent{}
	}
}

func (tx *Tx) addPartSpent(p *Part) {
	tx.notePartSpent(p)
	p.Spent, p.SpentNow = p.Spent.Plus(p.SpentNow), Spent{}
}

// countPartSpent has the job know what the attempts at a part took. The job is written anyway: its document
// bears one write a second, so that no part's failure, pause or renewal is one.
func (tx *Tx) countPartSpent(p *Part) {
	if !p.SpentCounted {
		tx.Job.Spent, p.SpentCounted = tx.Job.Spent.Plus(p.Spent.Plus(p.SpentNow).ofPart()), true
	}
}

const (
	// expectedBase is what an export of few rows takes at most, with everything well.
	expectedBase = 3 * time.Second
	// expectedRows is how many rows a second a part takes on a busy fleet: half of the 8,000 that a query
	// stream of Firestore gives.
	expectedRows = 4_000
	// expectedParts is how many parts of a job are under way at a time on a small fleet.
	expectedParts = 8
	// slowFactor is by how many times what is expected a slow job exceeds it.
	slowFactor = 4
)

// Expected is how long a job should run, from its first claim to its end, by its rows and parts.
func (j *Job) Expected() time.Duration {
	return expectedBase + time.Duration(j.StreamRows(0)/expectedRows*float64(time.Second))
}

// StreamRows is how many rows each of the parts reads, one after the other, that are under way at a time: no
// more of them than workers have slots for parts, if slots are not 0.
func (j *Job) StreamRows(slots int) float64 {
	atOnce := min(max(j.PartsTotal, 1), expectedParts)
	if slots > 0 {
		atOnce = min(atOnce, slots)
	}
	return float64(max(j.RowsTotal, 0)) / float64(atOnce)
}

// Slow reports whether a job that has ended ran for much longer than its rows predict. One that was run again
// began long before its run: nothing is said of it.
func (j *Job) Slow() bool {
	return j.AttemptBase == 0 && !j.StartedAt.IsZero() && !j.FinishedAt.IsZero() && j.FinishedAt.Sub(j.StartedAt) > slowFactor*j.Expected()
}

// successText is what the timeline says of a job's success.
func (j *Job) successText(r Result) string {
	text := fmt.Sprintf("%d rows, %d bytes", r.FileRows(), r.Size)
	if c := r.Changes; c != nil {
		text += fmt.Sprintf("; %d added, %d changed, %d removed, %d unchanged", c.Added, c.Changed, c.Removed, c.Unchanged)
	}
	if spent := j.Spent.String(); spent != "" {
		text += "; " + spent
	}
	if j.Slow() {
		text += fmt.Sprintf("; slow: ran %s, at most %s was expected", j.FinishedAt.Sub(j.StartedAt).Round(time.Millisecond), j.Expected().Round(time.Second))
	}
	return text
}
