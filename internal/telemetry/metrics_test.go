package telemetry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"exportd/jobs"
)

// gathered are the values of all series by name and labels; of histograms, the counts.
func gathered(t *testing.T, cs ...prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := []string{}
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if f.GetType().String() == "HISTOGRAM" {
				v = float64(m.GetHistogram().GetSampleCount())
			}
			out[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = v
		}
	}
	return out
}

// TestStrangeValuesMakeNoSeries: whatever documents, servers and messages say, the series are those of the
// closed sets.
func TestStrangeValuesMakeNoSeries(t *testing.T) {
	t.Parallel()
	orgs := NewOrgs(time.Now)
	tr, work, calls := NewTransitions([]string{"vip-users", "vip-messages"}, orgs), NewWork([]string{"vip-users"}, orgs), NewCalls()
	say := func(s string) {
		now := time.Now()
		before := &jobs.Job{State: jobs.State(s), Kind: jobs.Kind(s), OrgID: s}
		after := &jobs.Job{State: jobs.Failed, Kind: jobs.Kind(s), OrgID: s, CreatedAt: now, StartedAt: now, FinishedAt: now, RowsTotal: -5}
		tr.Submitted(before, true)
		tr.Job(before, after, []jobs.Event{{Type: jobs.EventType(s), Part: -1, Code: jobs.Code(s)}, {Type: jobs.EventRetry, Part: 1, Code: jobs.Code(s)}})
		tr.Part(after, &jobs.Part{State: jobs.PartRunning}, &jobs.Part{State: jobs.PartDone, Rows: -1, Size: -1})
		tr.Part(after, &jobs.Part{State: jobs.PartState(s)}, &jobs.Part{State: jobs.PartState(s + "x")})
		tr.Callback(jobs.CallbackState(s), true, &jobs.Callback{State: jobs.CallbackState(s + "x"), Attempts: []jobs.CallbackAttempt{{Class: s}}}, now)
		tr.Callback(jobs.CallbackPending, true, &jobs.Callback{State: jobs.CallbackPending, Attempts: []jobs.CallbackAttempt{{Class: "http_" + s}}}, now)
		work.Attempt(jobs.Kind(s), s, true, AttemptOK, time.Second)
		work.Message(jobs.Queue(s), "ack", now, now)
		work.Woken(s, now, now)
		work.Due(s, 1)
		calls.GRPC(t.Context(), "firestore", "/"+s+"/"+s, errors.New(s), 1, 1)
		calls.HTTP(t.Context(), "storage", s, len(s)*7)
	}
	for i := range 100 {
		say(fmt.Sprintf("warm-%04d", i))
	}
	before := len(gathered(t, tr, orgs, work, calls))
	for i := range 20_000 {
		say(fmt.Sprintf("strange-%05d\xff", i))
	}
	if after := len(gathered(t, tr, orgs, work, calls)); after != before {
		t.Errorf("%d series before, %d after", before, after)
	}
}

