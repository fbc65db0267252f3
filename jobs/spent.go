package jobs

import (
	"fmt"
	"strings"
	"time"
)

// Spent is where the time of an attempt went. It is told in logs and in the timeline, not stored.
type Spent struct {
	Count, Plan time.Duration // counting the rows, and cutting them into parts
	Read        time.Duration // scanning and encoding rows, and standing back for others
	Upload      time.Duration // waiting for the storage to take them
	Compose     time.Duration // making one file of the parts
}

// Steps lists the steps that took time, by name.
func (s Spent) Steps() (names []string, took []time.Duration) {
	for _, step := range []struct {
		name string
		took time.Duration
	}{{"count", s.Count}, {"plan", s.Plan}, {"read", s.Read}, {"upload", s.Upload}, {"compose", s.Compose}} {
		if step.took > 0 {
			names, took = append(names, step.name), append(took, step.took)
		}
	}
	return names, took
}

// String is for people: "count 12ms, read 830ms, upload 210ms".
func (s Spent) String() string {
	var out []string
	names, took := s.Steps()
	for i, name := range names {
		out = append(out, name+" "+took[i].Round(time.Millisecond).String())
	}
	return strings.Join(out, ", ")
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
	streams := min(max(j.PartsTotal, 1), expectedParts)
	return expectedBase + time.Duration(float64(max(j.RowsTotal, 0))/float64(expectedRows*streams)*float64(time.Second))
}

// Slow reports whether a job that has ended ran for much longer than its rows predict. One that was
// run again began long before its run: nothing is said of it.
func (j *Job) Slow() bool {
	return j.AttemptBase == 0 && !j.StartedAt.IsZero() && !j.FinishedAt.IsZero() && j.FinishedAt.Sub(j.StartedAt) > slowFactor*j.Expected()
}

// ends is what the timeline says of a job's success.
func (j *Job) ends(r Result) string {
	text := fmt.Sprintf("%d rows, %d bytes", r.Rows, r.Size)
	if spent := r.Spent.String(); spent != "" {
		text += "; " + spent
	}
	if j.Slow() {
		text += fmt.Sprintf("; slow: ran %s, at most %s was expected", j.FinishedAt.Sub(j.StartedAt).Round(time.Millisecond), j.Expected().Round(time.Second))
	}
	return text
}
