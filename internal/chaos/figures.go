package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/localcloud/fault"
	"exportd/jobs"
)

// figures are what operators are shown, by where it stands in the answer: numbers, moments in microseconds,
// and 1 for each text that is there.
type figures map[string]float64

// comparison is of the figures shown with those that the documents give.
type comparison struct {
	compared int
	differ   []string
	not      string // why nothing was compared
}

func (c *comparison) String() string {
	if c.not != "" {
		return "figures: not compared: " + c.not
	}
	return fmt.Sprintf("figures: %d compared, %d differ", c.compared, len(c.differ))
}

// notOfDocuments are what is shown of other things than jobs and callbacks: switches, processes, messages,
// what was asked for, and the texts of causes. All else has to be recomputed, so that a number that is new in
// an answer is missed here.
var notOfDocuments = []string{
	"queues", "workers", "workersAlive", "deadLetters", "rescuers", "window.since", "window.until", "window.bucketSeconds",
	"since", "until",
}

// notOfCauses are as notOfDocuments, of each cause.
var notOfCauses = []string{"causeId", "what", "message", "remedy", "link"}

// compareFigures recomputes what the overview shows from all jobs and callbacks, for the whole run: of
// everybody, of an org, of a kind, and of both. Each job has ended once. Of one that was run again, or is
// deleted, the statistics know more than its document: a run has none of those.
func (in *inspector) compareFigures(ctx context.Context, c *caller, since time.Time) (*comparison, error) {
	docs, err := in.ended(ctx)
	if err != nil {
		return nil, err
	}
	out := &comparison{}
	for _, org := range []string{"", c.demo.OrgID} {
		for _, kind := range []string{"", "vip-users", "vip-messages"} {
			q := url.Values{"since": {since.UTC().Format(time.RFC3339)}}
			for name, v := range map[string]string{"orgId": org, "kind": kind} {
				if v != "" {
					q.Set(name, v)
				}
			}
			var stats, causes map[string]any
			if err := c.look(ctx, "/ops/stats?"+q.Encode(), &stats); err != nil {
				return nil, err
			}
			if err := c.look(ctx, "/ops/causes?"+q.Encode(), &causes); err != nil {
				return nil, err
			}
			asked := question{org: org, kind: kind}
			if err := asked.span(stats); err != nil {
				return nil, err
			}
			what := cmp.Or(strings.TrimSpace(org+" "+kind), "all")
			narrow := org != "" || kind != ""
			out.compare("stats of "+what, flatten(stats), asked.stats(docs), narrow)
			out.compare("causes of "+what, flatten(causes), asked.causes(docs), narrow)
		}
	}
	return out, nil
}

// look reads an answer for operators.
func (c *caller) look(ctx context.Context, path string, into any) error {
	status, body, err := c.send(ctx, rand.New(rand.NewPCG(3, 3)), request{method: http.MethodGet, path: path, operator: true})
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s answered %d: %.300s", path, status, body)
	}
	return json.Unmarshal(body, into)
}

// compare adds the figures of one answer.
func (c *comparison) compare(where string, shown, want figures, narrow bool) {
	names := maps.Clone(want)
	maps.Copy(names, shown)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		c.compared++
		if s, w := shown[name], want[name]; !same(name, s, w, narrow) {
			c.differ = append(c.differ, fmt.Sprintf("%s: %s is shown as %v, the documents give %v", where, name, s, w))
		}
	}
}

// same allows for what is shown by histograms, at most half a bucket off, which is a ratio of 2^(1/8); and
// for when a cause was last met that is of callbacks or asked for narrowly, which is noted once in a while.
func same(name string, shown, want float64, narrow bool) bool {
	switch {
	case strings.HasSuffix(name, ".p50"), strings.HasSuffix(name, ".p95"):
		return math.Abs(shown-want) <= 0.0001+want*(math.Exp2(1.0/8)-1)
	case strings.HasSuffix(name, ".lastAt") && (narrow || strings.HasPrefix(name, "causes.CALLBACK_")):
		return shown <= want && want-shown < float64(jobs.CauseAgain.Microseconds())
	case strings.HasSuffix(name, ".ranSeconds"):
		return math.Abs(shown-want) < 0.0005
	}
	return shown == want
}

// flatten gives all figures of an answer.
func flatten(answer map[string]any) figures {
	out := figures{}
	out.add("", answer)
	return out
}

func (f figures) add(name string, v any) {
	cause, ofCause := strings.CutPrefix(name, "causes.")
	_, of, _ := strings.Cut(cause, ".")
	if slices.Contains(notOfDocuments, name) || ofCause && slices.Contains(notOfCauses, of) {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for k, one := range v {
			f.add(strings.TrimPrefix(name+"."+k, "."), one)
		}
	case []any:
		for i, one := range v {
			f.add(name+"."+nameOf(i, one), one)
		}
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			f[name] = float64(at.UnixMicro())
			return
		}
		f[name+" "+v] = 1
	case bool:
		if v {
			f[name] = 1
		}
	case float64:
		f[name] = v
	}
}

// nameOf names one of a list: by what it is of, or by where it stands.
func nameOf(i int, one any) string {
	if m, ok := one.(map[string]any); ok {
		for _, key := range []string{"causeId", "at"} {
			if id, ok := m[key].(string); ok {
				return id
			}
		}
		return fmt.Sprint(i)
	}
	return "each"
}

