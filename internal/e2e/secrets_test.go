package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/tracing/tracingtest"
)

// listenRaw answers each connection by what answer makes of the request's first bytes, on a loopback port.
func listenRaw(t *testing.T, answer func(asked []byte) []byte) (origin string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			asked := make([]byte, 16<<10)
			n, _ := c.Read(asked)
			_, _ = c.Write(answer(asked[:n]))
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); served.Wait() })
	return "http://" + l.Addr().String()
}

// TestSecretsStayOut: what callers, strangers and receivers may put a secret into is in no line of log (at
// level debug), no span and no label of a metric: user and password of a callback's URL, its path and query,
// where a receiver redirects to, how it words an error, what it sends instead of an answer, headers of
// traces, queries, paths, bodies and headers of refused requests; nor is any link to a file of the service's
// own, good or not.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	c := tracingtest.Start(t)
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	const linkBase = "https://links.example.com"
	env := append(append(c.Env(), callbackSettings...), "EXPORTD_LOG_LEVEL=debug", "EXPORTD_LINKS_URL="+linkBase, "EXPORTD_KEYSET_FILE="+filepath.Join(t.TempDir(), "keyset.json"))
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 60, Messages: 60}, env...)
	processes := []*e2etest.Process{s.Process, e2etest.Worker(t, exportd, hosts, env...)}
	caller := s.Caller()
	strange := []string{
		"traceparent", "00-hush0000000000000000000000000000-hush000000000000-01", "tracestate", "hush=hush", "baggage", "hush=hush",
		"X-Cloud-Trace-Context", "hush/hush", "Cookie", "hush=hush", "Authorization", "Bearer hush", "Referer", "https://hush/", "X-Forwarded-For", "hush",
	}
	// What receivers say. Each is tried at least once.
	answers := map[string]func([]byte) []byte{
		"redirect": func([]byte) []byte {
			return []byte("HTTP/1.1 302 hush\r\nLocation: https://hush:hush@hush.example/hush?hush=hush\r\nContent-Length: 0\r\n\r\n")
		},
		"error": func([]byte) []byte {
			return []byte("HTTP/1.1 500 hush\r\nContent-Length: 4\r\nX-Error: hush\r\n\r\nhush")
		},
		"echo":     func(asked []byte) []byte { return asked },
		"nonsense": func([]byte) []byte { return []byte("hush hush\r\n\r\n") },
		"header":   func([]byte) []byte { return []byte("HTTP/1.1 200 OK\r\nhush hush\r\n\r\n") },
		"cut off":  func([]byte) []byte { return []byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhush") },
	}
	var ids []string
	for name, answer := range answers {
		target := listenRaw(t, answer) + "/hush/" + url.PathEscape(name) + "?token=hush"
		ids = append(ids, caller.Submit(t, "vip-users", s.Users("callbackUrl", target), append([]string{"Cache-Control", "no-cache", "Idempotency-Key", fmt.Sprint("hush-hush-", len(ids))}, strange...)...))
	}
	for i, id := range ids {
		e2etest.Until(t, jobWithin, "a try at each callback", func() bool {
			var j struct{ Callback callbackState }
			caller.Get(t, "/exports/"+id, nil).Want(t, http.StatusOK).JSON(t, &j)
			return j.Callback.Attempts > 0
		})
		caller.Get(t, "/exports/"+id, url.Values{"hush": {"hush"}}, strange...).Want(t, http.StatusUnprocessableEntity)
		if i == 0 {
			caller.Do(t, http.MethodPost, "/exports/"+id+"/callback/test", nil, nil, strange...)
		}
	}
	refused(t, s, strange)
	link := *caller.Await(t, ids[0], jobWithin).CSVURL
	token, ok := strings.CutPrefix(link, linkBase+"/files/")
	if !ok {
		t.Fatalf("csvUrl is %s", link)
	}
	followLinks(t, s, token, strange)
	c.Wait(t, traceWithin, "spans of each callback", func(spans []tracingtest.Span) bool { return count(spans, "POST") >= len(answers) })
	var metrics strings.Builder
	// A callback is counted, and has its line, when its record is written.
	e2etest.Until(t, jobWithin, "lines of all callbacks, and metrics with their classes", func() bool {
		metrics.Reset()
		lines := 0
		for _, p := range processes {
			r, err := e2etest.Send(t.Context(), http.MethodGet, e2etest.OpsURL(t, p)+"/metrics", nil, nil)
			if err != nil || r.Status != http.StatusOK {
				t.Fatalf("%v %s", err, r.Body)
			}
			metrics.Write(r.Body)
			lines += strings.Count(p.Stderr(), `"message":"callback"`)
		}
		return lines >= len(answers) && strings.Contains(metrics.String(), `exportd_callback_tries_total{class="http_3xx"}`)
	})
	secrets := []string{"hush", s.Secret, s.WebhookSecret, s.OpsSecret, "X-Goog-Signature", "Signature=", token, token[:40]}
	checkSecrets(t, c.Raw()+metrics.String(), processes, secrets)
}

