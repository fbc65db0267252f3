package api

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"exportd/jobs"
)

const (
	// downloadsEvery is how often repeats of a download are written down.
	downloadsEvery = 5 * time.Second
	// downloadsHeld bounds the downloads that are known as written, at about half a kilobyte each, and the
	// jobs that they are of. Beyond it all that have nothing to be written are forgotten, and are new the
	// next time.
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
	// writing is closed when the attempt to write the first one down has ended; nil if none is under way.
	// Those that come meanwhile wait for it: a document bears about one write a second.
	writing chan struct{}
	written bool
}

func newDownloads(store jobs.LinkStore, log *zap.Logger) *downloads {
	return &downloads{store: store, log: log, known: map[string]*noted{}, ofJob: map[string]int{}}
}

// note writes a download down, or adds it to those that will be.
func (d *downloads) note(ctx context.Context, one jobs.Download) error {
	for {
		n, wait := d.find(&one)
		switch {
		case wait != nil:
			select {
			case <-wait:
			case <-ctx.Done():
				return fmt.Errorf("note a download: %w", context.Cause(ctx))
			}
		case n != nil:
			return d.write(ctx, n, one)
		default:
			return nil
		}
	}
}

// find counts a download where one of its kind was written. Else it gives what is to be written by the
// caller, or what to wait for.
func (d *downloads) find(one *jobs.Download) (n *noted, wait <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if hour := one.At.Truncate(time.Hour); hour.After(d.hour) {
		d.hour, d.ofJob = hour, map[string]int{}
		d.forget()
	}
	if d.known[one.ID()] == nil && d.ofJob[one.JobID] >= downloadsOfJob {
		one.LinkID, one.Address, one.UserAgent = "", "", ""
	}
	n = d.known[one.ID()]
	switch {
	case n == nil:
		n = &noted{Download: *one}
		d.hold(n)
	case n.written:
		n.pending++
		n.At = one.At
		return nil, nil
	case n.writing != nil:
		return nil, n.writing
	}
	n.writing = make(chan struct{})
	return n, nil
}

// write writes the first download of a kind down.
func (d *downloads) write(ctx context.Context, n *noted, one jobs.Download) error {
	written := false
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		close(n.writing)
		n.writing, n.written = nil, written
	}()
	err := d.store.NoteDownloads(ctx, one)
	written = err == nil
	return err
}

// hold has a kind remembered, if there is room. Its caller holds mu.
func (d *downloads) hold(n *noted) {
	if len(d.known) >= downloadsHeld {
		d.forget()
	}
	if len(d.known) >= downloadsHeld { // it is written down like any other
		return
	}
	if len(d.ofJob) >= downloadsHeld {
		clear(d.ofJob)
	}
	d.known[n.ID()] = n
	d.ofJob[n.JobID]++
}

// forget drops all that has nothing to be written. Its caller holds mu.
func (d *downloads) forget() {
	for id, n := range d.known {
		if n.pending == 0 && n.writing == nil {
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
	for some := range slices.Chunk(due, jobs.DownloadsAtOnce) {
		if err := d.store.NoteDownloads(ctx, some...); err != nil {
			d.log.Warn("cannot note repeated downloads", zap.Int("kinds", len(some)), zap.Error(err))
			d.restore(some)
		}
	}
}

// restore has what could not be written written the next time.
func (d *downloads) restore(due []jobs.Download) {
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
