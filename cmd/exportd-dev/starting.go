package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// starting answers 503 on a port, with what is being done, until the API takes the port over: a caller that
// connects meanwhile learns why it has to wait, and for what.
type starting struct {
	l      *net.TCPListener
	doing  atomic.Pointer[string]
	server *http.Server
	done   chan struct{}
}

// startingRetry is what callers are told to wait.
const startingRetry = "2"

func answerStarting(l *net.TCPListener, doing string) *starting {
	s := &starting{l: l, done: make(chan struct{})}
	s.say(doing)
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 5 * time.Second}
	// The next request of a connection is for the API, which takes new ones only.
	s.server.SetKeepAlivesEnabled(false)
	go func() {
		defer close(s.done)
		_ = s.server.Serve(borrowed{l}) // ends with end
	}()
	return s
}

// say changes what callers are told.
func (s *starting) say(doing string) { s.doing.Store(&doing) }

func (s *starting) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", startingRetry)
	w.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": "exportd-dev is not ready yet: " + *s.doing.Load()}) // the caller has gone
}

// end stops answering, and leaves the port open for whoever is next.
func (s *starting) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // answers are a line
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close()
	}
	<-s.done
	return s.l.SetDeadline(time.Time{})
}

// borrowed is a listener that is not closed with the server that uses it: Close only ends Accept.
type borrowed struct{ *net.TCPListener }

// Accept is of net.Listener.
func (b borrowed) Accept() (net.Conn, error) {
	conn, err := b.TCPListener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = net.ErrClosed // a time-out would be tried again
	}
	return conn, err
}

// Close is of net.Listener.
func (b borrowed) Close() error { return b.SetDeadline(time.Unix(1, 0)) }
