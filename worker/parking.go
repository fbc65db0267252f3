package worker

import (
	"slices"
	"sync"

	"exportd/internal/webhook"
	"exportd/jobs"
)

// maxParked bounds the deliveries that a worker remembers to wait for a place, about
// 1 MiB. One that is not remembered is rung by its wakeAt, which is only later.
const maxParked = 5000

// waiting is a delivery that waits for a place at its host and in its org.
type waiting struct {
	host, org string
	message   jobs.Message
}

// parking holds deliveries that wait, in the order in which they came. The zero value is
// empty and ready.
type parking struct {
	mu   sync.Mutex
	line []waiting
}

// add appends a delivery that is not in the line yet.
func (k *parking) add(w waiting) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.line) < maxParked && k.find(w.message.CallbackID) < 0 {
		k.line = append(k.line, w)
	}
}

func (k *parking) remove(callbackID string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := k.find(callbackID); i >= 0 {
		k.line = slices.Delete(k.line, i, i+1)
	}
}

func (k *parking) find(callbackID string) int {
	return slices.IndexFunc(k.line, func(w waiting) bool { return w.message.CallbackID == callbackID })
}

// next takes the first delivery out of the line that has a place now. The place is not
// kept: who claims the delivery takes one, or parks it again.
func (k *parking) next(l *webhook.Limiter) (jobs.Message, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	full := map[[2]string]bool{} // asked once, however many of them wait
	for i, w := range k.line {
		if full[[2]string{w.host, w.org}] {
			continue
		}
		release, ok := l.TryAcquire(w.host, w.org)
		if !ok {
			full[[2]string{w.host, w.org}] = true
			continue
		}
		release()
		k.line = slices.Delete(k.line, i, i+1)
		return w.message, true
	}
	return jobs.Message{}, false
}
