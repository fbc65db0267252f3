package api

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"exportd/jobs"
)

const (
	// downloadsEvery is how often repeats of a download are written down.
	downloadsEvery = 5 * time.Second
	// downloadsHeld bounds the downloads that are known as written, at about half a kilobyte each. Beyond it
	// all that have nothing to be written are forgotten, and are new the next time.
	downloadsHeld = 10_000
	// downloadsOfJob are those of a job in an hour that are told apart by address and program. Behind it a
	// crowd, or a link that got out, is counted and no longer told apart.
	downloadsOfJob = 200
	// flushWithin bounds the last write, of a process that stops.
	flushWithin = 2 * time.Second
)

// downloads writes down who downloads what. The first of a kind is written before the file is given away;
// those that are alike within the hour are added up, so that a loop is a write every downloadsEvery, and what
// is lost with a process are that many seconds of repeats.
type downloads struct {
	store jobs.LinkStore
	log   *zap.Logger

	mu    sync.Mutex
	hour  time.Time
	known map[string]*noted // by id
	ofJob map[string]int
}

type noted struct {
	jobs.Download       // the last one
	pending       int64 // not written yet
	written       bool
}

func newDownloads(store jobs.LinkStore, log *zap.Logger) *downloads {
	return &downloads{store: store, log: log, known: map[string]*noted{}, ofJob: map[string]int{}}
}

// note writes a download down, or adds it to those that will be.
func (d *downloads) note(ctx context.Context, one jobs.Download) error {
	n, repeat := d.find(&one)
	if repeat {
		return nil
	}
	if err := d.store.NoteDownloads(ctx, one); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n.written = true
	return nil
}

// find gives what is known of a download's kind, and counts it there if one was written.
func (d *downloads) find(one *jobs.Download) (n *noted, repeat bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if hour := one.At.Truncate(time.Hour); !hour.Equal(d.hour) {
		d.hour, d.ofJob = hour, map[string]int{}
		d.forget()
	}
	if d.known[one.ID()] == nil && d.ofJob[one.JobID] >= downloadsOfJob {
		one.LinkID, one.Address, one.UserAgent = "", "", ""
	}
	n = d.known[one.ID()]
	switch {
	case n == nil:
		if len(d.known) >= downloadsHeld {
			d.forget()
		}
		n = &noted{Download: *one}
		d.known[one.ID()] = n
		d.ofJob[one.JobID]++
	case n.written:
		n.pending++
		n.At = one.At
		return n, true
	}
	return n, false
}

// forget drops all that has nothing to be written. Its caller holds mu.
func (d *downloads) forget() {
	for id, n := range d.known {
		if n.pending == 0 {
			delete(d.known, id)
		}
	}
}

// flush writes down what was added up. What cannot be written is tried again the next time; where an answer
// was lost, it may then count twice.
func (d *downloads) flush(ctx context.Context) {
	d.mu.Lock()
	var due []jobs.Download
	for _, n := range d.known {
		if n.pending > 0 {
			one := n.Download
			one.Count, n.pending = n.pending, 0
			due = append(due, one)
		}
	}
	d.mu.Unlock()
	if len(due) == 0 {
		return
	}
	err := d.store.NoteDownloads(ctx, due...)
	if err == nil {
		return
	}
	d.log.Warn("cannot note repeated downloads", zap.Int("kinds", len(due)), zap.Error(err))
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range due {
		if n := d.known[one.ID()]; n != nil {
			n.pending += one.Count
			continue
		}
		d.known[one.ID()] = &noted{Download: one, pending: one.Count, written: true}
	}
}

// run flushes until ctx ends, and once more then.
func (d *downloads) run(ctx context.Context) {
	tick := time.NewTicker(downloadsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
			defer cancel()
			d.flush(last)
			return
		}
	}
}
