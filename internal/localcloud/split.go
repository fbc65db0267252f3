package localcloud

import (
	"errors"
	"net"
	"sync"
	"time"
)

// peekLimit is how long a connection may say nothing before it is known what it speaks.
const peekLimit = 10 * time.Second

// split hands out the connections of a listener by what they speak: HTTP/2, which gRPC is, or HTTP/1.1.
type split struct {
	net.Listener
	both    sync.WaitGroup
	h2, h1  *half
	mu      sync.Mutex
	peeking map[net.Conn]bool
	cause   error // why done was closed
	done    chan struct{}
}

// half is the listener of one kind. Closing either closes both.
type half struct {
	*split
	conns chan net.Conn
}

func newSplit(l net.Listener) *split {
	s := &split{Listener: l, peeking: map[net.Conn]bool{}, done: make(chan struct{})}
	s.h2, s.h1 = &half{s, make(chan net.Conn)}, &half{s, make(chan net.Conn)}
	s.both.Go(s.accept)
	return s
}

// acceptPause lets files be closed when there are too many of them (EMFILE), as the servers' own loops do.
const acceptPause = 5 * time.Millisecond

type temporary interface {
	error
	Temporary() bool
}

func (s *split) accept() {
	for {
		c, err := s.Listener.Accept()
		if passing, ok := errors.AsType[temporary](err); ok && passing.Temporary() {
			select {
			case <-time.After(acceptPause):
				continue
			case <-s.done:
				return
			}
		}
		if err != nil {
			_ = s.end(err) // it is why Accept of the halves ends
			return
		}
		if !s.track(c) {
			_ = c.Close() // nobody is there any more
			return
		}
		s.both.Go(func() { s.sort(c) })
	}
}

func (s *split) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		s.peeking[c] = true
	}
	return s.cause == nil
}

// preface begins every connection of HTTP/2, and no request of HTTP/1.1: RFC 9113, section 3.4.
const preface = "PRI"

func (s *split) sort(c net.Conn) {
	head := make([]byte, 0, len(preface))
	err := c.SetReadDeadline(time.Now().Add(peekLimit))
	for err == nil && len(head) < len(preface) {
		var n int
		n, err = c.Read(head[len(head):len(preface)])
		head = head[:len(head)+n]
	}
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	s.mu.Lock()
	delete(s.peeking, c)
	s.mu.Unlock()
	if err != nil {
		_ = c.Close() // it said nothing
		return
	}
	to := s.h1
	if string(head) == preface {
		to = s.h2
	}
	select {
	case to.conns <- &peeked{Conn: c, head: head}:
	case <-s.done:
		_ = c.Close() // nobody is there any more
	}
}

// Close implements net.Listener.
func (s *split) Close() error { return s.end(net.ErrClosed) }

// end closes everything; Accept of the halves says why.
func (s *split) end(cause error) error {
	s.mu.Lock()
	if s.cause != nil {
		s.mu.Unlock()
		return nil
	}
	s.cause = cause
	for c := range s.peeking {
		_ = c.Close() // it says no more
	}
	s.mu.Unlock()
	close(s.done)
	return s.Listener.Close()
}

// Accept implements net.Listener.
func (h *half) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, h.cause
	}
}

// peeked is a connection whose first bytes were read already.
type peeked struct {
	net.Conn
	head []byte
}

// Read implements net.Conn.
func (p *peeked) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}