// TestTransitions: what a few runs of jobs come to.
func TestTransitions(t *testing.T) {
	t.Parallel()
	orgs := NewOrgs(time.Now)
	tr := NewTransitions([]string{"vip-users"}, orgs)
	at := func(s float64) time.Time {
		return time.Unix(1_800_000_000, 0).Add(time.Duration(s * float64(time.Second)))
	}
	job := func(state jobs.State, change func(*jobs.Job)) *jobs.Job {
		j := &jobs.Job{Kind: "vip-users", OrgID: "org1", State: state, CreatedAt: at(0)}
		if change != nil {
			change(j)
		}
		return j
	}
	queued := job(jobs.Queued, nil)
	running := job(jobs.Running, func(j *jobs.Job) { j.StartedAt = at(2) })
	tr.Submitted(queued, false)
	tr.Submitted(queued, true)
	tr.Job(queued, running, []jobs.Event{{Type: jobs.EventClaimed, Part: -1}})
	tr.Job(running, running, nil) // a renewal
	tr.Job(running, queued, []jobs.Event{{Type: jobs.EventInterrupted, Part: -1, Actor: "rescuer w2"}})
	tr.Job(job(jobs.Queued, func(j *jobs.Job) { j.StartedAt = at(2) }), running, []jobs.Event{{Type: jobs.EventClaimed, Part: -1}})
	tr.Job(running, job(jobs.Queued, func(j *jobs.Job) { j.StartedAt = at(2) }), []jobs.Event{{Type: jobs.EventRetry, Part: -1, Code: jobs.CodeUnavailable}})
	tr.Job(running, job(jobs.Succeeded, func(j *jobs.Job) {
		j.StartedAt, j.FinishedAt, j.RowsTotal, j.Result = at(2), at(5), 7, jobs.Result{Rows: 7, Size: 700}
	}), []jobs.Event{{Type: jobs.EventSucceeded, Part: -1}})
	// One in parts, that fails after a part.
	cut := job(jobs.Running, func(j *jobs.Job) { j.StartedAt, j.PartsTotal, j.RowsTotal = at(2), 2, 100_000 })
	tr.Part(cut, &jobs.Part{State: jobs.PartPending}, &jobs.Part{State: jobs.PartRunning, Epoch: 1})
	tr.Part(cut, &jobs.Part{State: jobs.PartRunning, Epoch: 1}, &jobs.Part{State: jobs.PartRunning, Epoch: 1, RowsDone: 5})
	tr.Part(cut, &jobs.Part{State: jobs.PartRunning, Epoch: 1}, &jobs.Part{State: jobs.PartDone, Epoch: 1, Rows: 50, Size: 5000})
	tr.Job(cut, job(jobs.Failed, func(j *jobs.Job) {
		j.StartedAt, j.FinishedAt, j.PartsTotal, j.RowsTotal = at(2), at(9), 2, 100_000
	}), []jobs.Event{{Type: jobs.EventFailed, Part: -1, Code: jobs.CodeMissingIndex}})
	// Run again: neither its wait nor its time is of this run.
	tr.Job(running, job(jobs.Succeeded, func(j *jobs.Job) {
		j.StartedAt, j.FinishedAt, j.AttemptBase = at(2), at(100_000), 1
	}), []jobs.Event{{Type: jobs.EventSucceeded, Part: -1}})
	tr.Refused(false, fmt.Errorf("job: %w", jobs.ErrLeaseLost))
	tr.Refused(true, jobs.ErrNotDue)
	// A callback that is tried twice.
	pending := func(tries ...string) *jobs.Callback {
		cb := &jobs.Callback{State: jobs.CallbackPending, CreatedAt: at(5)}
		for _, class := range tries {
			cb.Attempts = append(cb.Attempts, jobs.CallbackAttempt{Class: class})
		}
		return cb
	}
	delivered := pending("http_503", "http_204")
	delivered.State = jobs.CallbackDelivered
	tr.Callback(jobs.CallbackPending, false, pending(jobs.AttemptUnderWay), at(6))
	tr.Callback(jobs.CallbackPending, true, pending("http_503"), at(7))
	tr.Callback(jobs.CallbackPending, false, pending("http_503", jobs.AttemptUnderWay), at(8))
	tr.Callback(jobs.CallbackPending, true, delivered, at(9))
	got := gathered(t, tr, orgs)
	for series, want := range map[string]float64{
		"exportd_jobs_submitted_total{kind=vip-users,reused=false}":                               1,
		"exportd_jobs_submitted_total{kind=vip-users,reused=true}":                                1,
		"exportd_attempts_total{kind=vip-users,of=job}":                                           2,
		"exportd_attempts_total{kind=vip-users,of=part}":                                          1,
		"exportd_job_transitions_total{code=none,from=queued,kind=vip-users,to=running}":          2,
		"exportd_job_transitions_total{code=none,from=running,kind=vip-users,to=queued}":          1,
		"exportd_job_transitions_total{code=UNAVAILABLE,from=running,kind=vip-users,to=queued}":   1,
		"exportd_job_transitions_total{code=none,from=running,kind=vip-users,to=succeeded}":       2,
		"exportd_job_transitions_total{code=MISSING_INDEX,from=running,kind=vip-users,to=failed}": 1,
		"exportd_retries_total{class=interrupted,code=none,kind=vip-users,of=job}":                1,
		"exportd_retries_total{class=failed,code=UNAVAILABLE,kind=vip-users,of=job}":              1,
		"exportd_leases_taken_over_total{of=job}":                                                 1,
		"exportd_leases_lost_total{of=job}":                                                       1,
		"exportd_claims_missed_total{of=part}":                                                    1,
		"exportd_rows_exported_total{kind=vip-users}":                                             57,
		"exportd_bytes_exported_total{kind=vip-users}":                                            5700,
		"exportd_job_queued_seconds{kind=vip-users}":                                              1,
		"exportd_job_running_seconds{kind=vip-users,state=succeeded}":                             1,
		"exportd_job_result_seconds{kind=vip-users,size=small,state=succeeded}":                   1,
		"exportd_job_result_seconds{kind=vip-users,size=large,state=failed}":                      1,
		"exportd_callback_tries_total{class=http_5xx}":                                            1,
		"exportd_callback_tries_total{class=http_2xx}":                                            1,
		"exportd_callbacks_total{state=delivered}":                                                1,
		"exportd_callback_seconds{state=delivered}":                                               1,
		"exportd_org_rows{org=org1}":                                                              57,
	} {
		if got[series] != want {
			t.Errorf("%s = %v, want %v", series, got[series], want)
		}
	}
	var none *Transitions // tells nobody
	none.Job(queued, running, nil)
	none.Submitted(queued, false)
	none.Callback("", false, pending(), at(0))
}

