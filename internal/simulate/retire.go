package simulate

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"exportd/internal/dataset"
	"exportd/jobs"
)

// EndAndRetry puts into the store what a busy hour leaves: jobs that have ended, whose leftovers are all due
// to be swept within the coming minute, and beside them jobs whose attempt failed and whose next one is due
// then. Both are made by the transitions that make them in production.
func (r *Run) EndAndRetry(ended, retries int) error {
	p := r.process("seed")
	policy := r.fleet.cfg.Policy()
	client, err := p.client(context.Background())
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	begin := time.Now().Add(70 * time.Second) // by then all are stored
	var g errgroup.Group
	g.SetLimit(7) // some 200 a second, as submissions would come: the stretch of an index by createdAt takes 500
	for i := range ended + retries {
		due := begin.Add(time.Duration(i) * time.Minute / time.Duration(ended))
		if i >= ended {
			due = begin.Add(time.Duration(i-ended) * time.Minute / time.Duration(retries))
		}
		var j *jobs.Job
		if i < ended {
			j, err = r.endedJob(policy, i, due)
		} else {
			j, err = failedJob(policy, i, due)
		}
		if err != nil {
			return err
		}
		g.Go(func() error {
			_, err := client.Collection("ExportJobs").Doc(j.ID).Create(context.Background(), j)
			return err
		})
	}
	return g.Wait()
}

// seedJob is a queued job that has been claimed before, by somebody who died.
func seedJob(i int, at time.Time) *jobs.Job {
	const rows = 1_000
	org := fmt.Sprintf("org-%06d", i%1_000)
	params := jobs.Params{"profile": jobs.ProfileRFC4180, "workspaceId": org, "mediumId": "rows-" + strconv.Itoa(rows), "from": at.AddDate(-1, 0, 0), "to": at.Add(time.Duration(i) * time.Microsecond)} // no two are equal
	return &jobs.Job{
		ID: jobs.NewID(), Schema: jobs.SchemaVersion, Rev: jobs.NewToken(), OrgID: org, KeyID: "key", Kind: dataset.VIPMessages.Kind(), Params: params,
		Fingerprint: jobs.Fingerprint(org, dataset.VIPMessages.Kind(), 1, params), State: jobs.Queued, CreatedAt: at, Epoch: 1,
	}
}

// endedJob has succeeded SweepAfter before due, and left an object.
func (r *Run) endedJob(policy jobs.Policy, i int, due time.Time) (*jobs.Job, error) {
	at := due.Add(-policy.SweepAfter)
	j := seedJob(i, at)
	tx := jobs.NewTx(policy, at, "seed", j, nil)
	lease, err := tx.Claim("seed")
	if err != nil {
		return nil, err
	}
	rows := rowsOf(j)
	if err := tx.Pin(lease, at, rows); err != nil {
		return nil, err
	}
	r.files.put(j.ObjectPrefix(), j.ObjectPrefix()+"1/left.csv", rows*rowBytes)
	return j, tx.Succeed(lease, jobs.Result{Object: j.ResultName(), Rows: rows, Size: rows * rowBytes})
}

// failedJob has failed in such a way that it is tried again when due.
func failedJob(policy jobs.Policy, i int, due time.Time) (*jobs.Job, error) {
	policy.Jitter = func() float64 { return 0 }
	at := due.Add(-policy.Backoff(1))
	j := seedJob(i, at)
	tx := jobs.NewTx(policy, at, "seed", j, nil)
	lease, err := tx.Claim("seed")
	if err != nil {
		return nil, err
	}
	return j, tx.EndAttempt(lease, jobs.Fail(jobs.CodeUnavailable, jobs.Transient, "simulated", "", nil))
}
