package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"exportd/api/client"
)

// Exit codes, as the help of the root command has them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitJobFailed   = 3
	exitNotFound    = 4
	exitAuth        = 5
	exitUnavailable = 6
	exitInterrupted = 130 // what a shell says of a program that SIGINT ended
)

// usageError is a command line that cannot work.
type usageError struct{ text, hint string }

func (e *usageError) Error() string { return e.text }

// hinted is an error with what to do about it, in one line or more.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// interruptedError is the end of a command by Ctrl-C. What to do is said already.
type interruptedError struct{}

func (interruptedError) Error() string { return "interrupted" }

// reportedError ends with a code and says no more.
type reportedError struct{ code int }

func (e *reportedError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// report prints an error and returns the exit code for it.
func (a *app) report(err error) int {
	if r, ok := errors.AsType[*reportedError](err); ok {
		return r.code
	}
	if _, ok := errors.AsType[interruptedError](err); ok {
		return exitInterrupted
	}
	code, text, hint := explain(err)
	if h, ok := errors.AsType[*hinted](err); ok {
		hint = h.hint
	}
	if a.asJSON {
		a.reportJSON(err, code, text, hint)
		return code
	}
	p := a.painter(a.stderrTerminal)
	// One line: what others say, or wrote into a file, would be taken for ours on the next one.
	fmt.Fprintf(a.stderr, "%s %s\n", p.paint(red, "exportctl:"), clean(text, false))
	for line := range strings.Lines(hint) {
		fmt.Fprintf(a.stderr, "  %s\n", clean(strings.TrimSuffix(line, "\n"), false))
	}
	return code
}

// reportJSON prints an error for programs: one line on standard error, in the form that the service's answers
// have where it is one of them, so that whoever asked for JSON reads nothing else.
func (a *app) reportJSON(err error, code int, text, hint string) {
	type failure struct {
		Message   string         `json:"message"`
		Hint      string         `json:"hint,omitempty"`
		ExitCode  int            `json:"exitCode"`
		Status    int            `json:"status,omitempty"`
		RequestID string         `json:"requestId,omitempty"`
		Details   []client.Fault `json:"details,omitempty"`
	}
	f := failure{Message: text, Hint: hint, ExitCode: code}
	if e, ok := errors.AsType[*client.Error](err); ok {
		f.Message, f.Status, f.RequestID, f.Details = subject(err, e)+e.Message, e.Status, e.RequestID, e.Faults
	}
	if raw, err := json.Marshal(map[string]failure{"error": f}); err == nil { // texts and numbers alone
		_, _ = a.stderr.Write(append(escapeJSON(raw), '\n')) // nowhere to tell of it
	}
}

// explain says what happened and what to do, and gives the exit code.
func explain(err error) (code int, text, hint string) {
	if u, ok := errors.AsType[*usageError](err); ok {
		return exitUsage, u.text, u.hint
	}
	if f, ok := errors.AsType[*client.FailedError](err); ok {
		return exitJobFailed, f.Error(), hintForJob(f.Job)
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		return explainAnswer(err, e)
	}
	var dns *net.DNSError
	var network *net.OpError // not net.Error, which errors of files are as well
	var request *url.Error
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted, "interrupted", ""
	case errors.Is(err, client.ErrNoFile):
		return exitNotFound, err.Error(), "Export it again to get a new file."
	case errors.Is(err, client.ErrCorrupt):
		return exitFailed, err.Error(), "The file on its way was changed or cut. Try again; nothing was left behind."
	case errors.As(err, &dns):
		return exitUnavailable, fmt.Sprintf("host %s is not known", dns.Name), "Is the URL of the profile right? See: exportctl profiles list"
	case errors.As(err, &network), errors.As(err, &request):
		return exitUnavailable, "cannot reach the service: " + cause(err), unreachableHint
	}
	return exitFailed, err.Error(), ""
}

const unreachableHint = "Does it run, and is the URL of the profile right? See: exportctl profiles list"

// cause takes method and URL out of a network error: they are long and say nothing new.
func cause(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err.Error()
	}
	return err.Error()
}

// noRoute is what the service says of paths that it does not have.
const noRoute = "no such route"

