//go:build crashpoints

package service

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"exportd/internal/export"
	"exportd/internal/jobqueue"
	"exportd/internal/jobstore"
	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// crasher kills its own process with SIGKILL at the n-th place that it passes: before and after each step of
// a worker that others can see. EXPORTD_TEST_CRASH_AT is n, from 1, or the name of a place, which stands for
// the first of that name.
type crasher struct {
	at   int64
	name string
	seen atomic.Int64
}

func (c *crasher) place(name string) {
	if c.seen.Add(1) == c.at || name == c.name {
		fmt.Fprintln(os.Stderr, "crash at", name)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// crashing is the one of the process, nil if it is to live.
var crashing = sync.OnceValue(func() *crasher {
	where := os.Getenv("EXPORTD_TEST_CRASH_AT")
	if where == "" {
		return nil
	}
	c := &crasher{name: where}
	c.at, _ = strconv.ParseInt(where, 10, 64) // a name is 0, which is no place
	return c
})

// crashingObjects puts a place before files are composed: what follows the parts is an object by then.
func crashingObjects(o export.Objects) export.Objects {
	if c := crashing(); c != nil {
		return crashObjects{o, c}
	}
	return o
}

// withTestSheets has sheets of as few rows as EXPORTD_TEST_SHEET_ROWS says.
func withTestSheets(cfg export.Config) export.Config {
	cfg.SheetRows, _ = strconv.ParseInt(os.Getenv("EXPORTD_TEST_SHEET_ROWS"), 10, 64) // 0 without
	return cfg
}

type crashObjects struct {
	export.Objects
	c *crasher
}

func (o crashObjects) Compose(ctx context.Context, dst string, parts []string, attrs jobs.ObjectAttrs, size int64, crc uint32) (jobs.Object, error) {
	o.c.place("before composing")
	return o.Objects.Compose(ctx, dst, parts, attrs, size, crc)
}

// withCrashes puts the places between a worker and what it works with.
func withCrashes(cfg worker.Config) worker.Config {
	c := crashing()
	if c == nil {
		return cfg
	}
	cfg.Store = crashStore{cfg.Store.(*jobstore.Store), c}
	cfg.Queue = crashQueue{cfg.Queue.(*jobqueue.Queue), c}
	cfg.Exporter = crashExporter{cfg.Exporter.(*export.Exporter), c}
	cfg.Callbacks.Sender = crashSender{cfg.Callbacks.Sender.(*webhook.Sender), c}
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

func (s crashStore) UpdateCallback(ctx context.Context, id, actor string, fn func(*jobs.CallbackTx) error) (*jobs.Callback, error) {
	s.c.place("before a transition of a callback")
	cb, err := s.Store.UpdateCallback(ctx, id, actor, fn)
	s.c.place("after a transition of a callback")
	return cb, err
}

type crashSender struct {
	*webhook.Sender
	c *crasher
}

func (s crashSender) Send(ctx context.Context, d webhook.Delivery) webhook.Attempt {
	a := s.Sender.Send(ctx, d)
	s.c.place("after sending a callback")
	return a
}

type crashQueue struct {
	*jobqueue.Queue
	c *crasher
}

func (q crashQueue) Publish(ctx context.Context, queue jobs.Queue, m jobs.Message) error {
	q.c.place("before a message")
	err := q.Queue.Publish(ctx, queue, m)
	q.c.place("after a message")
	return err
}

func (q crashQueue) Ack(ctx context.Context, queue jobs.Queue, d jobs.PulledMessage) error {
	q.c.place("before an acknowledgement")
	err := q.Queue.Ack(ctx, queue, d)
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

func (e crashExporter) Compose(ctx context.Context, j *jobs.Job, parts []*jobs.Part, dst string) (jobs.Result, []string, error) {
	r, names, err := e.Exporter.Compose(ctx, j, parts, dst)
	e.c.place("after composing")
	return r, names, err
}

func (e crashExporter) Changes(ctx context.Context, j *jobs.Job, whole jobs.Result, dst string) (jobs.Result, error) {
	r, err := e.Exporter.Changes(ctx, j, whole, dst)
	e.c.place("after comparing")
	return r, err
}

func (e crashExporter) Discard(ctx context.Context, names ...string) error {
	e.c.place("before deleting parts")
	err := e.Exporter.Discard(ctx, names...)
	e.c.place("after deleting parts")
	return err
}
