package api

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"time"

	"exportd/internal/dataset"
	"exportd/internal/filelink"
	"exportd/jobs"
)

// jobView is a job as callers see it. What is not known yet is null.
type jobView struct {
	JobID         string        `json:"jobId"`
	Kind          jobs.Kind     `json:"kind"`
	State         jobs.State    `json:"state"`
	Params        jobs.Params   `json:"params"`
	CreatedAt     *time.Time    `json:"createdAt"`
	StartedAt     *time.Time    `json:"startedAt"`
	FinishedAt    *time.Time    `json:"finishedAt"`
	SnapshotTime  *time.Time    `json:"snapshotTime"`
	Attempt       int           `json:"attempt"`
	Progress      progressView  `json:"progress"`
	TotalCount    *int64        `json:"totalCount"`
	CSVURL        *string       `json:"csvUrl"`
	URLExpiresAt  *time.Time    `json:"csvUrlExpiresAt"`
	FileExpiresAt *time.Time    `json:"fileExpiresAt"`
	SizeBytes     *int64        `json:"sizeBytes"`
	CRC32C        *string       `json:"crc32c"` // base64 of the big-endian sum, as Cloud Storage shows it
	GuardedCells  *int64        `json:"guardedCells"`
	RescuedValues int64         `json:"rescuedValues,omitempty"`
	Changes       *changesView  `json:"changes,omitempty"`
	Error         *errorView    `json:"error"`
	Callback      *callbackView `json:"callback"`
	StatusURL     string        `json:"statusUrl"`
	// TestScenario is that of a job in a sandbox.
	TestScenario jobs.Scenario `json:"testScenario,omitempty"`
}

type progressView struct {
	RowsDone   int64  `json:"rowsDone"`
	RowsTotal  *int64 `json:"rowsTotal"`
	Percent    int    `json:"percent"`
	PartsDone  int    `json:"partsDone"`
	PartsTotal int    `json:"partsTotal"`
	Bytes      int64  `json:"bytes"`
}

type errorView struct {
	Code      jobs.Code `json:"code"`
	Message   string    `json:"message"`
	Retryable bool      `json:"retryable"`
}

type callbackView struct {
	URL           string     `json:"url"`   // without its query, for whoever asks
	State         *string    `json:"state"` // null until the job has ended
	Attempts      int        `json:"attempts"`
	LastStatus    *int       `json:"lastStatus"`
	NextAttemptAt *time.Time `json:"nextAttemptAt"`
}

// pendingView is a job in a 202. Callers of the old API look for totalCount and csvUrl to know that an export
// is done, so these are left out, not null.
type pendingView struct {
	jobView
	TotalCount *int64  `json:"totalCount,omitempty"`
	CSVURL     *string `json:"csvUrl,omitempty"`
}

// statusURL is where a job is shown.
func statusURL(id string) string { return "/exports/" + id }

// viewOf shows what the job's own document says: all that a list shows. Links and callbacks, which cost a
// call per job, are null in it.
func viewOf(j *jobs.Job) jobView {
	v := jobView{
		JobID: j.ID, Kind: j.Kind, State: j.State, Params: j.Params, Attempt: j.Attempt, StatusURL: statusURL(j.ID), TestScenario: j.Scenario(),
		CreatedAt: timeOrNil(j.CreatedAt), StartedAt: timeOrNil(j.StartedAt), FinishedAt: timeOrNil(j.FinishedAt),
		SnapshotTime: timeOrNil(j.SnapshotTime), FileExpiresAt: timeOrNil(j.FileExpiresAt),
	}
	if !v.Kind.Valid() { // of a damaged record: callers know those of the contract
		v.Kind = dataset.VIPUsers.Kind()
	}
	v.Params = shownParams(v.Kind, j.Params)
	v.Progress = progressView{PartsDone: j.PartsDone, PartsTotal: j.PartsTotal}
	v.setProgress(j, j.RowsDone, j.BytesDone)
	if j.State == jobs.Succeeded || j.State == jobs.Expired {
		sum, rows := checksum(j.Result.CRC32C), j.Result.FileRows()
		v.TotalCount, v.SizeBytes, v.CRC32C, v.GuardedCells = &rows, &j.Result.Size, &sum, &j.Result.GuardedCells
		v.RescuedValues, v.Changes = j.Result.RescuedValues, changesOf(j)
		v.setProgress(j, j.Result.Rows, j.Result.Size)
	}
	if e := j.Error; e != nil {
		v.Error = &errorView{e.Code, cmp.Or(e.Message, "why is not on record"), e.Retryable}
	}
	return v
}

