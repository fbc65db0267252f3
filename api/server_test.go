package api

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"exportd/internal/apikey"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A stop answers what waits with what is known, and leaves nothing running.
func TestServeStops(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.DefaultWait = 20 * time.Second })
	l := listen(t)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- b.Serve(ctx, l) }()

	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answers := make(chan int, 1)
	go func() {
		defer close(answers)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+usersExport, nil)
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("x-api-key", "key_one1")
		r.Header.Set("x-date", testDate)
		r.Header.Set("x-signature", apikey.Sign(testSecret, testDate))
		res, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = res.Body.Close() }()
		answers <- res.StatusCode
	}()
	poll(t, func() bool { return b.waits.taken() == 1 })
	stop()
	if code := <-answers; code != http.StatusAccepted {
		t.Errorf("waiting request = %d, want 202", code)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// poll waits until ok, which something real and not the test's clock decides.
func poll(t testing.TB, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(time.Minute) // of a loaded machine
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("condition did not come true")
		}
	}
}

// The deadline for reading a request does not end one that waits.
func TestReadDeadline(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.DefaultWait = time.Second })
	server := b.httpServer(nil)
	server.ReadTimeout = 20 * time.Millisecond
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Write([]byte("GET " + usersExport + " HTTP/1.1\r\nHost: x\r\nX-Api-Key: key_one1\r\nX-Date: " + testDate +
		"\r\nX-Signature: " + apikey.Sign(testSecret, testDate) + "\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); res.StatusCode != http.StatusAccepted || took < 900*time.Millisecond {
		t.Errorf("answer = %d after %s, want 202 after 1s", res.StatusCode, took)
	}
	_, _ = res.Body.Close(), conn.Close()
	_ = server.Close()
	<-served
}
