package jobs

import (
	"net/url"
	"strings"
)

// Search is what no index leads to: jobs are read to find those that fit. Empty fields fit all.
type Search struct {
	RequestID, BatchID string
	// CallbackHost is that of the callback URL, without its port or with it.
	CallbackHost string
	// Text is in the error's code, message, or what it is about, whatever its case.
	Text               string
	Label, ContentType string // as the request has them
	MinAttempts        int
	Slow               bool
}

// IsZero reports whether it fits all jobs.
func (s *Search) IsZero() bool { return *s == Search{} }

// Fits reports whether a job is found.
func (s *Search) Fits(j *Job) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	if !is(s.RequestID, j.RequestID) || !is(s.BatchID, j.BatchID) || !is(s.Label, j.Params.Text("label")) || !is(s.ContentType, j.Params.Text("contentType")) ||
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