// checksum is a CRC-32C as Cloud Storage shows it.
func checksum(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// shownParams has what the contract promises and nothing else, also of a damaged record.
func shownParams(kind jobs.Kind, p jobs.Params) jobs.Params {
	shown := shownFile(p)
	d := dataset.BuiltIn.Get(string(kind))
	if d == nil {
		for name, v := range p {
			if _, own := shown[name]; !own && dataset.IsParam(name, v) {
				shown[name] = v
			}
		}
		return shown
	}
	for name, v := range p {
		if d.Takes(name, v) {
			shown[name] = v
		}
	}
	if d.Gate.VIP() {
		shown[dataset.Workspace], shown[dataset.Medium] = p.Text(dataset.Workspace), p.Text(dataset.Medium)
	}
	return shown
}

// setProgress never shows less than was shown before a restart, nor more than there is.
func (v *jobView) setProgress(j *jobs.Job, rows, bytes int64) {
	rows = max(rows, j.RowsFloor)
	if j.Counted {
		rows = min(rows, j.RowsTotal)
		v.Progress.RowsTotal = &j.RowsTotal
	}
	v.Progress.RowsDone, v.Progress.Bytes = rows, bytes
	v.Progress.Percent = jobs.Percent(j.State, rows, j.RowsTotal)
}

// show is viewOf with everything that has to be asked for. The link is for whoever asks.
func (s *Server) show(ctx context.Context, j *jobs.Job, asker filelink.Asker) (jobView, error) {
	j = s.proven(ctx, j)
	v := viewOf(j)
	if j.State == jobs.Running && j.Phase == jobs.PhaseParts {
		rows, bytes, err := s.jobs.Progress(ctx, j)
		if err != nil {
			return v, err
		}
		v.setProgress(j, rows, bytes)
	}
	if url, until, err := s.link(ctx, j, asker); err != nil {
		return v, err
	} else if url != "" {
		v.CSVURL, v.URLExpiresAt = &url, &until
	}
	if j.CallbackURL == "" {
		return v, nil
	}
	v.Callback = &callbackView{URL: withoutQuery(j.CallbackURL)}
	if !j.State.Ended() {
		return v, nil
	}
	callbacks, err := s.jobs.Callbacks(ctx, j.ID)
	if err != nil || len(callbacks) == 0 {
		return v, err
	}
	last := callbacks[len(callbacks)-1]
	state := string(last.State)
	v.Callback.State, v.Callback.Attempts = &state, last.Attempt
	if last.LastCode != 0 {
		v.Callback.LastStatus = &last.LastCode
	}
	if last.State == jobs.CallbackPending {
		v.Callback.NextAttemptAt = timeOrNil(last.WakeAt)
	}
	return v, nil
}

// shortestLink is how long a csvUrl works at least: links live for whole seconds. A file with less left has
// expired.
const shortestLink = time.Second

// link makes a fresh csvUrl of a job that has a file, as proven says, and says until when it works.
func (s *Server) link(ctx context.Context, j *jobs.Job, asker filelink.Asker) (url string, until time.Time, err error) {
	if s.links == nil {
		return s.signed(ctx, j, s.urlLife)
	}
	if j.State != jobs.Succeeded || j.Result.Object == "" || j.FileExpiresAt.Sub(s.now()) < shortestLink {
		return "", time.Time{}, nil
	}
	return s.links.URL(ctx, j, asker)
}

// signed is link by Cloud Storage, which works for life at most.
func (s *Server) signed(ctx context.Context, j *jobs.Job, life time.Duration) (url string, until time.Time, err error) {
	now := s.now()
	life = min(life, j.FileExpiresAt.Sub(now)).Truncate(time.Second)
	if j.State != jobs.Succeeded || j.Result.Object == "" || life < shortestLink { // of another version, none may be known
		return "", time.Time{}, nil
	}
	url, err = s.objects.SignedURL(ctx, j.Result.Object, life, j.FileName())
	return url, now.Add(life).UTC().Truncate(time.Second), err
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