// question is what figures are asked for.
type question struct {
	org, kind    string
	since, until time.Time // the window as it was answered
	bucket       time.Duration
}

// span reads of an answer which stretches it tells of.
func (q *question) span(stats map[string]any) error {
	w, _ := stats["window"].(map[string]any)
	since, _ := w["since"].(string)
	until, _ := w["until"].(string)
	seconds, _ := w["bucketSeconds"].(float64)
	var err, err2 error
	q.since, err = time.Parse(time.RFC3339, since)
	q.until, err2 = time.Parse(time.RFC3339, until)
	if q.bucket = time.Duration(seconds) * time.Second; err != nil || err2 != nil || q.bucket <= 0 {
		return fmt.Errorf("the window of the statistics is %q to %q by %v s", since, until, seconds)
	}
	return nil
}

// endedDocs are all jobs and callbacks, as they are stored.
type endedDocs struct {
	jobs      []jobDoc
	callbacks []callbackDoc
}

type jobDoc struct {
	id         string
	State      string    `firestore:"state"`
	OrgID      string    `firestore:"orgId"`
	Kind       string    `firestore:"kind"`
	CreatedAt  time.Time `firestore:"createdAt"`
	StartedAt  time.Time `firestore:"startedAt"`
	FinishedAt time.Time `firestore:"finishedAt"`
	RowsTotal  int64     `firestore:"rowsTotal"`
	PartsTotal int       `firestore:"partsTotal"`
	Result     struct {
		Rows int64 `firestore:"rows"`
		Size int64 `firestore:"size"`
	} `firestore:"result"`
	Error *struct {
		Code  string `firestore:"code"`
		Cause string `firestore:"cause"`
	} `firestore:"error"`
}

type callbackDoc struct {
	State     string    `firestore:"state"`
	JobID     string    `firestore:"jobId"`
	OrgID     string    `firestore:"orgId"`
	CreatedAt time.Time `firestore:"createdAt"`
	Cause     string    `firestore:"cause"`
	endedAt   time.Time // as the job's timeline says
}

// ended reads every job and callback by the official client, not by exportd's store.
func (in *inspector) ended(ctx context.Context) (out endedDocs, err error) {
	all, err := in.firestore.Collection("ExportJobs").Documents(ctx).GetAll()
	if err != nil {
		return out, err
	}
	for _, doc := range all {
		j := jobDoc{id: doc.Ref.ID}
		if err := doc.DataTo(&j); err != nil {
			return out, fmt.Errorf("job %s: %w", j.id, err)
		}
		out.jobs = append(out.jobs, j)
	}
	if all, err = in.firestore.Collection("ExportCallbacks").Documents(ctx).GetAll(); err != nil {
		return out, err
	}
	for _, doc := range all {
		var cb callbackDoc
		if err := doc.DataTo(&cb); err != nil {
			return out, fmt.Errorf("callback %s: %w", doc.Ref.ID, err)
		}
		if cb.endedAt, err = in.callbackEnd(ctx, cb); err != nil {
			return out, err
		}
		out.callbacks = append(out.callbacks, cb)
	}
	return out, nil
}

// callbackEnd is when a callback came to its state: the last line of the timeline that says so.
func (in *inspector) callbackEnd(ctx context.Context, cb callbackDoc) (at time.Time, err error) {
	events, err := in.firestore.Collection("ExportJobs").Doc(cb.JobID).Collection("events").OrderBy(firestore.DocumentID, firestore.Asc).Documents(ctx).GetAll()
	for _, doc := range events {
		text, _ := doc.Data()["message"].(string)
		if doc.Data()["type"] == string(jobs.EventCallback) && strings.HasPrefix(text, cb.State) {
			at, _ = doc.Data()["at"].(time.Time)
		}
	}
	return at, err
}

// failOnPurpose has some jobs fail, with callbacks to a receiver that wants none any more, so that there are
// causes to be shown: all that a run breaks comes right in the end.
func failOnPurpose(ctx context.Context, f *fleet, c *caller, in *inspector, seed uint64) error {
	// What counts a job's rows, and nothing else of a worker.
	denied := fault.Config{Rules: map[string]fault.Rule{"Firestore/RunAggregationQuery": {ErrorRate: 1, Code: "PERMISSION_DENIED"}}}
	if err := f.setFaults(ctx, denied); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(seed, 4))
	for n := range 4 {
		a, err := c.randomExport(ctx, rng)
		if err != nil {
			return err
		}
		a.callback = c.receivers.expect(1_000_000+n, manner{host: goneHost, gone: true})
		status, body, err := c.send(ctx, rng, request{method: http.MethodGet, path: a.target(), header: map[string]string{"Prefer": "respond-async", "Cache-Control": "no-cache"}})
		if err != nil || status != http.StatusAccepted {
			return fmt.Errorf("export that is to fail answered %d: %.300s: %w", status, body, err)
		}
	}
	if err := waitUntil(ctx, func(ctx context.Context) (bool, error) {
		all, err := in.jobs(ctx)
		called, cerr := in.called(ctx, c)
		return called && !slices.ContainsFunc(all, func(j *jobs.Job) bool { return !j.State.Ended() }), errors.Join(err, cerr)
	}); err != nil { // what they leave to be swept, nobody waits for
		return err
	}
	return f.setFaults(ctx, fault.Config{})
}
