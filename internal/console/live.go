package console

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/panics"
	"exportd/jobs"
)

const (
	// maxStreams bounds the open pages of a process that are told what changes, and maxTopics what they look
	// at: with more, a page is as it was when it was opened. 128 of some 50 KiB each are 6 MiB.
	maxStreams, maxTopics = 128, 64
	// streamFor bounds one stream; the browser begins the next by itself.
	streamFor = 15 * time.Minute
	// aliveEvery has whoever is between keep the connection, and finds out who has gone.
	aliveEvery = 20 * time.Second
	// rightsEvery is how often a stream asks whether who reads it may still: of what this process remembers
	// of keys, which it watches, so that it costs no read.
	rightsEvery = time.Second
	// sendWithin bounds sending to who reads slowly, lookWithin one look.
	sendWithin, lookWithin = 10 * time.Second, 10 * time.Second
)

// live has all pages that show the same share what is read for them.
type live struct {
	panics  *panics.Reporter
	mu      sync.Mutex
	topics  map[string]*topic
	streams int
	stopped chan struct{}
	once    sync.Once
	looking sync.WaitGroup // those who look after topics
}

// topic is what some pages show: the last that was made of it, for all of them.
type topic struct {
	mu       sync.Mutex
	body     []byte
	version  int
	over     bool          // nothing more will change
	changed  chan struct{} // closed at the next version
	watchers int
	end      context.CancelFunc
}

func newLive(told *panics.Reporter) *live {
	return &live{panics: told, topics: map[string]*topic{}, stopped: make(chan struct{})}
}

// stop ends all streams, and waits for nobody who reads one: who looks after topics ends with the last of
// them.
func (l *live) stop() { l.once.Do(func() { close(l.stopped) }) }

// join gives the topic of a name, which run looks after while anybody is there; nil where there are too many.
func (l *live) join(name string, run func(ctx context.Context, t *topic)) *topic {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams >= maxStreams {
		return nil
	}
	t := l.topics[name]
	if t == nil {
		if len(l.topics) >= maxTopics {
			return nil
		}
		ctx, cancel := context.WithCancel(context.Background()) // of none of those who look
		t = &topic{changed: make(chan struct{}), end: cancel}
		l.topics[name] = t
		l.looking.Go(func() { l.panics.Loop(ctx, panics.Console, func() { run(ctx, t) }) })
	}
	l.streams++
	t.watchers++
	return t
}

func (l *live) leave(name string, t *topic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams--
	if t.watchers--; t.watchers == 0 {
		t.end()
		if l.topics[name] == t {
			delete(l.topics, name)
		}
	}
}

// set makes a version of a topic.
func (t *topic) set(body []byte, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.version > 0 && bytes.Equal(t.body, body) && t.over == over {
		return
	}
	t.body, t.over = body, over
	t.version++
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *topic) get() (body []byte, version int, over bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.body, t.version, t.over, t.changed
}

// liveURL is where the stream of a page is.
func liveURL(r *http.Request) string {
	return home + "/live?" + url.Values{"of": {r.URL.RequestURI()}}.Encode()
}

