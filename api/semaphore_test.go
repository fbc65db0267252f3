package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// However many keys and orgs take all that they can, who has none finds a place.
func TestPlacesAreShared(t *testing.T) {
	t.Parallel()
	const limit = 4000
	take := func(p *semaphore, org, key string) (n int) {
		for {
			if _, why := p.acquire(org, key); why != admitted {
				return n
			}
			n++
		}
	}
	p := newSemaphore(limit)
	if n := take(p, "org1", "key1"); n < 1500 || n > limit/2 {
		t.Errorf("one key took %d of %d", n, limit)
	}
	for k := range 50 {
		take(p, "org1", fmt.Sprint("key1", k))
	}
	if n := p.taken(); n != limit/2 {
		t.Errorf("one org took %d of %d, want half", n, limit)
	}
	for org := range 8 { // of one key each: three sevenths of what is left
		free := limit - p.taken()
		if n := take(p, fmt.Sprint("org", org+2), fmt.Sprint("key", org+2)); n < free*3/7 {
			t.Errorf("org %d took %d of %d", org+2, n, free)
		}
	}
	if _, why := p.acquire("another", "key"); why != admitted {
		t.Error("after nine orgs that take all they can there is no place")
	}
}

// TestPlacesAlone: what is shown as the share of one alone is what it gets.
func TestPlacesAlone(t *testing.T) {
	t.Parallel()
	for limit := 1; limit <= 300; limit++ {
		p := newSemaphore(limit)
		n := 0
		for _, why := p.acquire("a", "a"); why == admitted; _, why = p.acquire("a", "a") {
			n++
		}
		if n != p.alone() || p.heldBy("a") != n {
			t.Errorf("of %d places one alone gets %d, is shown %d and holds %d", limit, n, p.alone(), p.heldBy("a"))
		}
	}
}

// Whoever waits for a place gets the next one that its share allows, and only then.
func TestPlacesAreAwaited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newSemaphore(4)
		var held []func()
		for range 2 {
			leave, _ := p.acquire("org1", "key1")
			held = append(held, leave)
		}
		got := make(chan func(), 2)
		for range 2 {
			go func() {
				leave, _ := p.await(t.Context(), "org1", "key2")
				got <- leave
			}()
		}
		synctest.Wait()
		other, why := p.acquire("org2", "key3")
		if why != admitted {
			t.Fatal("another org finds no place")
		}
		other()
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("an org that has its share was given more")
		}
		for _, leave := range held {
			leave()
			next := <-got
			synctest.Wait()
			if len(got) != 0 {
				t.Fatal("two were given one place")
			}
			defer next()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if leave, why := p.await(ctx, "org1", "key1"); why != greedy || leave != nil {
			t.Errorf("after a minute without one: %d", why)
		}
	})
}

func TestPlacesComeBack(t *testing.T) {
	t.Parallel()
	p := newSemaphore(3)
	leave, _ := p.acquire("org1", "key1")
	leave()
	leave() // once
	for range 1000 {
		if leave, why := p.acquire("org1", "key1"); why == admitted {
			leave()
		}
	}
	if p.taken() != 0 || len(p.byOrg) != 0 || len(p.byKey) != 0 {
		t.Errorf("held %d, orgs %v, keys %v, want nothing", p.taken(), p.byOrg, p.byKey)
	}
}

// One key with more waits than its share is told so; the waits of others are kept.
func TestGreedyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.MaxWaits = 20 })
		mine := b.jobs.set(jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Running})
		theirs := b.jobs.set(jobs.Job{ID: jobs.NewID(), OrgID: "org2", State: jobs.Running})
		refused := make(chan *http.Header, 30)
		for range 30 {
			go func() {
				w := b.get(t, "/exports/"+mine.ID, "Prefer", "wait=20")
				if w.Code == http.StatusTooManyRequests {
					h := w.Header()
					refused <- &h
				}
			}()
		}
		synctest.Wait()
		if n := len(refused); n < 20 || n > 25 {
			t.Errorf("%d of 30 waits of one key were refused, want about 22", n)
		}
		if h := <-refused; h.Get("Retry-After") != "10" || h.Get("Preference-Applied") != "" {
			t.Errorf("headers of a refused wait = %v", h)
		}
		wantStatus(t, b.get(t, "/exports/"+mine.ID+"/events"), http.StatusTooManyRequests)
		// An export is taken, and answered at once and honestly.
		start := time.Now()
		w := b.get(t, usersExport, "Prefer", "wait=20")
		wantStatus(t, w, http.StatusAccepted)
		if w.Header().Get("Preference-Applied") != "" || time.Since(start) != 0 {
			t.Errorf("export of the greedy answered after %s with %v", time.Since(start), w.Header())
		}
		start = time.Now()
		w = b.do(request(t, "key_two2", http.MethodGet, "/exports/"+theirs.ID, "Prefer", "wait=7"))
		if took := time.Since(start); took != 7*time.Second || w.Header().Get("Preference-Applied") != "wait=7" {
			t.Errorf("another org's wait = %s, %v, want 7s", took, w.Header())
		}
		time.Sleep(maxWait) // of the bubble: the waits above end
	})
}

