package apikey

import (
	"container/list"
	"context"
	"sync"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/backoff"
	"exportd/internal/panics"
)

const (
	// maxWatched bounds the keys that a process watches: ten streams of a hundred documents, a twentieth of
	// what internal/docwatch holds. A change of another key is seen when the TTL of the cache ends.
	maxWatched = 1000
	// watchIdle is how long a key is watched after its last use. Each start of a watch is billed as a read,
	// and so is each watched key when its stream ends, hourly at least.
	watchIdle = 10 * time.Minute
	// lookedQueue bounds the uses of keys that wait to be noted. One that is dropped is made up for by the
	// next of the same key.
	lookedQueue = 256
	// rewatch is the pause before what the server has refused is asked for again. Until then the TTL of the
	// cache bounds how long a change goes unseen.
	rewatch = 5 * time.Second
)

// Documents watches documents. internal/docwatch has it.
type Documents interface {
	// Watch calls fn with a document as it is and again after each change, until fn says stop or ctx ends.
	// One that is not there is a snapshot that does not exist.
	Watch(ctx context.Context, path string, fn func(*firestore.DocumentSnapshot) (stop bool)) error
}

// watched is a key that is watched.
type watched struct {
	id   string
	used time.Time
	stop context.CancelFunc
}

// watches are the watched keys, the one used last in front. One goroutine has them.
type watches struct {
	max    int
	ttl    time.Duration                        // how long a record is cached
	watch  func(ctx context.Context, id string) // until ctx ends
	panics *panics.Reporter
	wg     sync.WaitGroup
	byID   map[string]*list.Element
	order  list.List // of *watched
}

// run watches the keys that looked tells of, until ctx ends.
func (w *watches) run(ctx context.Context, looked <-chan string) {
	w.byID = map[string]*list.Element{}
	defer w.wg.Wait() // each ends with ctx
	tick := time.NewTicker(watchIdle / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-looked:
			w.panics.Run(panics.Keys, func() { w.touch(ctx, id, time.Now()) })
		case now := <-tick.C:
			w.panics.Run(panics.Keys, func() {
				for w.drop(now, watchIdle) {
				}
			})
		}
	}
}

// touch begins to watch a key, or keeps it. Where there is no room, it takes the place of one whose record
// has left the cache since: that one has nothing to be told. So keys that take turns do not cost a read each
// time.
func (w *watches) touch(ctx context.Context, id string, now time.Time) {
	if e := w.byID[id]; e != nil {
		e.Value.(*watched).used = now //nolint:forcetypeassert // only those are in
		w.order.MoveToFront(e)
		return
	}
	if w.order.Len() >= w.max && !w.drop(now, w.ttl) {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	w.byID[id] = w.order.PushFront(&watched{id: id, used: now, stop: stop})
	w.wg.Go(func() { w.panics.Loop(ctx, panics.Keys, func() { w.watch(ctx, id) }) })
}

// drop ends the watch of the key that was used longest ago, if that is at least unused ago.
func (w *watches) drop(now time.Time, unused time.Duration) bool {
	e := w.order.Back()
	if e == nil {
		return false
	}
	last := e.Value.(*watched) //nolint:forcetypeassert // only those are in
	if now.Sub(last.used) < unused {
		return false
	}
	last.stop()
	w.order.Remove(e)
	delete(w.byID, last.id)
	return true
}

// noteLooked notes that a key is in use. It never waits.
func (s *Store) noteLooked(id string) {
	select {
	case s.looked <- id:
	default:
	}
}

// watch forgets a key whenever its record changes, until ctx ends.
func (s *Store) watch(ctx context.Context, id string) {
	for ctx.Err() == nil {
		_ = s.documents.Watch(ctx, Collection+"/"+id, func(doc *firestore.DocumentSnapshot) bool {
			s.changed(id, doc.UpdateTime)
			return false
		})
		_ = backoff.Sleep(ctx, rewatch) // the loop looks at ctx
	}
}

// changed forgets a key whose record has another version, zero for none, than what is cached. A look-up under
// way may have read an older one: Forget has it read again.
func (s *Store) changed(id string, version time.Time) {
	last, ok := s.cache.GetEntryQuietly(id)
	proved, used := s.proved.GetEntryQuietly(id)
	if ok && last.Value.version.Equal(version) && (!used || proved.Value.version.Equal(version)) {
		return
	}
	s.Forget(id)
}
