package worker

import (
	"errors"
	"sync"
	"time"

	"exportd/jobs"
)

const (
	// maxPassed bounds the documents that a rescuer remembers to pass by, about 1 MiB. Of more, some
	// are tried again each second.
	maxPassed = 4096
	// passMin and passMax bound for how long, which doubles with each failure.
	passMin, passMax = 5 * time.Second, 10 * time.Minute
)

// passed remembers due documents that could not be looked after, so that they do not stand before
// those behind them each time. The zero value is empty and ready.
type passed struct {
	mu   sync.Mutex
	docs map[string]passing
}

type passing struct {
	until time.Time
	pause time.Duration
}

// by reports whether a document is to be passed by at now.
func (p *passed) by(key string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.docs[key].until)
}

// note remembers how looking after a document ended.
func (p *passed) note(key string, now time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.docs, key)
		return
	}
	d, known := p.docs[key]
	if !known && len(p.docs) >= maxPassed {
		p.shrink(now)
	}
	if p.docs == nil {
		p.docs = map[string]passing{}
	}
	d.pause = min(max(2*d.pause, passMin), passMax)
	if errors.Is(err, jobs.ErrUnavailable) {
		d.pause = time.Second // says nothing of the document
	}
	d.until = now.Add(d.pause)
	p.docs[key] = d
}

// shrink makes room: what has not failed for twice the longest pause is gone or mended.
func (p *passed) shrink(now time.Time) {
	for key, d := range p.docs {
		if now.Sub(d.until) > passMax {
			delete(p.docs, key)
		}
	}
	for key := range p.docs {
		if len(p.docs) < maxPassed {
			return
		}
		delete(p.docs, key)
	}
}
