// Package doctor asks many questions side by side, each of which has its remedy, and reports the answers as a
// table or as JSON. What is asked is its users' matter.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"exportd/internal/panics"
)

// State is how a check ended.
type State string

// The states. A warning is of what somebody may have chosen: it fails nothing. A skipped check found that its
// question makes no sense here, or cannot be asked.
const (
	OK      State = "ok"
	Warning State = "warning"
	Bad     State = "bad"
	Skipped State = "skipped"
)

// Check is a question.
type Check struct {
	// Name says what is asked about, as "topic exportd-parts".
	Name string
	// Remedy is a command, or what to change, for when it is bad. An error with a remedy of its own has
	// precedence.
	Remedy string
	// Where is asked, as host:port or URL; told when no answer comes.
	Where string
	// Run gives what was found. It must return when its context ends.
	Run func(ctx context.Context) (found string, err error)
}

// Finding is the answer to a Check.
type Finding struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"` // of a bad one, and of a warning
}

// skip is the error of a check that is skipped.
type skip struct{ why string }

func (s skip) Error() string { return s.why }

// Skip is what Run returns when its question makes no sense, or cannot be asked.
func Skip(format string, args ...any) error { return skip{fmt.Sprintf(format, args...)} }

// warning is the error of a check that warns.
type warning struct{ what string }

func (w warning) Error() string { return w.what }

// Warn is what Run returns for what is dangerous, and yet may be wanted.
func Warn(format string, args ...any) error { return warning{fmt.Sprintf(format, args...)} }

// fault is an error with its own remedy.
type fault struct {
	error
	remedy string
}

// Fault gives an error a remedy that goes before the check's.
func Fault(err error, remedy string) error { return fault{err, remedy} }

// atOnce is how many checks are under way at a time: each is a request or two.
const atOnce = 32

// Examine makes all checks side by side, within a time, and gives the answers in their order. A check that
// does not return in time is bad, whatever it still does.
func Examine(ctx context.Context, within time.Duration, checks []Check) []Finding {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	type answer struct {
		i int
		f Finding
	}
	answers := make(chan answer, len(checks)) // nobody waits for those who come late
	slots := make(chan struct{}, atOnce)
	for i, c := range checks {
		go func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
			}
			found, err := "", ctx.Err()
			if err == nil {
				err = panics.Do(func() (err error) { found, err = c.Run(ctx); return err })
			}
			answers <- answer{i, c.finding(ctx, within, found, err)}
		}()
	}
	out := make([]Finding, len(checks))
	for range checks {
		select {
		case a := <-answers:
			out[a.i] = a.f
			continue
		case <-ctx.Done():
		}
		// What is bounded by the context comes now; a moment's grace, then it is not waited for.
		select {
		case a := <-answers:
			out[a.i] = a.f
		case <-time.After(grace):
		}
	}
	for i, c := range checks {
		if out[i].Name == "" {
			out[i] = c.finding(ctx, within, "", context.DeadlineExceeded)
		}
	}
	return out
}

// grace is for checks to return after their context has ended.
const grace = 200 * time.Millisecond

func (c Check) finding(ctx context.Context, within time.Duration, found string, err error) Finding {
	f := Finding{Name: c.Name, State: OK, Found: found}
	var s skip
	var w warning
	var own fault
	switch {
	case err == nil:
		return f
	case errors.As(err, &s):
		f.State, f.Found = Skipped, s.why
		return f
	case errors.As(err, &w):
		f.State, f.Found, f.Remedy = Warning, w.what, c.Remedy
		return f
	case ctx.Err() != nil:
		f.Found = fmt.Sprintf("no answer within %s", within)
	default:
		f.Found = err.Error()
	}
	f.State, f.Remedy = Bad, c.Remedy
	if errors.As(err, &own) {
		f.Remedy = own.remedy
	}
	if c.Where != "" && !strings.Contains(f.Found, c.Where) {
		f.Found += " (" + c.Where + ")"
	}
	return f
}

// Count tells how many findings have a state.
func Count(fs []Finding, s State) (n int) {
	for _, f := range fs {
		if f.State == s {
			n++
		}
	}
	return n
}

// WriteTable writes a line per finding; what is bad, or warned of, is followed by its remedy.
func WriteTable(w io.Writer, fs []Finding) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range fs {
		state := string(f.State)
		if f.State == Bad || f.State == Warning {
			state = strings.ToUpper(state)
		}
		line := strings.Join(strings.Fields(f.Found), " ") // a line each, whatever an error says
		if f.Remedy != "" {
			line += "  -> " + f.Remedy
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", state, f.Name, line)
	}
	fmt.Fprintf(t, "%d ok, %d bad, %d to be warned of, %d skipped\n", Count(fs, OK), Count(fs, Bad), Count(fs, Warning), Count(fs, Skipped))
	return t.Flush()
}

// WriteJSON writes the findings as a JSON array.
func WriteJSON(w io.Writer, fs []Finding) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(fs)
}