// follow looks at a page again and again. It is read in the name of who came first; what they may see is part
// of the topic's name, and each stream asks by itself whether who reads it is still signed in.
func (c *Console) follow(ctx context.Context, t *topic, load loader, who *principal, r *http.Request) {
	for {
		every := c.look(ctx, t, load, who, r)
		if every == 0 {
			return
		}
		timer := time.NewTimer(every)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// look makes a version of a topic and says when to look again; 0 is never.
func (c *Console) look(ctx context.Context, t *topic, load loader, who *principal, r *http.Request) time.Duration {
	within, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	r = r.WithContext(within)
	v, err := load(c.asking(r, who), who, r)
	if refused, ok := refusal(err); ok && !passing(refused) {
		t.set(nil, true) // the browser loads the page, which says why
		return 0
	}
	if err != nil {
		return cmp.Or(c.lookEvery, overviewEvery) // an outage ends: until then the page is as it was
	}
	body, err := c.made(v.name, "live", frame{Page: v.name, Who: who, Now: c.now().UTC(), Data: v.data})
	if err != nil {
		t.set(nil, true)
		return 0
	}
	t.set(body, !v.live)
	if !v.live {
		return 0
	}
	return cmp.Or(c.lookEvery, v.every)
}

// stream tells an open page what it shows now, whenever that is something else.
func (c *Console) stream(w http.ResponseWriter, r *http.Request) {
	who, err := c.signedIn(r)
	if errors.Is(err, errOut) && strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		// A browser tells a page nothing of a stream that is refused: it is told so by one.
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = w.Write([]byte(outEvent))
		return
	}
	if errors.Is(err, jobs.ErrUnavailable) { // the browser asks again
		http.Error(w, "temporarily unavailable", http.StatusServiceUnavailable)
		return
	}
	if err != nil {
		http.Error(w, "not signed in", http.StatusUnauthorized)
		return
	}
	if !who.mayLook() {
		http.Error(w, "not allowed", http.StatusForbidden)
		return
	}
	load, asked := c.pageAt(r, r.URL.Query().Get("of"))
	if load == nil {
		http.Error(w, "there is no such page", http.StatusNotFound)
		return
	}
	name := who.sees() + " " + asked.URL.RequestURI()
	// What is looked at is for all who may see it, and outlasts who came first: an assertion of
	// Identity-Aware Proxy ends within minutes. Each stream asks for who reads it.
	first := *who
	if first.Person != nil {
		first.Until = c.now().Add(sessionFor)
	}
	t := c.live.join(name, func(ctx context.Context, t *topic) { c.follow(ctx, t, load, &first, asked) })
	if t == nil {
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	defer c.live.leave(name, t)
	within := streamFor
	if who.asserted { // the browser begins the next, with another assertion
		within = min(within, who.Until.Sub(c.now()))
	}
	ctx, cancel := context.WithTimeout(r.Context(), within)
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	c.send(ctx, w, t, who)
}

// outEvent has a page lead to where one signs in.
const outEvent = "event: out\ndata: out\n\n"

// write sends pieces to who reads a stream, within sendWithin.
func write(w http.ResponseWriter, parts ...[]byte) bool {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(sendWithin)) // not every writer in tests knows deadlines
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			return false
		}
	}
	return control.Flush() == nil
}

// send writes versions of a topic until who reads has gone, or may not any more.
func (c *Console) send(ctx context.Context, w http.ResponseWriter, t *topic, who *principal) {
	write := func(parts ...[]byte) bool { return write(w, parts...) }
	out := func(asked func(context.Context, session, bool) (*apikey.Key, error), fresh bool) bool {
		if _, err := asked(ctx, who.session, fresh); !errors.Is(err, errOut) {
			return false
		}
		write([]byte(outEvent))
		return true
	}
	alive, rights := time.NewTicker(c.aliveEvery), time.NewTicker(rightsEvery)
	defer alive.Stop()
	defer rights.Stop()
	ends, leave := c.changes(ctx, who)
	defer leave()
	seen := 0
	if !write([]byte("retry: 5000\n\n")) {
		return
	}
	for {
		body, version, over, changed := t.get()
		if version > seen {
			seen = version
			if out(c.keyOf, false) {
				return
			}
			// A line of data for each line of the page.
			text := append([]byte("event: page\ndata: "), bytes.ReplaceAll(body, []byte("\n"), []byte("\ndata: "))...)
			if body != nil && !write(text, []byte("\n\n")) {
				return
			}
			if over {
				write([]byte("event: over\ndata: over\n\n"))
				return
			}
		}
		select {
		case <-changed:
		case <-alive.C:
			if !write([]byte(": still here\n\n")) || out(c.stillIn, false) {
				return
			}
		case <-rights.C:
			if out(c.keyOf, false) {
				return
			}
		case <-ends:
			if out(c.stillIn, true) {
				return
			}
		case <-ctx.Done():
			return
		case <-c.live.stopped:
			return
		}
	}
}

// changes tells whenever a session may have ended. Where that cannot be watched it tells nothing, and the
// stream asks when it shows that it is alive.
func (c *Console) changes(ctx context.Context, who *principal) (changed <-chan struct{}, leave func()) {
	if who.asserted {
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{}, 1)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		c.live.panics.Run(panics.Console, func() {
			_ = c.sessions.WatchSession(ctx, who.ID, who.KeyID, func() {
				select {
				case told <- struct{}{}:
				default: // it is told already
				}
			})
		})
	})
	return told, func() { cancel(); waiting.Wait() }
}

// pageAt finds the page of a path and query of the console, and the request that it would be asked by.
func (c *Console) pageAt(r *http.Request, of string) (loader, *http.Request) {
	u, err := url.Parse(next(of))
	if err != nil {
		return nil, nil
	}
	asked := r.Clone(context.Background()) // outlives who came first
	asked.URL, asked.Method, asked.RequestURI = u, http.MethodGet, ""
	if u.Path == home {
		return c.overview, asked
	}
	for prefix, load := range map[string]loader{home + "/jobs/": c.job, home + "/batches/": c.batch} {
		if id, ok := strings.CutPrefix(u.Path, prefix); ok && id != "" && !strings.Contains(id, "/") {
			asked.SetPathValue("id", id)
			return load, asked
		}
	}
	return nil, nil
}