// subject is what an answer was about, without status and request id, which say nothing to most.
func subject(err error, e *client.Error) string { return strings.TrimSuffix(err.Error(), e.Error()) }

// explainAnswer does explain for what the service answered.
func explainAnswer(err error, e *client.Error) (code int, text, hint string) {
	about := subject(err, e)
	text = about + e.Message
	switch e.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if len(e.Faults) == 0 {
			return exitUsage, text, ""
		}
		lines := make([]string, len(e.Faults))
		for i, f := range e.Faults {
			lines[i] = clean(faultText(f), false)
		}
		return exitUsage, about + "the service does not accept this:", strings.Join(lines, "\n")
	case http.StatusUnauthorized:
		return exitAuth, about + "the service refuses the key: " + e.Message,
			"Are key and secret right, is the key enabled and not expired, and is this machine's clock right (within 5 s ahead, 60 s behind)?"
	case http.StatusForbidden:
		return exitAuth, text, "Another key may: see --profile. With demo.json, \"ops\" and \"keys\" commands use the operator's key by themselves."
	case http.StatusNotFound:
		if e.Message == noRoute {
			return exitNotFound, about + "the service cannot do this", "It is another version than this program, or the URL of the profile is not its own."
		}
		return exitNotFound, text, "A key sees only what belongs to its own org."
	case http.StatusGone:
		return exitNotFound, text, "Export it again to get a new file."
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return exitUnavailable, text, hintToWait(e)
	case http.StatusInternalServerError:
		return exitFailed, text, "The service's log has the cause under request " + e.RequestID
	}
	return exitFailed, text, ""
}

func hintToWait(e *client.Error) string {
	if e.Budget != nil {
		return "" // the message says when there is more, or that waiting does not help
	}
	hint := "Try again later."
	if e.RetryAfter > 0 {
		hint = fmt.Sprintf("Try again in %s.", e.RetryAfter.Round(time.Second))
	}
	if len(e.RunningJobIDs) > 0 {
		hint += "\nRunning now: " + strings.Join(e.RunningJobIDs, ", ")
	}
	return hint
}

func hintForJob(j *client.Job) string {
	switch {
	case j.Error == nil:
		return ""
	case j.Error.Retryable:
		return "The same export may work later."
	}
	return "See: exportctl jobs get " + j.JobID
}

// flagOf are the flags that have other names than their parameters.
var flagOf = map[string]string{
	"workspaceId": "--workspace", "mediumId": "--medium", "from": "--from", "to": "--to", "profile": "--csv-profile", "formulaGuard": "--formula-guard",
	"format": "--format", "compression": "--compression", "columns": "--columns", "timezone": "--timezone", "delimiter": "--delimiter", "header": "--header", "since": "--since",
	"callbackUrl": "--callback-url", "limit": "--limit", "offset": "--offset", "before": "--before", "state": "--state", "kind": "--kind",
	"orgId": "--org", "errorCode": "--error-code", "createdAfter": "--created-after", "createdBefore": "--created-before",
	"pageToken": "--page-token", "reason": "--reason", "name": "--name", "scopes": "--scope", "expiresAt": "--expires",
	"callbackHosts": "--callback-host", "ipRanges": "--ip-range", "minSignatureVersion": "--min-signature-version", "overlapSeconds": "--overlap", "oneUse": "--one-use", "rowsPerDay": "--rows-per-day", "readsPerDay": "--reads-per-day", "origin": "ORIGIN", "mode": "--mode", "maxPerSecond": "--max-per-second", "Idempotency-Key": "--idempotency-key", "Export-Test-Scenario": "--test-scenario",
}

// faultText says what is wrong with a parameter in terms of flags.
func faultText(f client.Fault) string {
	if len(f.Path) == 0 {
		return f.Message
	}
	name := f.Path[len(f.Path)-1]
	text := strings.TrimPrefix(f.Message, `"`+name+`" `)
	switch flag := flagOf[name]; {
	case len(f.Path) == 2 && f.Path[0] == "filter":
		name = "--filter " + name
	case flag != "":
		name = flag
	case isFilter(name):
		name = "--" + flagName(name)
	}
	if v, ok := f.Context["value"].(string); ok && v != "" {
		text += fmt.Sprintf(" (got %q)", v)
	}
	return name + " " + text
}
