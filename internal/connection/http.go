package connection

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// defaultAnswer is how long an HTTP request, once sent, may be without the head of an answer, and how
	// long sending or receiving may stand still. Cloud Storage answers within a second or two; a compose of
	// large objects is the slowest.
	defaultAnswer = 15 * time.Second
	// httpConnections is how many idle connections are kept, as Google's clients do.
	httpConnections = 100
)

// silentError is what a request gets that had no answer in time. It is a net.Error, which clients try again.
type silentError struct{}

func (silentError) Error() string   { return ErrSilent.Error() }
func (silentError) Timeout() bool   { return true }
func (silentError) Temporary() bool { return true }
func (silentError) Unwrap() error   { return ErrSilent }

// Transport makes a transport for HTTP that leaves connections which bring nothing: answer is how long one
// may, 15 s if 0. HTTP/2 connections are pinged as well. Close must be called.
func (g *Guard) Transport(answer time.Duration) *Transport {
	if answer == 0 {
		answer = defaultAnswer
	}
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // net/http's own; with its proxy rules
	out := &Transport{g: g, base: t, answer: answer, conns: map[*paced]struct{}{}}
	t.DialContext = out.dial
	t.MaxIdleConnsPerHost, t.MaxIdleConns = httpConnections, httpConnections
	t.ForceAttemptHTTP2 = true
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: answer, PingTimeout: pingWithin}
	t.WriteBufferSize = 64 << 10 // uploads: the wrapped connection takes no file directly
	return out
}

// paced bounds each write, so that an upload into nowhere ends once the buffers are full.
type paced struct {
	net.Conn
	t *Transport
}

func (c *paced) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.t.answer)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close forgets the connection.
func (c *paced) Close() error {
	c.t.mu.Lock()
	delete(c.t.conns, c)
	c.t.mu.Unlock()
	return c.Conn.Close()
}

// Transport is an http.RoundTripper. Safe for concurrent use.
type Transport struct {
	g      *Guard
	base   *http.Transport
	answer time.Duration

	mu     sync.Mutex
	closed bool
	conns  map[*paced]struct{}
}

func (t *Transport) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	c, err := t.g.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	p := &paced{c, t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	t.conns[p] = struct{}{}
	return p, nil
}

// CloseIdleConnections is what http.Client's calls.
func (t *Transport) CloseIdleConnections() { t.base.CloseIdleConnections() }

// Close ends all connections, those too that were dialled for a request which another one has served
// meanwhile: nobody else would before their time.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	conns := slices.Collect(maps.Keys(t.conns))
	t.mu.Unlock()
	t.base.CloseIdleConnections()
	for _, c := range conns {
		_ = c.Close()
	}
}

// RoundTrip sends a request. Until its answer's body is closed it is watched.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := t.g.begin(r.Context())
	ctx, cancel := context.WithCancelCause(r.Context())
	silent := time.AfterFunc(t.answer, func() { cancel(silentError{}) })
	var answered atomic.Bool
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &sent{r.Body, func() {
			if !answered.Load() {
				silent.Reset(t.answer)
			}
		}}
	}
	res, err := t.base.RoundTrip(r)
	answered.Store(true)
	silent.Stop()
	if err != nil {
		if cause, ok := context.Cause(ctx).(silentError); ok { //nolint:errorlint // set as it is above
			err = cause
			// The other connections that were open are as bad, and each would cost as long.
			t.base.CloseIdleConnections()
		} else {
			t.g.heardOf(c)
		}
		t.g.called(r.Context(), Call{Method: r.Method, Err: err})
		cancel(nil)
		return nil, err
	}
	t.g.since.Store(0)
	t.g.called(r.Context(), Call{Method: r.Method, Status: res.StatusCode})
	res.Body = &received{ReadCloser: res.Body, ctx: ctx, cancel: cancel, silent: silent, within: t.answer}
	return res, nil
}

// heardOf notes a sign of life if bytes came since a call began, or connections are refused.
func (g *Guard) heardOf(c call) {
	if g.refused.Load() || g.heard.Load() > c.began.UnixNano() {
		g.since.Store(0)
	}
}

// sent is a request's body: as long as it is taken, the request is not silent.
type sent struct {
	io.ReadCloser
	taken func()
}

func (b *sent) Read(p []byte) (int, error) {
	b.taken()
	return b.ReadCloser.Read(p)
}

// received is an answer's body. Time counts only while something is waited for: a reader that is slow is no
// silent server.
type received struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // of the request
	cancel context.CancelCauseFunc
	silent *time.Timer
	within time.Duration
}

func (b *received) Read(p []byte) (int, error) {
	b.silent.Reset(b.within)
	n, err := b.ReadCloser.Read(p)
	b.silent.Stop()
	if cause, ok := context.Cause(b.ctx).(silentError); ok && err != nil && err != io.EOF { //nolint:errorlint // as above
		err = cause
	}
	return n, err
}

func (b *received) Close() error {
	b.silent.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
