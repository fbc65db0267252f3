package worker

import (
	"context"
	"sync"
	"time"

	"exportd/internal/panics"
	"exportd/jobs"
)

// maxSoon bounds the documents that wait for their time, about 5 s of a rescuer's work; more wait for the
// next asking.
const maxSoon = 1000

// dueSoon are documents that are about to be due.
type dueSoon struct {
	mu    sync.Mutex
	keys  map[string]bool
	slots chan struct{}
}

func newDueSoon() *dueSoon {
	return &dueSoon{keys: map[string]bool{}, slots: make(chan struct{}, dutiesAtOnce)}
}

// add reports whether a document is to be waited for: not if it is already.
func (s *dueSoon) add(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[key] || len(s.keys) >= maxSoon {
		return false
	}
	s.keys[key] = true
	return true
}

func (s *dueSoon) has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[key]
}

func (s *dueSoon) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, key)
}

// later does what is due for a document when its time has come, unless running ends before. It reports
// whether it is new. Should the worker stop, or lose the shard, the next rescuer finds the document; two that
// look after one do no harm.
func (p *Pool) later(running, work context.Context, kind jobs.DueKind, d jobs.Due, now time.Time) bool {
	if !p.dueSoon.add(d.Key) {
		return false
	}
	p.work.Go(func() {
		defer p.dueSoon.remove(d.Key)
		p.Panics.Run(panics.Due, func() {
			wait(running, d.At.Sub(now))
			select {
			case <-running.Done():
			case p.dueSoon.slots <- struct{}{}:
				defer func() { <-p.dueSoon.slots }()
				if running.Err() != nil {
					return
				}
				ctx, cancel := context.WithTimeout(work, roundWithin)
				defer cancel()
				p.wakeOrPass(ctx, work, kind, d, func(j *jobs.Job) { p.purge(ctx, []*jobs.Job{j}) })
			}
		})
	})
	return true
}
