package fsstore

import (
	"bytes"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// What production takes for long, without saying so by an error: beyond it latency and contention grow.
// https://cloud.google.com/firestore/quotas#soft_limits and
// https://cloud.google.com/firestore/docs/best-practices#updates_to_a_single_document
const (
	documentRate = 1   // sustained writes a second of one document
	rangeRate    = 500 // writes a second of sequential values of one index
	// wearWindow is over how long a rate counts as sustained.
	wearWindow = 10 * time.Second
	// warnEvery is how often the log tells of the same document or index.
	warnEvery = time.Minute
	// maxWorn bounds what is remembered of documents, of indexes, and of each for the report.
	maxWorn = 10_000
)

// Worn is a document or an index that was written faster than production takes for long.
type Worn struct {
	Name      string  `json:"name"`
	PerSecond float64 `json:"perSecond"` // the most in 10 s, as far as counted when it was over the limit
	Windows   int     `json:"windows"`   // of 10 s in which it was over the limit
}

// Wear is what was written too fast so far.
type Wear struct {
	Documents []Worn `json:"documents"`
	Indexes   []Worn `json:"indexes"` // by sequential values
}

// wear counts writes by document and sequential entries by index.
type wear struct {
	now func() time.Time
	log *slog.Logger

	mu        sync.Mutex
	began     time.Time // of the window
	written   map[docID]int
	tails     map[uint64]*tail
	documents map[string]*worn
	indexes   map[string]*worn
}

// tail is what an index is written at: values above all earlier ones, or below, go to one range.
type tail struct {
	min, max []byte
	n        int
}

type worn struct {
	Worn
	window time.Time // the last in which it was over the limit
	warned time.Time
}

func newWear(now func() time.Time, log *slog.Logger) *wear {
	return &wear{now: now, log: log, written: map[docID]int{}, tails: map[uint64]*tail{}, documents: map[string]*worn{}, indexes: map[string]*worn{}}
}

// wrote notes a write of a document and the entries that came by it. A nil wear notes nothing.
func (w *wear) wrote(db uint32, path fsvalue.Path, come []entry) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if len(w.written) >= maxWorn { // a bulk load, which writes each document once
		clear(w.written)
	}
	if now.Sub(w.began) >= wearWindow {
		w.began = now
		clear(w.written)
		for _, t := range w.tails {
			t.n = 0
		}
		if len(w.tails) >= maxWorn {
			clear(w.tails)
		}
	}
	id := docID{db, path}
	w.written[id]++
	if n := w.written[id]; n > documentRate*int(wearWindow/time.Second) {
		w.over(w.documents, path.String(), n, now, "document written faster than 1/s for 10 s; production contends")
	}
	for i := range come {
		if e := &come[i]; !e.covers && e.index != nil && w.sequential(e) {
			w.over(w.indexes, e.index.label, w.tails[e.index.id].n, now, "index written at one end faster than 500/s for 10 s; production slows down")
		}
	}
}

// sequential says whether the entry makes too many at one end of its index.
func (w *wear) sequential(e *entry) bool {
	t := w.tails[e.index.id]
	if t == nil {
		t = &tail{min: bytes.Clone(e.key), max: bytes.Clone(e.key)}
		w.tails[e.index.id] = t
		return false
	}
	switch {
	case bytes.Compare(e.key, t.max) > 0:
		t.max = append(t.max[:0], e.key...)
	case bytes.Compare(e.key, t.min) < 0:
		t.min = append(t.min[:0], e.key...)
	default:
		return false
	}
	t.n++
	return t.n > rangeRate*int(wearWindow/time.Second)
}

// over notes that a name was written n times in this window.
func (w *wear) over(of map[string]*worn, name string, n int, now time.Time, text string) {
	x := of[name]
	if x == nil {
		if len(of) >= maxWorn {
			return
		}
		x = &worn{Worn: Worn{Name: name}}
		of[name] = x
	}
	if x.window != w.began {
		x.window = w.began
		x.Windows++
	}
	x.PerSecond = max(x.PerSecond, float64(n)/wearWindow.Seconds())
	if now.Sub(x.warned) >= warnEvery {
		x.warned = now
		w.log.Warn(text, "name", name)
	}
}

// Wear returns what was written too fast since the store was opened; nothing when it does not count.
func (s *Store) Wear() Wear {
	if s.wear == nil {
		return Wear{Documents: []Worn{}, Indexes: []Worn{}}
	}
	s.wear.mu.Lock()
	defer s.wear.mu.Unlock()
	return Wear{Documents: list(s.wear.documents), Indexes: list(s.wear.indexes)}
}

func list(of map[string]*worn) []Worn {
	out := make([]Worn, 0, len(of))
	for x := range maps.Values(of) {
		out = append(out, x.Worn)
	}
	slices.SortFunc(out, func(a, b Worn) int { return strings.Compare(a.Name, b.Name) })
	return out
}
