package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"exportd/jobs"
)

// fleet is worker processes that share the work.
type fleet struct {
	bed     *bed
	workers []*process
	ended   chan attempt
}

// attempt is what the tests need of the line that a worker logs for each attempt.
type attempt struct {
	Msg   string     `json:"message"`
	Job   string     `json:"job_id"`
	State jobs.State `json:"state"`
	Code  string     `json:"code"`
	Error string     `json:"error"`
}

// exportWithin bounds an export: the longest is line e's with one part in flight.
const exportWithin = 10 * time.Minute

// startFleet starts n workers with the settings env and waits until they take work.
func (b *bed) startFleet(ctx context.Context, n int, env ...string) (*fleet, error) {
	f := &fleet{bed: b, ended: make(chan attempt, 64)}
	ready := make(chan struct{}, n)
	for range n {
		p, err := start(context.WithoutCancel(ctx), append(append([]string{"EXPORTD_DRAIN_SECONDS=0"}, b.env...), env...), func(line string) {
			var a attempt
			switch _ = json.Unmarshal([]byte(line), &a); { // other lines
			case a.Msg == "worker started":
				ready <- struct{}{}
			case strings.HasPrefix(a.Msg, "attempt") && (a.State.Ended() || a.Code != ""):
				select {
				case f.ended <- a:
				default: // nobody waits for so many
				}
			}
		}, b.binary, "worker")
		if err != nil {
			return nil, errors.Join(err, f.stop())
		}
		f.workers = append(f.workers, p)
	}
	late := time.After(startWithin)
	for _, p := range f.workers {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.stop())
		case <-late:
			return nil, errors.Join(fmt.Errorf("exportd worker is not ready:\n%s", p.said()), f.stop())
		}
	}
	return f, nil
}

func (f *fleet) stop() error {
	var errs []error
	for _, p := range f.workers {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

// export submits a job for the first rows messages and waits until a worker says that it has ended: nothing
// asks the cloud meanwhile, so its counters count the export alone.
func (f *fleet) export(ctx context.Context, rows int) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, exportWithin)
	defer cancel()
	if id, err = f.bed.submit(ctx, rows); err != nil {
		return "", err
	}
	for {
		select {
		case a := <-f.ended:
			switch {
			case a.Job != id:
			case a.State == jobs.Succeeded:
				return id, nil
			default:
				return "", fmt.Errorf("job %s is %s: %s: %s", id, a.State, a.Code, a.Error)
			}
		case <-ctx.Done():
			return "", fmt.Errorf("job %s has not ended: %w\n%s", id, ctx.Err(), f.workers[0].said())
		}
	}
}

// repeat exports the first rows messages again and again until end is called, which waits for the last export
// and says how many there were.
func (f *fleet) repeat(ctx context.Context, rows int) (end func() (int, error)) {
	stop, done := make(chan struct{}), make(chan struct{})
	var n int
	var err error
	go func() {
		defer close(done)
		for err == nil {
			select {
			case <-stop:
				return
			default:
			}
			if _, err = f.export(ctx, rows); err == nil {
				n++
			}
		}
	}()
	return func() (int, error) {
		close(stop)
		<-done
		return n, err
	}
}

// result checks an ended job and returns it.
func (b *bed) result(ctx context.Context, id string, rows int) (*jobs.Job, error) {
	j, err := b.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if j.State != jobs.Succeeded || j.Result.Rows != int64(rows) {
		return nil, fmt.Errorf("job %s is %s with %d rows, want %d", id, j.State, j.Result.Rows, rows)
	}
	return j, nil
}

// timed is an export and the time from its submission to its success, as its record has them.
func (f *fleet) timed(ctx context.Context, rows int) (*jobs.Job, time.Duration, error) {
	id, err := f.export(ctx, rows)
	if err != nil {
		return nil, 0, err
	}
	j, err := f.bed.result(ctx, id, rows)
	if err != nil {
		return nil, 0, err
	}
	return j, j.FinishedAt.Sub(j.CreatedAt), nil
}

// timedAs is timed of files of a form.
func (f *fleet) timedAs(ctx context.Context, as form, rows int) (*jobs.Job, time.Duration, error) {
	f.bed.form = as
	defer func() { f.bed.form = form{} }()
	return f.timed(ctx, rows)
}
