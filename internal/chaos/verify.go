package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/objectstore"
	"exportd/internal/records"
	"exportd/jobs"
)

// The names that exportd uses on emulators when nothing else is set.
const (
	project = "exportd-local"
	bucket  = project + "-exports"
)

// inspector looks at the cloud directly, past the fleet.
type inspector struct {
	firestore *firestore.Client
	store     *jobstore.Store
	records   *records.Reader
	objects   *objectstore.Store
	right     map[string][sha256.Size]byte // of files that are as they should be, by job
}

func newInspector(ctx context.Context, hosts map[string]string) (*inspector, error) {
	in := &inspector{right: map[string][sha256.Size]byte{}}
	var err error
	if in.firestore, err = firestore.NewClient(ctx, project, localcloud.GRPCOptions(hosts["firestore"])...); err != nil {
		return nil, err
	}
	in.store = jobstore.New(jobstore.Config{Client: in.firestore})
	if in.records, err = records.Open(ctx, records.Config{ProjectID: project, Emulator: hosts["firestore"]}); err != nil {
		return nil, err
	}
	in.objects, err = objectstore.Open(ctx, objectstore.Config{Bucket: bucket, EmulatorHost: hosts["storage"]})
	return in, err
}

func (in *inspector) close() {
	_ = in.firestore.Close() // the run is over
	_ = in.records.Close()
	_ = in.objects.Close()
}

// settled reports whether every job has ended and nothing is left to clean up.
func (in *inspector) settled(ctx context.Context) (bool, error) {
	all, err := in.jobs(ctx)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(all, func(j *jobs.Job) bool { return !j.State.Ended() || j.Cleanup }), nil
}

func (in *inspector) jobs(ctx context.Context) ([]*jobs.Job, error) {
	var all []*jobs.Job
	for token := ""; ; {
		page, err := in.store.List(ctx, jobs.List{IncludeDeleted: true, PageToken: token})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Jobs...)
		if token = page.Next; token == "" {
			return all, nil
		}
	}
}

// inspect checks everything that the run promises and adds what it finds to r.
func (in *inspector) inspect(ctx context.Context, c *caller, r *report) error {
	all, err := in.jobs(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	results := map[string]bool{}
	now := time.Now()
	for _, j := range all {
		known[j.ID] = true
		if !j.State.Ended() || j.WakeAt.Before(now) || j.Cleanup {
			r.stuck = append(r.stuck, fmt.Sprintf("job %s is %s/%s, due %s", j.ID, j.State, j.Phase, j.WakeAt))
		}
		if j.State == jobs.Succeeded {
			results[j.Result.Object], results[j.Whole().Object] = true, true
		}
		if a := c.accepted[j.ID]; a == nil {
			r.wrong = append(r.wrong, "job "+j.ID+" was never asked for")
			continue
		}
		if err := in.inspectJob(ctx, c, j, r); err != nil {
			return err
		}
	}
	for id := range c.accepted {
		if !known[id] {
			r.lost = append(r.lost, "accepted job "+id+" is not there")
		}
	}
	for obj, err := range in.objects.List(ctx, "exports/") {
		if err != nil {
			return err
		}
		if !results[obj.Name] {
			r.leftovers = append(r.leftovers, obj.Name)
		}
	}
	if err := in.inspectCallbacks(ctx, c, all, r); err != nil {
		return err
	}
	parts, err := in.store.Due(ctx, jobs.DueParts, jobs.AllShards(), now.Add(24*time.Hour), 100, nil)
	for _, p := range parts.Docs {
		r.stuck = append(r.stuck, fmt.Sprintf("part %d of job %s is due", p.Message.Part, p.Message.JobID))
	}
	return err
}

func (in *inspector) inspectJob(ctx context.Context, c *caller, j *jobs.Job, r *report) error {
	events, err := in.store.Events(ctx, j.ID)
	if err != nil {
		return err
	}
	claims, interrupted, retried, partEnds := 0, 0, 0, 0
	for _, e := range events {
		switch {
		case e.Type == jobs.EventClaimed:
			claims++
		case e.Type == jobs.EventInterrupted && e.Part < 0:
			interrupted++
		case e.Type == jobs.EventRetry || e.Type == jobs.EventRestarted:
			retried++
		case e.Part >= 0:
			partEnds++
		}
	}
	r.attempts += claims
	r.interruptions += interrupted
	r.retries += retried
	r.partAttempts += partEnds
	if j.Attempt != claims-interrupted && j.State == jobs.Succeeded {
		r.wrong = append(r.wrong, fmt.Sprintf("job %s: attempt %d, but %d claims and %d interruptions in its timeline", j.ID, j.Attempt, claims, interrupted))
	}
	switch j.State {
	case jobs.Succeeded:
		r.succeeded++
		r.rows += j.RowsTotal
		r.parts += j.PartsTotal
		return in.inspectFile(ctx, c, j, r)
	case jobs.Canceled:
		r.canceled++
		if !c.accepted[j.ID].canceled {
			// The cancel's answer may have been lost; the timeline tells whose it was.
			if len(events) == 0 || !slices.ContainsFunc(events, func(e jobs.Event) bool { return e.Type == jobs.EventCanceled }) {
				r.wrong = append(r.wrong, "job "+j.ID+" was canceled by nobody")
			}
		}
	default:
		text := ""
		if j.Error != nil {
			text = string(j.Error.Code) + " " + j.Error.Message
		}
		r.lost = append(r.lost, fmt.Sprintf("job %s is %s: %s", j.ID, j.State, text))
	}
	return nil
}

// inspectFile downloads a job's file as its owner would and compares it with the snapshot.
func (in *inspector) inspectFile(ctx context.Context, c *caller, j *jobs.Job, r *report) error {
	got, err := c.get(ctx, rand.New(rand.NewPCG(1, 1)), j.ID)
	if err != nil {
		return err
	}
	if why := notAsked(j.Params, c.accepted[j.ID].form); why != "" {
		r.wrong = append(r.wrong, fmt.Sprintf("job %s: %s", j.ID, why))
	}
	if got.CSVURL == nil || got.TotalCount == nil || *got.TotalCount != j.Result.FileRows() {
		r.wrong = append(r.wrong, fmt.Sprintf("job %s succeeded without a link or with another count", j.ID))
		return nil
	}
	fault, err := in.compareFile(ctx, c, j, *got.CSVURL)
	if fault != "" {
		r.wrong = append(r.wrong, fault)
	} else {
		r.forms[formName(j.Params)]++
	}
	r.bytes += j.Result.Size
	return err
}
