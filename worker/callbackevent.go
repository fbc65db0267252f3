package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"exportd/internal/webhook"
	"exportd/jobs"
)

var (
	// errDeleted: the owner deleted the export; nobody is told about it any more.
	errDeleted = errors.New("export was deleted")
	// errKeyRevoked: the key that asked for the callback is disabled or gone.
	errKeyRevoked = errors.New("api key was revoked")
)

// prepare makes what one try sends, with a link to the file that is as fresh as the try.
func (p *Pool) prepare(ctx context.Context, cb *jobs.Callback) (webhook.Delivery, error) {
	j, err := p.Store.Get(ctx, cb.JobID)
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return webhook.Delivery{}, errDeleted // purged
	case err != nil:
		return webhook.Delivery{}, err
	case !j.DeletedAt.IsZero():
		return webhook.Delivery{}, errDeleted
	}
	key, err := p.calls.Keys.CallbackKey(ctx, cb.KeyID)
	if errors.Is(err, jobs.ErrNotFound) {
		return webhook.Delivery{}, fmt.Errorf("key %s: %w", cb.KeyID, errKeyRevoked)
	}
	if err != nil {
		return webhook.Delivery{}, fmt.Errorf("key %s: %w", cb.KeyID, err)
	}
	body, err := p.eventBody(ctx, j, cb)
	if err != nil {
		return webhook.Delivery{}, err
	}
	return webhook.Delivery{URL: cb.URL, AllowedHosts: key.Hosts, ID: cb.ID, Timestamp: p.Now(), Body: body, Secrets: key.Secrets}, nil
}

// eventBody is the body of the contract's section 5. It tells of the run that ended, also
// when the job has been run again since.
func (p *Pool) eventBody(ctx context.Context, j *jobs.Job, cb *jobs.Callback) ([]byte, error) {
	state := strings.TrimPrefix(cb.Event, "export.")
	data := webhook.EventData{JobID: j.ID, Kind: string(j.Kind), State: state, Params: j.Params}
	if state == string(jobs.Succeeded) {
		data.TotalCount = &cb.Rows
	}
	if e := cb.Error; e != nil {
		data.Error = &webhook.EventError{Code: string(e.Code), Message: e.Message, Retryable: e.Retryable}
	}
	now := p.Now().UTC()
	life := min(p.calls.URLLife, maxCallbackURL, cb.FileExpiresAt.Sub(now)).Truncate(time.Second)
	// The file is there as long as the job still has this run's result and it has not expired.
	if cb.Object != "" && j.Result.Object == cb.Object && j.State == jobs.Succeeded && life >= time.Second {
		link, err := p.calls.Files.SignedURL(ctx, cb.Object, life, string(j.Kind)+"-"+j.ID+".csv")
		if err != nil {
			return nil, fmt.Errorf("make the link of job %s: %w", j.ID, errors.Join(jobs.ErrUnavailable, err))
		}
		until := now.Add(life).Truncate(time.Second)
		data.CSVURL, data.CSVURLExpiresAt = &link, &until
	}
	return webhook.Event{Type: cb.Event, Timestamp: cb.CreatedAt, Data: data}.Encode()
}