// TestOrgs: the ten with the most are told by name, the rest together, and all is forgotten after an hour.
func TestOrgs(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	o := NewOrgs(func() time.Time { return now })
	for i := range 12 {
		o.Worked(fmt.Sprintf("busy-%d", i), time.Duration(i)*time.Minute)
	}
	for i := range 3 * maxOrgs {
		o.Wrote(fmt.Sprintf("org-%d", i), int64(i))
	}
	got := gathered(t, o)
	if n := len(got); n != 2*(TopOrgs+1) {
		t.Errorf("%d series, want %d", n, 2*(TopOrgs+1))
	}
	sum := 0.0
	for series, v := range got {
		if strings.HasPrefix(series, "exportd_org_rows") {
			sum += v
		}
	}
	if want := 3 * maxOrgs * (3*maxOrgs - 1) / 2; sum != float64(want) || got[fmt.Sprintf("exportd_org_rows{org=org-%d}", maxOrgs-13)] != maxOrgs-13 {
		t.Errorf("%v rows in all, want %d", sum, want)
	}
	now = now.Add(50 * time.Minute)
	o.Wrote("late", 5)
	if got := gathered(t, o); got[fmt.Sprintf("exportd_org_rows{org=org-%d}", maxOrgs-13)] == 0 {
		t.Error("forgotten within the hour")
	}
	now = now.Add(11 * time.Minute)
	if got := gathered(t, o); got["exportd_org_rows{org=late}"] != 5 || got["exportd_org_rows{org=other}"] != 0 || len(got) != 3 { // late's rows, and the rest of both
		t.Errorf("after an hour: %v", got)
	}
	var none *Orgs
	none.Wrote("x", 1)
}

// TestBacklog: the documents are asked when somebody scrapes, at most once a minute, and when they cannot be
// asked, that is told once.
func TestBacklog(t *testing.T) {
	t.Parallel()
	core, lines := observer.New(zap.WarnLevel)
	now, asked := time.Unix(1_800_000_000, 0), 0
	var bad error
	b := NewBacklog(func(context.Context) (BacklogState, error) {
		asked++
		return BacklogState{Running: 3, Suspended: 1, Lanes: map[jobs.Queue]Waiting{
			jobs.QueueExports:   {Depth: 7, Oldest: now.Add(-90 * time.Second)},
			jobs.QueueCallbacks: {Paused: true},
		}}, bad
	}, zap.New(core), func() time.Time { return now })
	for range 10 {
		got := gathered(t, b)
		for series, want := range map[string]float64{
			"exportd_backlog_up{}": 1, "exportd_jobs_running{}": 3, "exportd_receivers_suspended{}": 1, "exportd_queue_depth{lane=exports}": 7,
			"exportd_queue_oldest_seconds{lane=exports}": 90, "exportd_queue_oldest_seconds{lane=callbacks}": 0,
			"exportd_queue_paused{lane=exports}": 0, "exportd_queue_paused{lane=callbacks}": 1,
		} {
			if v, ok := got[series]; !ok || v != want {
				t.Errorf("%s = %v, want %v", series, v, want)
			}
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times within a minute", asked)
	}
	bad = errors.New("away")
	for range 3 {
		now = now.Add(backlogEvery)
		if got := gathered(t, b); len(got) != 1 || got["exportd_backlog_up{}"] != 0 {
			t.Errorf("while Firestore is away: %v", got)
		}
	}
	bad, now = nil, now.Add(backlogEvery)
	if got := gathered(t, b); asked != 5 || lines.Len() != 1 || got["exportd_backlog_up{}"] != 1 {
		t.Errorf("asked %d times, %d lines, %v", asked, lines.Len(), got)
	}
}

// TestCalls: calls count for the lane that they are made under.
func TestCalls(t *testing.T) {
	t.Parallel()
	c := NewCalls()
	ctx := WithLane(t.Context(), LaneParts)
	c.GRPC(ctx, "firestore", "/google.firestore.v1.Firestore/RunQuery", nil, 1, 0)
	c.GRPC(ctx, "firestore", "", nil, 1023, 0)
	c.GRPC(t.Context(), "firestore", "/google.firestore.v1.Firestore/Commit", nil, 0, 5)
	c.GRPC(ctx, "pubsub", "/google.pubsub.v1.Publisher/Publish", context.DeadlineExceeded, 0, 0)
	c.HTTP(ctx, "storage", "PUT", 308)
	got := gathered(t, c)
	for series, want := range map[string]float64{
		"exportd_cloud_calls_total{code=OK,lane=parts,method=RunQuery,service=firestore}":  1,
		"exportd_cloud_calls_total{code=OK,lane=process,method=Commit,service=firestore}":  1,
		"exportd_cloud_calls_total{code=Unknown,lane=parts,method=Publish,service=pubsub}": 1,
		"exportd_cloud_calls_total{code=3xx,lane=parts,method=PUT,service=storage}":        1,
		"exportd_firestore_documents_total{lane=parts,op=read}":                            1024,
		"exportd_firestore_documents_total{lane=process,op=written}":                       5,
	} {
		if got[series] != want {
			t.Errorf("%s = %v, want %v", series, got[series], want)
		}
	}
}
