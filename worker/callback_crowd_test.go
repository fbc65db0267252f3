package worker_test

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// A crowd is 50 hosts of 10 orgs with crowdEach callbacks each.
const crowdHosts, crowdOrgs = 50, 10

// TestCallbackDeadHosts: 1,000 callbacks to 50 hosts of which 10 take connections and never answer, the worst
// way of being dead. Those of the live hosts are all delivered while the dead ones wait, about as fast as if
// there were no dead ones.
func TestCallbackDeadHosts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const dead = 10
	without, _ := r.crowd(t, 1, 0)
	with, waiting := r.crowd(t, 2, dead)
	live := (crowdHosts - dead) * crowdEach
	t.Logf("%d live callbacks in %s beside %d dead hosts (%d of whose callbacks still waited); %d in %s without dead hosts",
		live, with.Round(time.Millisecond), dead, waiting, crowdHosts*crowdEach, without.Round(time.Millisecond))
	if waiting != dead*crowdEach {
		t.Errorf("%d callbacks of dead hosts wait, want all %d", waiting, dead*crowdEach)
	}
	// An attempt at a dead host takes 10 s; 200 of them in 16 slots would take two minutes. The bound is wide
	// because both figures are those of a machine that may be busy, and the second when the first was not.
	if with > max(3*without+20*time.Second, 100*time.Second) {
		t.Errorf("live callbacks took %s beside dead hosts, %s without", with, without)
	}
}

// crowd delivers to live and dead hosts, on addresses 127.0.net.x, and says how long the live ones took and
// how many of the dead ones' were pending then.
func (r *rig) crowd(t *testing.T, network, dead int) (took time.Duration, waiting int) {
	t.Helper()
	var mu sync.Mutex
	arrived, deaf := map[string]bool{}, map[string]bool{}
	urls := make([]string, crowdHosts)
	for i := range urls {
		ip := fmt.Sprintf("127.0.%d.%d", network, i+1)
		if dead > 0 && i%(crowdHosts/dead) == 0 {
			urls[i] = "http://" + silent(t, ip)
			deaf[urls[i]] = true
			continue
		}
		urls[i] = receive(t, ip, func(_ int, _ http.ResponseWriter, q *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			arrived[q.Header.Get(webhook.HeaderID)] = true
		}).URL
	}
	var messages []jobs.Message
	for n := range crowdHosts * crowdEach {
		host := n % crowdHosts
		messages = append(messages, r.ended(t, fmt.Sprintf("org-%d", host/(crowdHosts/crowdOrgs)), urls[host]))
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(arrived)
	}
	start := time.Now()
	stop := r.work(t)
	notifyAll(t, r, messages)
	live := (crowdHosts - dead) * crowdEach
	eventually(t, 4*time.Minute, func() bool { return count() == live }, func() any { return fmt.Sprintf("%d of %d arrived", count(), live) })
	took = time.Since(start)
	stop()
	for list := (jobs.CallbackList{State: jobs.CallbackPending}); ; {
		page, next, err := r.store.ListCallbacks(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		for _, cb := range page {
			if deaf[cb.Origin] { // what has arrived may not have been recorded when the worker was stopped
				waiting++
			}
		}
		if list.PageToken = next; next == "" {
			return took, waiting
		}
	}
}

// silent listens on a host that takes connections and never answers.
func silent(t *testing.T, ip string) (addr string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		var held []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			held = append(held, c)
		}
		for _, c := range held {
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); accepting.Wait() })
	return l.Addr().String()
}

// TestCallbackSlowKeepsNoSlot: with one slot, a receiver that hangs holds the others up for quickWithin only.
func TestCallbackSlowKeepsNoSlot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	slow := silent(t, "127.0.3.1")
	rc := receive(t, "127.0.3.2", status(http.StatusOK))
	hangs := r.ended(t, "org-1", "http://"+slow)
	messages := []jobs.Message{r.ended(t, "org-2", rc.URL), r.ended(t, "org-3", rc.URL)}
	r.work(t, func(c *worker.Config) {
		c.Callbacks.Slots = 1
		c.Callbacks.Sender = webhook.NewSender(webhook.SenderConfig{
			Guard: webhook.NewGuard(webhook.GuardConfig{Dev: devRules.Dev}), Rules: devRules, Now: r.clock.Now,
			Limits: webhook.Limits{Headers: 5 * time.Minute, Total: 5 * time.Minute}, // it hangs for as long as a loaded machine needs here
		})
	})
	notifyAll(t, r, []jobs.Message{hangs})
	r.callback(t, hangs.JobID, time.Minute, func(cb *jobs.Callback) bool { return cb.Attempt == 1 })
	notifyAll(t, r, messages)
	eventually(t, time.Minute, func() bool { return len(rc.requests()) == 2 }, func() any { return len(rc.requests()) })
	if cb := r.callback(t, hangs.JobID, time.Minute, inState(jobs.CallbackPending)); cb.Lease.Token == "" {
		t.Errorf("the hanging try has ended: %+v", cb)
	}
}
