package api

import (
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/jobs"
)

func TestGzip(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for range 20 {
		j := succeeded()
		b.jobs.page.Jobs = append(b.jobs.page.Jobs, &j)
	}
	plain := b.get(t, "/exports")
	if plain.Header().Get("Content-Encoding") != "" || plain.Header().Get("Vary") != "Accept-Encoding" || plain.Body.Len() <= packFrom {
		t.Fatalf("without Accept-Encoding: %v, %d bytes", plain.Header(), plain.Body.Len())
	}
	packed := b.get(t, "/exports", "Accept-Encoding", "gzip")
	size := packed.Body.Len()
	r, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != plain.Body.String() || size >= plain.Body.Len()/4 {
		t.Errorf("packed answer differs or is %d bytes of %d: %v", size, plain.Body.Len(), err)
	}
	if w := b.get(t, "/exports", "Accept-Encoding", "gzip;q=0, br"); w.Header().Get("Content-Encoding") != "" {
		t.Error("packed, though gzip is refused")
	}
	if w := b.get(t, "/channels", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "" || w.Body.Len() > packFrom {
		t.Errorf("a small answer of %d bytes is packed", w.Body.Len())
	}
	long := "/vip-users?" + strings.Repeat("x=1&", 30) + strings.Repeat("y", 3000) + "=1"
	if w := b.get(t, long, "Accept-Encoding", "gzip"); w.Code != http.StatusUnprocessableEntity || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("an error is packed, or is %d", w.Code)
	}
}

func TestJobETag(t *testing.T) {
	t.Parallel()
	var at clock
	b := newBench(t, func(c *Config) { c.Now = at.now })
	getAs := func(key, id, tag string) *httptest.ResponseRecorder {
		r := request(t, key, http.MethodGet, "/exports/"+id)
		date := at.now().Format(time.RFC3339)
		r.Header.Set("X-Date", date)
		r.Header.Set("X-Signature", apikey.Sign(testSecret, date))
		r.Header.Set("If-None-Match", tag)
		return b.do(r)
	}
	get := func(id, tag string) *httptest.ResponseRecorder { return getAs("key_one1", id, tag) }
	j := b.jobs.set(succeeded())
	first := get(j.ID, "")
	tag := first.Header().Get("ETag")
	if !strings.HasPrefix(tag, `W/"`) {
		t.Fatalf("ETag = %s", tag)
	}
	at.advance(time.Minute) // another csvUrl, the same job
	w := get(j.ID, `W/"old", `+tag)
	if wantStatus(t, w, http.StatusNotModified); w.Body.Len() > 0 {
		t.Error("304 has a body")
	}
	at.advance(30 * time.Minute) // the link that the caller holds has less than half its life left
	if w = get(j.ID, tag); w.Code != http.StatusOK || w.Header().Get("ETag") == tag {
		t.Errorf("with an old link = %d", w.Code)
	}
	running := b.jobs.set(jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org1", State: jobs.Queued, CreatedAt: noon})
	tag = get(running.ID, "").Header().Get("ETag")
	at.advance(time.Hour)
	wantStatus(t, get(running.ID, tag), http.StatusNotModified)
	running.State = jobs.Canceled
	b.jobs.set(*running)
	wantStatus(t, get(running.ID, tag), http.StatusOK)
	wantStatus(t, getAs("key_two2", j.ID, first.Header().Get("ETag")), http.StatusNotFound)
}

// Browsers of other origins get nothing: no answer allows them.
func TestNoCORS(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	n := 0
	for _, r := range b.routes() {
		for _, method := range []string{r.method, http.MethodOptions} {
			w := b.do(request(t, "key_one1", method, pathOf(r), "Origin", "https://evil.example", "Access-Control-Request-Method", r.method,
				"Access-Control-Request-Headers", "x-api-key"))
			n++
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s answers with %s", method, r.path, name)
				}
			}
			if method == http.MethodOptions && w.Code != http.StatusMethodNotAllowed {
				t.Errorf("preflight of %s = %d, want 405", r.path, w.Code)
			}
		}
	}
	t.Logf("%d answers without CORS", n)
}

// What a client can hold by being slow is bounded, and HTTP/2, with its own ways to be abused, is not spoken
// here: the load balancer does that.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server := b.httpServer(nil)
	if server.ReadHeaderTimeout <= 0 || server.ReadHeaderTimeout > 10*time.Second || server.ReadTimeout <= 0 || server.WriteTimeout <= 0 ||
		server.IdleTimeout <= 0 || server.MaxHeaderBytes <= 0 || server.MaxHeaderBytes > 1<<20 {
		t.Errorf("a bound is missing: %+v", server)
	}
	server.ReadHeaderTimeout, server.ReadTimeout = 100*time.Millisecond, 200*time.Millisecond // the same bounds, sooner
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() { _ = server.Close(); <-served }()
	for name, sent := range map[string]string{
		"nothing":             "",
		"half a head":         "GET /workspaces HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"head, half the body": "POST /exports/x/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
		"endless head":        "GET /workspaces HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-Long: "+strings.Repeat("y", 1000)+"\r\n", 300),
		"http2":               "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			_, _ = conn.Write([]byte(sent)) // may be cut while it is sent
			answer, err := io.ReadAll(conn)
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Error("the connection was held")
			}
			if strings.Contains(string(answer), " 200 ") {
				t.Errorf("answered with %.100q", answer)
			}
		})
	}
}
