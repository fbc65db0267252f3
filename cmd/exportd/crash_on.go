//go:build crashpoints

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"exportd/internal/export"
	"exportd/internal/jobqueue"
	"exportd/internal/jobstore"
	"exportd/jobs"
	"exportd/worker"
)

// crasher kills its own process with SIGKILL at the n-th place that it passes: before and
// after each step of a worker that others can see. EXPORTD_TEST_CRASH_AT is n, from 1.
type crasher struct {
	at   int64
	seen atomic.Int64
}

func (c *crasher) place(name string) {
	if c.seen.Add(1) == c.at {
		fmt.Fprintln(os.Stderr, "crash at", name)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// withCrashes puts the places between a worker and what it works with.
func withCrashes(cfg worker.Config) worker.Config {
	at, err := strconv.ParseInt(os.Getenv("EXPORTD_TEST_CRASH_AT"), 10, 64)
	if err != nil {
		return cfg
	}
	c := &crasher{at: at}
	cfg.Store = crashStore{cfg.Store.(*jobstore.Store), c}
	cfg.Queue = crashQueue{cfg.Queue.(*jobqueue.Queue), c}
	cfg.Exporter = crashExporter{cfg.Exporter.(*export.Exporter), c}
	return cfg
}

type crashStore struct {
	*jobstore.Store
	c *crasher
}

func (s crashStore) Update(ctx context.Context, id, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	s.c.place("before a transition")
	j, err := s.Store.Update(ctx, id, actor, fn)
	s.c.place("after a transition")
	return j, err
}

func (s crashStore) UpdatePart(ctx context.Context, id, part, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	s.c.place("before a transition of a part")
	j, err := s.Store.UpdatePart(ctx, id, part, actor, fn)
	s.c.place("after a transition of a part")
	return j, err
}

type crashQueue struct {
	*jobqueue.Queue
	c *crasher
}

func (q crashQueue) Publish(ctx context.Context, lane jobs.Queue, m jobs.Message) error {
	q.c.place("before a doorbell")
	err := q.Queue.Publish(ctx, lane, m)
	q.c.place("after a doorbell")
	return err
}

func (q crashQueue) Ack(ctx context.Context, lane jobs.Queue, d jobqueue.Delivery) error {
	q.c.place("before an acknowledgement")
	err := q.Queue.Ack(ctx, lane, d)
	q.c.place("after an acknowledgement")
	return err
}

type crashExporter struct {
	*export.Exporter
	c *crasher
}

func (e crashExporter) Plan(ctx context.Context, j *jobs.Job) (export.Plan, error) {
	p, err := e.Exporter.Plan(ctx, j)
	e.c.place("after planning")
	return p, err
}

func (e crashExporter) Write(ctx context.Context, s export.Spec, p *export.Progress) (jobs.PartResult, error) {
	r, err := e.Exporter.Write(ctx, s, p)
	e.c.place("after writing an object")
	return r, err
}

func (e crashExporter) Compose(ctx context.Context, j *jobs.Job, parts []*jobs.Part, dst string) (jobs.Result, error) {
	r, err := e.Exporter.Compose(ctx, j, parts, dst)
	e.c.place("after composing")
	return r, err
}

func (e crashExporter) Discard(ctx context.Context, names ...string) error {
	e.c.place("before deleting parts")
	err := e.Exporter.Discard(ctx, names...)
	e.c.place("after deleting parts")
	return err
}
