package localcloud

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
)

// script is a listener that says what it is told, in order.
type script struct {
	net.Listener
	errs chan error
}

func (s script) Accept() (net.Conn, error) { return nil, <-s.errs }
func (s script) Close() error              { return nil }

// TestAcceptErrors: a process with too many files waits for one to be closed; what does not pass ends both
// halves, and is told.
func TestAcceptErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		errs := make(chan error)
		s := newSplit(script{errs: errs})
		for range 2 {
			errs <- &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		}
		gone := errors.New("gone")
		errs <- gone
		for _, half := range []net.Listener{s.h1, s.h2} {
			if _, err := half.Accept(); !errors.Is(err, gone) {
				t.Errorf("Accept() = %v, want %v", err, gone)
			}
		}
		s.both.Wait()
	})
}
