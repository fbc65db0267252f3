package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"exportd/jobs"
)

// event is a server-sent event.
type event struct{ name, data string }

// readEvents reads a stream to its end, comments as events named ":".
func readEvents(t testing.TB, text string) []event {
	t.Helper()
	var out []event
	var e event
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "retry":
		case "":
			switch {
			case value != "":
				out = append(out, event{name: ":"})
			case e != (event{}):
				out, e = append(out, e), event{}
			}
		}
	}
	return out
}

func TestStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		done := succeeded()
		job := done
		job.State = jobs.Queued
		b.jobs.set(job)
		time.AfterFunc(20*time.Second, func() { job.State = jobs.Running; b.jobs.set(job) })
		time.AfterFunc(25*time.Second, func() { b.jobs.set(done) })
		start := time.Now()
		w := b.get(t, "/exports/"+done.ID+"/events")
		if took := time.Since(start); took != 25*time.Second {
			t.Errorf("stream took %s, want 25s", took)
		}
		if got := w.Header().Get("Content-Type"); got != "text/event-stream; charset=utf-8" {
			t.Errorf("Content-Type = %q", got)
		}
		var got []string
		for _, e := range readEvents(t, w.Body.String()) {
			var v struct {
				State  string
				CSVURL string `json:"csvUrl"`
			}
			if e.name == "job" {
				if err := json.Unmarshal([]byte(e.data), &v); err != nil {
					t.Fatal(err)
				}
			}
			got = append(got, e.name+v.State)
			if (v.State == "succeeded") != (v.CSVURL != "") {
				t.Errorf("event %s", e.data)
			}
		}
		// A heartbeat after 15 s, progress every 2 s while it runs.
		if s := strings.Join(got, " "); s != "jobqueued : jobrunning jobrunning jobrunning jobsucceeded" &&
			s != "jobqueued : jobrunning jobrunning jobrunning jobrunning jobsucceeded" {
			t.Errorf("events = %s", s)
		}
	})
}

func TestStreamEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end  func(b *bench, j jobs.Job, hangUp context.CancelFunc)
		want time.Duration
	}{
		"lifetime":  {func(*bench, jobs.Job, context.CancelFunc) {}, streamLife},
		"caller":    {func(_ *bench, _ jobs.Job, hangUp context.CancelFunc) { hangUp() }, time.Second},
		"shutdown":  {func(b *bench, _ jobs.Job, _ context.CancelFunc) { b.drain() }, time.Second},
		"deleted":   {func(b *bench, j jobs.Job, _ context.CancelFunc) { j.DeletedAt = noon; b.jobs.set(j) }, time.Second},
		"store off": {func(b *bench, _ jobs.Job, _ context.CancelFunc) { b.jobs.fail(jobs.ErrUnavailable) }, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				j := jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Queued}
				b.jobs.set(j)
				r := request(t, "key_one1", http.MethodGet, "/exports/"+j.ID+"/events")
				ctx, hangUp := context.WithCancel(r.Context())
				defer hangUp()
				time.AfterFunc(time.Second, func() { tc.end(b, j, hangUp) })
				start := time.Now()
				b.do(r.WithContext(ctx))
				if took := time.Since(start); took != tc.want {
					t.Errorf("stream took %s, want %s", took, tc.want)
				}
			})
		})
	}
}
