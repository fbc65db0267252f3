package worker_test

import (
	"bytes"
	"compress/gzip"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/webhook"
	"exportd/internal/webhook/webhooktest"
	"exportd/jobs"
	"exportd/worker"
)

// attacks are receivers that lead elsewhere, send too much or nothing sensible, or whose names change what
// they resolve to.
func attacks(forbidden string) []*attack {
	const ok = "HTTP/1.1 200 OK\r\n"
	long := strings.Repeat("a", 64<<10)
	busy := webhooktest.Answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
	list := []*attack{
		{name: "redirect to loopback", serve: webhooktest.Redirect(302, "http://127.0.0.1:"+forbidden+"/"), want: "http_302"},
		{name: "redirect kept to loopback", serve: webhooktest.Redirect(307, "http://127.0.0.1:"+forbidden+"/"), want: "http_307"},
		{name: "redirect for good to IPv6", serve: webhooktest.Redirect(308, "http://[::1]:"+forbidden+"/"), want: "http_308"},
		{name: "redirect to metadata", serve: webhooktest.Redirect(301, "http://169.254.169.254/computeMetadata/v1/"), want: "http_301"},
		{name: "redirect to a name", serve: webhooktest.Redirect(303, "http://localhost:"+forbidden+"/"), want: "http_303"},
		{name: "redirect to another scheme", serve: webhooktest.Redirect(302, "file:///etc/passwd"), want: "http_302"},
		{name: "redirect without a target", serve: webhooktest.Answer("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), want: "http_302"},
		{name: "refresh header", serve: webhooktest.Answer("HTTP/1.1 503 x\r\nRefresh: 0; url=http://127.0.0.1:" + forbidden + "/\r\nContent-Length: 0\r\n\r\n"), want: "http_503"},
		{name: "10 GB", serve: webhooktest.Again(ok+"Content-Length: 10737418240\r\n\r\n", long, 0), want: "http_200"},
		{name: "10 GB of failure", serve: webhooktest.Again("HTTP/1.1 500 x\r\nContent-Length: 10737418240\r\n\r\n", long, 0), want: "http_500"},
		{name: "endless chunks", serve: webhooktest.Again(ok+"Transfer-Encoding: chunked\r\n\r\n", "10000\r\n"+long+"\r\n", 0), want: "http_200"},
		{name: "chunk extensions", serve: webhooktest.Again(ok+"Transfer-Encoding: chunked\r\n\r\n", "1;"+strings.Repeat("x", 3000)+"\r\na\r\n", 0), want: "bad_response"},
		{name: "endless trailers", serve: webhooktest.Again(ok+"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\n", "X: aaaaaaaaaaaaaaaaaaaaaaaa\r\n", 0), want: "bad_response"},
		{name: "bad chunk", serve: webhooktest.Answer(ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"), want: "bad_response"},
		{name: "slow headers", serve: webhooktest.Again(ok+"X: ", "a", 100*time.Millisecond), want: "timeout"},
		{name: "slow body", serve: webhooktest.Again(ok+"Content-Length: 100000\r\n\r\n", "a", 100*time.Millisecond), want: "timeout"},
		{name: "slow to say anything", serve: func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }, want: "timeout"},
		{name: "header flood", serve: webhooktest.Again(ok, "X: "+strings.Repeat("a", 1000)+"\r\n", 0), want: "bad_response"},
		{name: "one header of 64 MB", serve: webhooktest.Again(ok+"X: ", long, 0), want: "bad_response"},
		{name: "flood of 1xx", serve: webhooktest.Again("", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", 0), want: "bad_response"},
		{name: "gzip bomb", serve: webhooktest.Answer(ok + "Content-Encoding: gzip\r\n\r\n" + bomb()), want: "http_200"},
		{name: "not HTTP", serve: webhooktest.Answer("SSH-2.0-OpenSSH_9.9\r\n"), want: "bad_response"},
		{name: "garbage", serve: webhooktest.Answer("\x00\xff\x01garbage\r\n\r\n"), want: "bad_response"},
		{name: "frames of HTTP 2", serve: webhooktest.Answer("\x00\x00\x12\x04\x00\x00\x00\x00\x00"), want: "bad_response"},
		{name: "two lengths", serve: webhooktest.Answer(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nok"), want: "bad_response"},
		{name: "closes", serve: func(net.Conn) {}, want: "bad_response"},
		{name: "alternates", serve: busy, want: "alternates"},
	}
	for name, to := range map[string]string{
		"rebound to 127.0.0.1": "A 127.0.0.1", "rebound to metadata": "A 169.254.169.254", "rebound to IPv6": "AAAA ::1", "rebound to mapped": "AAAA ::ffff:127.0.0.1",
		"rebound to a private net": "A 10.0.0.5", "rebound to both": "A " + webhooktest.PublicAddr + ", A 127.0.0.1", "rebound to public and IPv6": "A " + webhooktest.PublicAddr + ", AAAA ::1",
	} {
		list = append(list, &attack{name: name, serve: busy, to: to, want: "blocked_destination"},
			&attack{name: name + " at once", serve: busy, to: to, start: true, want: "blocked_destination"})
	}
	return list
}

func bomb() string {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	for range 32 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	return b.String()
}

// readBound is the most that one attempt may read: 16 KiB of headers, 64 KiB of body, and what a buffered
// reader takes ahead.
const readBound = (16 + 64 + 8) << 10

// TestCallbackAttacks: every attack on a live callback, its retry, its redelivery and a test callback.
// Nothing reaches a forbidden listener, no redirect is followed, what is read and kept is bounded, and each
// ends in the record as what it is.
func TestCallbackAttacks(t *testing.T) {
	r := newRig(t)
	n := webhooktest.NewNetwork(t)
	list := attacks(n.Forbidden)
	sender := newHostileSender(n, r.clock.Now)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r.work(t, func(c *worker.Config) { c.Callbacks.Sender = sender })
	for i, a := range list {
		a.listen(t, i)
		switch serve := a.serve; {
		case a.start:
			n.Rebind(a.host, a.to)
		case a.to != "": // before the first attempt has its answer, and so before the next one
			a.serve = func(c net.Conn) { n.Rebind(a.host, a.to); serve(c) }
		}
	}
	var messages []jobs.Message
	for _, a := range list {
		m := r.ended(t, "org-"+a.port, a.url())
		a.cb = m.CallbackID
		messages = append(messages, m)
	}
	tried := map[string]int{}
	judge := func(path string, a *attack, class, response string) {
		tried[path]++
		want := a.want
		if path == "first" && a.to != "" && !a.start {
			want = "http_503" // not rebound yet
		}
		if class != want && (want != "alternates" || class != "http_503" && class != "blocked_destination") || len(response) > 2<<10 {
			t.Errorf("%s, %s: %s and %d bytes kept, want %s", a.name, path, class, len(response), want)
		}
	}
	notifyAll(t, r, messages)
	r.judgeRound(t, list, "first", judge)
	r.clock.put(r.clock.Now().Add(2 * time.Minute)) // past each first retry
	r.judgeRound(t, list, "retry", judge)
	for _, a := range list {
		if _, err := r.store.UpdateCallback(t.Context(), a.cb, "api key key_ops1", func(tx *jobs.CallbackTx) error { return tx.Redeliver("again") }); err != nil {
			t.Fatalf("%s: Redeliver() = %v", a.name, err)
		}
	}
	r.judgeRound(t, list, "redelivery", judge)
	pings := make([]webhook.Attempt, len(list))
	var all sync.WaitGroup
	for i, a := range list {
		all.Go(func() {
			pings[i] = webhook.Ping(t.Context(), sender.to(a.url()), webhook.Delivery{URL: a.url(), Secrets: secrets})
		})
	}
	all.Wait()
	for i, a := range list {
		judge("test callback", a, string(pings[i].Class), pings[i].Response)
	}
	report(t, n, list, tried, before.HeapInuse)
}

// judgeRound waits until each callback that goes on has one more try, and judges that.
func (r *rig) judgeRound(t *testing.T, list []*attack, path string, judge func(string, *attack, string, string)) {
	t.Helper()
	for _, a := range list {
		all, err := r.store.Callbacks(t.Context(), strings.Split(a.cb, "_")[1])
		if err != nil || len(all) != 1 {
			t.Fatalf("Callbacks() = %d, %v", len(all), err)
		}
		if path == "retry" && all[0].State != jobs.CallbackPending {
			continue // ended at the first attempt: there is no retry
		}
		a.round++
		got := r.try(t, a.cb, a.round)
		judge(path, a, got.Class, got.Response)
	}
}

// report prints attack by path, and fails for what got through.
func report(t *testing.T, n *webhooktest.Network, list []*attack, tried map[string]int, heap uint64) {
	t.Helper()
	through, addresses := n.Through()
	var most int64
	for _, a := range list {
		perTry := n.PerConnection(a.port)
		most = max(most, perTry)
		if perTry > readBound {
			t.Errorf("%s: %d bytes read in an attempt, want at most %d", a.name, perTry, readBound)
		}
	}
	t.Logf("%d attacks; tried: %d first, %d retries, %d redeliveries, %d test callbacks; %d questions to the DNS server",
		len(list), tried["first"], tried["retry"], tried["redelivery"], tried["test callback"], n.Questions())
	grown := (int64(n.Heap()) - int64(heap)) >> 20
	t.Logf("got through: %d connections to forbidden addresses; most read in an attempt: %d KiB; heap of worker, store and receivers together: +%d MiB", through, most>>10, grown)
	if through > 0 {
		t.Errorf("%d connections to forbidden addresses, and to %q", through, addresses)
	}
	if grown > 128 {
		t.Errorf("the heap grew by %d MiB", grown)
	}
}
