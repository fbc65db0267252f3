package client_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// caseFile is testdata/cases.json: what the clients of all languages must do.
type caseFile struct {
	// Clock is what clients take for now when a case begins.
	Clock  string `json:"clock"`
	Key    string `json:"key"`
	Secret string `json:"secret"`
	JobID  string `json:"jobId"`
	// File is what the job's file holds.
	File  string       `json:"file"`
	Cases []clientCase `json:"cases"`
}

// clientCase is a call, how the service answers what it comes to, and what must come of it.
type clientCase struct {
	Name string         `json:"name"`
	Call map[string]any `json:"call"`
	// Answers are the requests that must come, one after the other, and what each is answered with.
	Answers []caseAnswer   `json:"answers,omitempty"`
	Outcome map[string]any `json:"outcome"`
	// Waits are the seconds at least and at most that all pauses come to; nil: none are counted, as a
	// connection stands still.
	Waits *[2]float64 `json:"waits,omitempty"`
}

type caseAnswer struct {
	For  string            `json:"for"`  // method, path and query, "GET /limits"
	With map[string]string `json:"with"` // headers of the request: "" none, "*" any, "{cut}" the range behind CutEach

	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	JSON    any               `json:"json"`
	Job     map[string]any    `json:"job"`  // a job, by the members that differ
	File    *string           `json:"file"` // bytes that Range picks from; "" is the case file's
	// Cut breaks the connection behind so many bytes of the body; CutEach makes a case of each number.
	Cut     *int `json:"cut"`
	CutEach bool `json:"cutEach"`
	Stall   bool `json:"stall"` // stands still where it would be cut
	Drop    bool `json:"drop"`  // ends the connection without an answer
	Times   int  `json:"times"` // so many requests are answered so; 0 is 1
}

func readCases(t *testing.T) *caseFile {
	t.Helper()
	raw, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	f := new(caseFile)
	if err := json.Unmarshal(raw, f); err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(bytes.ReplaceAll(raw, []byte("{jobId}"), []byte(f.JobID))))
	d.DisallowUnknownFields()
	f = new(caseFile)
	if err := d.Decode(f); err != nil {
		t.Fatal(err)
	}
	if len(f.Cases) < 40 {
		t.Fatalf("%d cases only", len(f.Cases))
	}
	f.Cases = slices.Collect(f.expanded)
	names := map[string]bool{}
	for _, c := range f.Cases {
		if names[c.Name] {
			t.Fatalf("two cases %q", c.Name)
		}
		names[c.Name] = true
	}
	return f
}

// expanded makes a case of each byte that a connection may break at, and as many answers as there must be.
func (f *caseFile) expanded(yield func(clientCase) bool) {
	for _, c := range f.Cases {
		var answers []caseAnswer
		for _, a := range c.Answers {
			answers = append(answers, slices.Repeat([]caseAnswer{a}, max(1, a.Times))...)
		}
		c.Answers = answers
		cut := slices.IndexFunc(answers, func(a caseAnswer) bool { return a.CutEach })
		if cut < 0 {
			if !yield(c) {
				return
			}
			continue
		}
		for n := range len(f.bodyOf(&answers[cut], "http://127.0.0.1:99999/case/999/file?X-Goog-Signature=hidden1")) {
			one := c
			one.Name = fmt.Sprintf("%s (%d)", c.Name, n)
			one.Answers = slices.Clone(answers)
			one.Answers[cut].Cut = &n
			for i := range one.Answers {
				if a := &one.Answers[i]; a.With["range"] == "{cut}" {
					a.With = map[string]string{"range": rangeFrom(n)}
				}
			}
			if !yield(one) {
				return
			}
		}
	}
}

func rangeFrom(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("bytes=%d-", n)
}

