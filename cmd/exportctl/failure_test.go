package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"exportd/api/client"
)

// TestExitCodes are those of answers that a real service gives only in bad times.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		code   int
		says   string
	}{
		"conflict":     {409, `{"message":"not possible in the job's state"}`, exitFailed, "not possible"},
		"gone":         {410, `{"message":"the file of this export has expired"}`, exitNotFound, "Export it again"},
		"rate limited": {429, `{"message":"too many exports are queued (5)","runningJobIds":["job_a","job_b"]}`, exitUnavailable, "Running now: job_a, job_b"},
		"budget spent": {429, `{"message":"ask for less","budget":{"rowsLeft":4,"readsLeft":null,"renewsAt":"2026-06-16T00:00:00Z"}}`, exitUnavailable, "ask for less"},
		"internal":     {500, `{"message":"internal error"}`, exitFailed, "under request req-1"},
		"proxy":        {502, "<html>\x1b[31m", exitUnavailable, "not an answer of exportd"},
		"unavailable":  {503, `{"message":"temporarily unavailable, try again"}`, exitUnavailable, "Try again"},
		"hostile":      {400, `{"message":"\u001b]0;title\u0007\u202e"}`, exitUsage, `\x1b]0;title\a\u202e`},
		"bad JSON":     {200, `<html>`, exitFailed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Request-Id", "req-1")
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			defer server.Close()
			vars := map[string]string{"EXPORTCTL_URL": server.URL, "EXPORTCTL_KEY": "key_1", "EXPORTCTL_SECRET": "s"}
			r := call{vars: vars}.run(t.Context(), "ops", "cancel", "JOB", "--reason", "x")
			if test.status == http.StatusOK { // cancel ignores the body
				r = call{vars: vars}.run(t.Context(), "jobs", "list")
			}
			r.want(t, test.code).says(t, test.says)
			if name == "budget spent" && strings.Contains(r.stderr, "Try again") {
				t.Errorf("it is to be tried again: %q", r.stderr)
			}
			if strings.ContainsAny(r.stderr, "\x1b\x07") {
				t.Errorf("stderr obeys the service: %q", r.stderr)
			}
		})
	}
}

// TestProgress draws a job and a download at fixed times.
func TestProgress(t *testing.T) {
	t.Parallel()
	for _, terminal := range []bool{false, true} {
		now := time.Unix(1_700_000_000, 0)
		var stderr output
		a := &app{environment: call{terminal: terminal, now: func() time.Time { return now }}.environment(nil, &stderr)}
		p := a.newProgress()
		total := int64(300_000)
		job := &client.Job{State: client.StateQueued}
		p.onJob(job)
		job.State = client.StateRunning
		p.onJob(job)
		job.Progress.RowsTotal = &total
		for done := int64(0); done < total; done += 25_000 {
			job.Progress.RowsDone = done
			p.onJob(job)
			now = now.Add(time.Second)
		}
		a.say("answer 503: trying again")
		for done := int64(0); done <= 50_000_000; done += 2_500_000 {
			p.onFile(done, 50_000_000)
			p.onFile(done+1, 50_000_000) // at the same time: not drawn
			now = now.Add(time.Second)
		}
		p.stop()
		a.say("done")
		got := strings.NewReplacer("\r\x1b[K", "\n", "\x1b", "ESC").Replace(stderr.String())
		golden(t, map[bool]string{false: "progress.txt", true: "progress.terminal.txt"}[terminal], got)
	}
}