// What was not waited for is not claimed: a stop, or no place at all.
func TestPreferenceAppliedIsHonest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.MaxWaits = 1 })
		j := b.jobs.set(jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Running})
		other := b.jobs.set(jobs.Job{ID: jobs.NewID(), OrgID: "org2", State: jobs.Running})
		held := make(chan string, 1)
		go func() { held <- b.get(t, "/exports/"+j.ID, "Prefer", "wait=20").Header().Get("Preference-Applied") }()
		synctest.Wait()
		w := b.do(request(t, "key_two2", http.MethodGet, "/exports/"+other.ID, "Prefer", "wait=20"))
		if got := w.Header().Get("Preference-Applied"); w.Code != http.StatusOK || got != "" {
			t.Errorf("without a place = %d, Preference-Applied %q", w.Code, got)
		}
		time.AfterFunc(3*time.Second, b.drain)
		if got := <-held; got != "wait=3" {
			t.Errorf("Preference-Applied = %q after a stop at 3 s, want wait=3", got)
		}
	})
}

// loss takes rights from key_one1.
var losses = map[string]func(b *bench){
	"revoked": func(b *bench) { b.keys.alter("key_one1", func(k *apikey.Key) { k.State = apikey.Disabled }) },
	"expired": func(b *bench) { b.keys.alter("key_one1", func(k *apikey.Key) { k.ExpiresAt = noon }) },
	"secret":  func(b *bench) { b.keys.alter("key_one1", func(k *apikey.Key) { k.Secrets = k.Secrets[:0] }) },
	"scope": func(b *bench) {
		b.keys.alter("key_one1", func(k *apikey.Key) { k.Scopes = []apikey.Scope{apikey.ScopeOps} })
	},
	"org": func(b *bench) { b.keys.alter("key_one1", func(k *apikey.Key) { k.OrgID = "org9" }) },
}

// A key that loses its rights in mid-wait gets no link.
func TestRightsEndInMidWait(t *testing.T) {
	t.Parallel()
	for name, lose := range losses {
		for _, path := range []string{"job", "export", "events"} {
			t.Run(name+" "+path, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					done := succeeded()
					running := done
					running.State = jobs.Running
					b.jobs.attach = b.jobs.set(running)
					target := map[string]string{"job": "/exports/" + done.ID, "export": usersExport, "events": "/exports/" + done.ID + "/events"}[path]
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					time.AfterFunc(5*time.Second, func() { lose(b); b.jobs.set(done) })
					w := b.do(request(t, "key_one1", http.MethodGet, target, "Prefer", "wait=20").WithContext(ctx))
					if strings.Contains(w.Body.String(), signedURLPrefix) {
						t.Errorf("a link was handed out: %d %.300s", w.Code, w.Body)
					}
					if path != "events" && w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden {
						t.Errorf("status = %d, want 401 or 403", w.Code)
					}
				})
			})
		}
	}
}

// A stream ends when the key does, within a turn of progress, also where nothing changes.
func TestStreamEndsWithKey(t *testing.T) {
	t.Parallel()
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				j := b.jobs.set(jobs.Job{ID: jobs.NewID(), OrgID: "org1", State: jobs.Queued})
				time.AfterFunc(5*time.Second, func() { lose(b) })
				start := time.Now()
				b.get(t, "/exports/"+j.ID+"/events")
				if took := time.Since(start); took > 5*time.Second+progressEvery {
					t.Errorf("stream lasted %s beyond its key", took-5*time.Second)
				}
			})
		})
	}
}