// bodyOf is the whole body of an answer; link is to the job's file.
func (f *caseFile) bodyOf(a *caseAnswer, link string) []byte {
	value := a.JSON
	switch {
	case a.File != nil && *a.File != "":
		return []byte(*a.File)
	case a.File != nil:
		return []byte(f.File)
	case a.Job != nil:
		value = f.job(a.Job, link)
	case value == nil:
		return []byte(a.Body)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return raw
}

// job is a job as the service shows it.
func (f *caseFile) job(members map[string]any, link string) map[string]any {
	job := map[string]any{
		"jobId": f.JobID, "kind": "vip-users", "state": "queued", "attempt": 1, "createdAt": "2026-01-02T03:04:05Z", "startedAt": nil, "finishedAt": nil,
		"snapshotTime": nil, "params": map[string]any{"workspaceId": "w", "mediumId": "m", "profile": "rfc4180", "formulaGuard": true},
		"progress":   map[string]any{"rowsDone": 0, "rowsTotal": nil, "percent": 0, "partsDone": 0, "partsTotal": 0, "bytes": 0},
		"totalCount": nil, "csvUrl": nil, "csvUrlExpiresAt": nil, "fileExpiresAt": nil, "sizeBytes": nil, "crc32c": nil, "guardedCells": nil,
		"error": nil, "callback": nil, "statusUrl": "/exports/" + f.JobID,
	}
	if members["state"] == "succeeded" {
		maps.Copy(job, map[string]any{"totalCount": 2, "csvUrl": link, "sizeBytes": len(f.File), "crc32c": crc32cOf(f.File)})
	}
	maps.Copy(job, members)
	return job
}

// ended is what a client made of a case.
type ended struct {
	Name    string         `json:"name"`
	Outcome map[string]any `json:"outcome"`
	Waited  float64        `json:"waited"` // seconds of all pauses
}

// tell says how many cases a client has passed of those of the file, each with all bytes that something may
// break off at, and of all.
func (f *caseFile) tell(t *testing.T, language string, passed []bool) {
	t.Helper()
	names, failed, all := map[string]bool{}, map[string]bool{}, 0
	for i, c := range f.Cases {
		name, _, _ := strings.Cut(c.Name, " (")
		names[name] = true
		if passed[i] {
			all++
		} else {
			failed[name] = true
		}
	}
	t.Logf("%-10s  %d of %d cases, %d of %d with one for each byte", language, len(names)-len(failed), len(names), all, len(f.Cases))
}

// judge compares what a client did with what it must do.
func (s *caseServer) judge(t *testing.T, index int, e ended) (passed bool) {
	t.Helper()
	passed = true
	fail := func(format string, args ...any) {
		t.Helper()
		passed = false
		t.Errorf(format, args...)
	}
	c := &s.Cases[index]
	sameWords(c.Outcome, e.Outcome)
	if diff := cmp.Diff(c.Outcome, e.Outcome); diff != "" {
		fail("%s: what must come of it (-) and what came (+):\n%s", c.Name, diff)
	}
	if w := c.Waits; w == nil {
		stalls := slices.ContainsFunc(c.Answers, func(a caseAnswer) bool { return a.Stall })
		if e.Waited != 0 && !stalls {
			fail("%s: it waited for %v s, where there is nothing to wait for", c.Name, e.Waited)
		}
	} else if e.Waited < w[0]-1e-3 || e.Waited > w[1]+1e-3 { // some clocks tell milliseconds
		fail("%s: it waited for %v s, want %v to %v", c.Name, e.Waited, w[0], w[1])
	}
	for _, fault := range s.faults(index) {
		fail("%s: %s", c.Name, fault)
	}
	return passed
}

// sameWords makes what an error says equal where it has the words that it must have: each language has others
// around them.
func sameWords(want, got map[string]any) {
	w, _ := want["error"].(map[string]any)
	g, _ := got["error"].(map[string]any)
	if g == nil {
		return
	}
	said, _ := g["says"].(string)
	if words, ok := w["says"].(string); !ok {
		delete(g, "says")
	} else if strings.Contains(said, words) {
		g["says"] = words
	}
}
