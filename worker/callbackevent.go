package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"exportd/internal/filelink"
	"exportd/internal/webhook"
	"exportd/jobs"
)

var (
	// errDeleted: the owner deleted the export; nobody is told about it any more.
	errDeleted = errors.New("export was deleted")
	// errKeyRevoked: the key that asked for the callback is disabled or gone.
	errKeyRevoked = errors.New("api key was revoked")
)

// rightsHold is how long what was read of a key and a job is believed within an attempt. It is read before
// connecting, so that an attempt that must not be made takes no connection, and again if that took longer:
// what is sent holds a link to the file.
const rightsHold = time.Second

// rights are what a callback may be sent by.
type rights struct {
	job *jobs.Job
	key CallbackKey
	at  time.Time
}

// rightsOf costs two reads, of the job and of the key.
func (p *Pool) rightsOf(ctx context.Context, cb *jobs.Callback) (rights, error) {
	r := rights{at: p.Now()}
	var err error
	r.job, err = p.Store.Get(ctx, cb.JobID)
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return r, errDeleted // purged
	case err != nil:
		return r, err
	case !r.job.DeletedAt.IsZero():
		return r, errDeleted
	}
	r.key, err = p.callbacks.Keys.CallbackKey(ctx, cb.KeyID)
	if errors.Is(err, jobs.ErrNotFound) {
		return r, fmt.Errorf("key %s: %w", cb.KeyID, errKeyRevoked)
	}
	if err != nil {
		return r, fmt.Errorf("key %s: %w", cb.KeyID, err)
	}
	return r, nil
}

// prepare makes what one attempt sends, with a link to the file that is as fresh as the attempt. trace is
// that of the run that the callback tells of; none if the job has been run again since.
func (p *Pool) prepare(ctx context.Context, cb *jobs.Callback) (d webhook.Delivery, trace string, err error) {
	r, err := p.rightsOf(ctx, cb)
	if err != nil {
		return d, "", err
	}
	if jobs.CallbackID(r.job) == cb.ID {
		trace = r.job.Trace
	}
	return webhook.Delivery{URL: cb.URL, AllowedHosts: r.key.Hosts, ID: cb.ID, Compose: func(ctx context.Context, d *webhook.Delivery) (err error) {
		if p.Now().Sub(r.at) > rightsHold {
			if r, err = p.rightsOf(ctx, cb); err != nil {
				return err
			}
			if err := r.key.Hosts.Allow(cb.URL); err != nil {
				return err
			}
		}
		d.Timestamp, d.Secrets = p.Now(), r.key.Secrets
		d.Body, err = p.eventBody(ctx, r.job, cb)
		return err
	}}, trace, nil
}

// eventBody is the body of the contract's section 5. It tells of the run that ended, also when the job has
// been run again since.
func (p *Pool) eventBody(ctx context.Context, j *jobs.Job, cb *jobs.Callback) ([]byte, error) {
	state := strings.TrimPrefix(cb.Event, "export.")
	data := webhook.EventData{JobID: j.ID, Kind: string(j.Kind), State: state, Params: j.Params}
	if state == string(jobs.Succeeded) {
		data.TotalCount = &cb.Rows
		if c := j.Result.Changes; c != nil && j.Result.Object == cb.Object {
			data.Changes = &webhook.EventChanges{
				Since: j.Params.Since(), Added: c.Added, Changed: c.Changed, Removed: c.Removed, Unchanged: c.Unchanged, Before: c.Before(), After: c.After(),
			}
		}
	}
	if e := cb.Error; e != nil {
		data.Error = &webhook.EventError{Code: string(e.Code), Message: e.Message, Retryable: e.Retryable}
	}
	lost, err := p.fileLost(ctx, j, cb)
	if err != nil {
		return nil, err
	}
	if lost { // as the job's own page says it
		e := jobs.FileLost()
		data.State, data.Error = string(jobs.Expired), &webhook.EventError{Code: string(e.Code), Message: e.Message, Retryable: e.Retryable}
	}
	now := p.Now().UTC()
	life := min(p.callbacks.URLLife, maxCallbackURL, cb.FileExpiresAt.Sub(now)).Truncate(time.Second)
	// The file is there as long as the job still has this run's result and it has not expired.
	if !lost && cb.Object != "" && j.Result.Object == cb.Object && j.State == jobs.Succeeded && life >= time.Second {
		link, until, err := p.link(ctx, j, cb, life)
		if err != nil {
			return nil, fmt.Errorf("make the link of job %s: %w", j.ID, errors.Join(jobs.ErrUnavailable, err))
		}
		data.CSVURL, data.CSVURLExpiresAt = &link, &until
	}
	return webhook.Event{Type: cb.Event, Timestamp: cb.CreatedAt, Data: data}.Encode()
}

// link makes the link to the file that a callback tells of: the service's own where there are some, else one
// that works for life.
func (p *Pool) link(ctx context.Context, j *jobs.Job, cb *jobs.Callback, life time.Duration) (link string, until time.Time, err error) {
	if p.callbacks.Links != nil {
		return p.callbacks.Links.URL(ctx, j, filelink.Asker{KeyID: cb.KeyID, Callback: true})
	}
	link, err = p.callbacks.Files.SignedURL(ctx, cb.Object, life, j.FileName())
	return link, p.Now().UTC().Add(life).Truncate(time.Second), err
}

// fileLost reports whether the file that a callback is about is gone before its time, and has the job say so.
func (p *Pool) fileLost(ctx context.Context, j *jobs.Job, cb *jobs.Callback) (bool, error) {
	switch {
	case cb.Object == "" || j.Result.Object != cb.Object:
		return false, nil
	case j.State == jobs.Expired:
		return j.Error != nil && j.Error.Code == jobs.CodeFileLost, nil
	case j.State != jobs.Succeeded:
		return false, nil
	}
	lost, err := p.Exporter.Lost(ctx, j)
	if err != nil {
		return false, fmt.Errorf("look for the file of job %s: %w", j.ID, errors.Join(jobs.ErrUnavailable, err))
	}
	if lost {
		_, err := p.Store.Update(ctx, j.ID, p.actor, func(tx *jobs.Tx) error { return tx.LoseFile(cb.Object) })
		if err != nil && !errors.Is(err, jobs.ErrNotDue) {
			p.Log.Warn("cannot note that a file is lost", zap.String("job_id", j.ID), zap.Error(err))
		}
	}
	return lost, nil
}
