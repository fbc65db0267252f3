package jobs

import (
	"net/url"
	"strings"
)

// Search is what no index leads to: jobs are read to find those that fit, but for a job's own id. Empty
// fields fit all.
type Search struct {
	JobID     string `firestore:"jobId,omitempty" json:"jobId,omitempty"`
	RerunOf   string `firestore:"rerunOf,omitempty" json:"rerunOf,omitempty"`
	RequestID string `firestore:"requestId,omitempty" json:"requestId,omitempty"`
	BatchID   string `firestore:"batch,omitempty" json:"batch,omitempty"`
	// CallbackHost is that of the callback URL, without its port or with it.
	CallbackHost string `firestore:"callbackHost,omitempty" json:"callbackHost,omitempty"`
	// Text is in the error's code, message, or what it is about, whatever its case.
	Text string `firestore:"text,omitempty" json:"text,omitempty"`
	// Label and ContentType are as the request has them.
	Label       string `firestore:"label,omitempty" json:"label,omitempty"`
	ContentType string `firestore:"contentType,omitempty" json:"contentType,omitempty"`
	MinAttempts int    `firestore:"minAttempts,omitempty" json:"minAttempts,omitempty"`
	Slow        bool   `firestore:"slow,omitempty" json:"slow,omitempty"`
}

// check is of one that is stored with a batch.
func (s *Search) check(c *checks) {
	for name, text := range map[string]string{
		"jobId": s.JobID, "rerunOf": s.RerunOf, "requestId": s.RequestID, "batch": s.BatchID, "callbackHost": s.CallbackHost, "text": s.Text, "label": s.Label, "contentType": s.ContentType,
	} {
		c.text("filter.search."+name, text, maxText)
	}
	c.small("filter.search.minAttempts", s.MinAttempts)
}

// IsZero reports whether it fits all jobs.
func (s *Search) IsZero() bool { return *s == Search{} }

// is reports whether a job has what is asked for; "" asks for nothing.
func is(want, got string) bool { return want == "" || want == got }

// Fits reports whether a job is found.
func (s *Search) Fits(j *Job) bool {
	if !is(s.JobID, j.ID) || !is(s.RerunOf, j.RerunOf) || !is(s.RequestID, j.RequestID) || !is(s.BatchID, j.BatchID) || !is(s.Label, j.Params.Text("label")) || !is(s.ContentType, j.Params.Text("contentType")) ||
		j.Attempt < s.MinAttempts || s.Slow && !j.Slow() {
		return false
	}
	if s.CallbackHost != "" {
		u, err := url.Parse(j.CallbackURL)
		if err != nil || !strings.EqualFold(u.Host, s.CallbackHost) && !strings.EqualFold(u.Hostname(), s.CallbackHost) {
			return false
		}
	}
	return s.Text == "" || j.Error != nil && strings.Contains(strings.ToLower(string(j.Error.Code)+" "+j.Error.Message+" "+j.Error.What), strings.ToLower(s.Text))
}
