package worker

import (
	"errors"
	"sync"
	"time"

	"exportd/jobs"
)

const (
	// maxSkipped bounds the documents that a rescuer remembers to pass by, about 1 MiB. Of more, some are
	// tried again each second.
	maxSkipped = 4096
	// skipMin and skipMax bound for how long, which doubles with each failure.
	skipMin, skipMax = 5 * time.Second, 10 * time.Minute
)

// skipList remembers due documents that could not be looked after, so that they do not stand before those
// behind them each time. The zero value is empty and ready.
type skipList struct {
	mu   sync.Mutex
	docs map[string]skip
}

type skip struct {
	until time.Time
	pause time.Duration
}

// skips reports whether a document is to be passed by at now.
func (p *skipList) skips(key string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.docs[key].until)
}

// note remembers how looking after a document ended.
func (p *skipList) note(key string, now time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.docs, key)
		return
	}
	d, known := p.docs[key]
	if !known && len(p.docs) >= maxSkipped {
		p.shrink(now)
	}
	if p.docs == nil {
		p.docs = map[string]skip{}
	}
	d.pause = min(max(2*d.pause, skipMin), skipMax)
	if errors.Is(err, jobs.ErrUnavailable) {
		d.pause = time.Second // says nothing of the document
	}
	d.until = now.Add(d.pause)
	p.docs[key] = d
}

// shrink makes room: what has not failed for twice the longest pause is gone or mended.
func (p *skipList) shrink(now time.Time) {
	for key, d := range p.docs {
		if now.Sub(d.until) > skipMax {
			delete(p.docs, key)
		}
	}
	for key := range p.docs {
		if len(p.docs) < maxSkipped {
			return
		}
		delete(p.docs, key)
	}
}