// refused sends requests that are refused, with the secret wherever a request has room for one.
func refused(t *testing.T, s *e2etest.Stack, strange []string) {
	t.Helper()
	caller := s.Caller()
	for _, q := range []url.Values{
		s.Users("callbackUrl", "https://hush:hush@receiver.example.com/hush"), s.Users("callbackUrl", "http://hush.internal/hush"), s.Users("callbackUrl", "hush"),
		s.Users("hush", "hush"), s.Users("birthdayMonth", "hush"), s.Users("delimiter", "hush"), {"workspaceId": {"hush"}, "mediumId": {"hush"}},
	} {
		r := caller.Get(t, "/vip-users/export", q, strange...)
		if r.Status < 400 || r.Status >= 500 {
			t.Errorf("%v is answered %d", q, r.Status)
		}
	}
	for _, path := range []string{"/hush", "/exports/hush", "/exports/hush/csv", "/vip-users/hush", "/docs/hush", "/ops/jobs/hush", "/admin/keys/hush", "/files/hush", "/files/hush/hush"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, "HUSH"} {
			r, err := e2etest.Send(t.Context(), method, s.APIURL+path, url.Values{"hush": {"hush"}, "x-signature": {"hush"}}, strings.NewReader(`{"hush":"hush","reason":"hush"}`),
				append([]string{"x-api-key", "hush-hush-hush", "x-signature", "hush", "x-date", "hush", "Content-Type", "hush/hush", "Prefer", "hush"}, strange...)...)
			if err != nil || r.Status < 400 || r.Status >= 500 {
				t.Errorf("%s %s is answered %d %s, %v", method, path, r.Status, r.Body, err)
			}
		}
	}
	// Known, but not signed as it should be.
	r, err := e2etest.Send(t.Context(), http.MethodGet, s.APIURL+"/exports", url.Values{"hush": {"hush"}}, nil,
		append([]string{"x-api-key", s.APIKey, "x-signature", "hush", "x-date", time.Now().UTC().Format(time.RFC3339)}, strange...)...)
	if err != nil || r.Status != http.StatusUnauthorized {
		t.Errorf("a wrong signature is answered %d, %v", r.Status, err)
	}
}

// followLinks asks for a link by every method, for one that is almost it, and for it once it is revoked.
func followLinks(t *testing.T, s *e2etest.Stack, token string, strange []string) {
	t.Helper()
	ask := func(method, path string, want int) {
		t.Helper()
		r, err := e2etest.Send(t.Context(), method, s.APIURL+path, nil, nil, append([]string{"Range", "bytes=hush", "Origin", "https://hush"}, strange...)...)
		if err != nil || r.Status != want {
			t.Errorf("%s of a link is answered %d %s, %v, want %d", method, r.Status, r.Body, err, want)
		}
	}
	ask(http.MethodGet, "/files/"+token, http.StatusFound)
	ask(http.MethodGet, "/files/"+token+"?hush=hush", http.StatusFound)
	ask(http.MethodHead, "/files/"+token, http.StatusOK)
	ask(http.MethodOptions, "/files/"+token, http.StatusMethodNotAllowed)
	ask(http.MethodPost, "/files/"+token, http.StatusMethodNotAllowed)
	ask(http.MethodGet, "/files/"+token[:len(token)-1], http.StatusNotFound)
	ask(http.MethodGet, "/files/"+token+"/", http.StatusNotFound)
	s.Operator().Do(t, http.MethodPost, "/ops/links/revoke", nil, strings.NewReader(`{"orgId":"`+s.OrgID+`","reason":"to look at it"}`)).Want(t, http.StatusOK)
	ask(http.MethodGet, "/files/"+token, http.StatusGone)
}

// TestWrongCollector: a collector that takes connections and never answers, and one that answers nonsense,
// keep no export, no callback and no stop: each process says so once.
func TestWrongCollector(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	quick := []string{"OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_BSP_EXPORT_TIMEOUT=200"}
	env := append(append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + silent.Addr().String()}, quick...), callbackSettings...)
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 60, Messages: 600}, append(env, "EXPORTD_PART_ROWS=100")...)
	env[0] = "OTEL_EXPORTER_OTLP_ENDPOINT=" + listenRaw(t, func([]byte) []byte { return []byte("nonsense\r\n\r\n") })
	worker := e2etest.Worker(t, exportd, hosts, append(env, "EXPORTD_PART_ROWS=100")...)
	got := make(chan struct{}, 10)
	receiver := listenRaw(t, func([]byte) []byte {
		got <- struct{}{}
		return []byte("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
	})
	caller := s.Caller()
	for range 5 {
		id := caller.Submit(t, "vip-messages", s.Messages("callbackUrl", receiver+"/hook"), "Cache-Control", "no-cache", "traceparent", "00-"+callerTrace+"-"+callerSpan+"-01")
		if j := caller.Await(t, id, jobWithin); j.State != "succeeded" {
			t.Errorf("the export is %s", j.State)
		}
		awaitCallback(t, caller, id, "delivered")
		<-got
	}
	for _, p := range []*e2etest.Process{s.Process, worker} {
		const told = "traces cannot be exported"
		e2etest.Until(t, time.Minute, "it is said", func() bool { return strings.Contains(p.Stderr(), told) })
		p.Signal(syscall.SIGTERM)
		if code := p.Wait(t, stopWithin); code != 0 {
			t.Errorf("it stops with %d", code)
		}
		if n := strings.Count(p.Stderr(), told); n != 1 || strings.Contains(p.Stderr(), "nonsense") {
			t.Errorf("it is said %d times:\n%s", n, p.Stderr())
		}
	}
}
