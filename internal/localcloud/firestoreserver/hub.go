package firestoreserver

import (
	"sync"

	"exportd/internal/localcloud/firestoreserver/fsstore"
)

// A slow listener may be behind by this many commits and bytes of documents before its backlog is thrown away
// and replaced by one comparison of states.
const (
	maxPending      = 1000
	maxPendingBytes = 4 << 20
)

// hub hands every commit to every listener, in commit order.
type hub struct {
	mu   sync.Mutex
	subs map[*subscriber]struct{}
}

// subscriber is the backlog of one listener.
type subscriber struct {
	wake chan struct{} // holds one token when there may be something to do

	mu       sync.Mutex
	pending  []*fsstore.Change
	bytes    int
	overflow bool
}

func newHub() *hub { return &hub{subs: map[*subscriber]struct{}{}} }

// publish is called by the store's sequencer and must not block.
func (h *hub) publish(changes []*fsstore.Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.subs) == 0 {
		return
	}
	size := 0
	for _, c := range changes {
		size += c.Bytes()
	}
	for s := range h.subs {
		s.offer(changes, size)
	}
}

func (h *hub) subscribe() *subscriber {
	s := &subscriber{wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs[s] = struct{}{}
	return s
}

func (h *hub) unsubscribe(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subs, s)
}

func (s *subscriber) offer(changes []*fsstore.Change, size int) {
	s.mu.Lock()
	if len(s.pending)+len(changes) > maxPending || s.bytes+size > maxPendingBytes {
		s.pending, s.bytes, s.overflow = nil, 0, true
	} else if !s.overflow {
		s.pending = append(s.pending, changes...)
		s.bytes += size
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take removes and returns the changes up to the instant. lost tells that changes were dropped, of which
// nothing is returned.
func (s *subscriber) take(upTo int64) (changes []*fsstore.Change, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overflow {
		return nil, true
	}
	n := 0
	for n < len(s.pending) && s.pending[n].Instant <= upTo {
		n++
	}
	changes = s.pending[:n:n]
	for _, c := range changes {
		s.bytes -= c.Bytes()
	}
	if s.pending = s.pending[n:]; len(s.pending) == 0 {
		s.pending = nil
	}
	return changes, false
}

// clear forgets the backlog, which a comparison of states is about to replace.
func (s *subscriber) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending, s.bytes, s.overflow = nil, 0, false
}
