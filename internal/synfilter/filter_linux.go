package synfilter

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Filter is the filter of a listener. Safe for concurrent use.
type Filter struct{ socket syscall.RawConn }

// New gives a listener's filter, without rules. The error is ErrUnsupported where there is no socket.
func New(l net.Listener) (*Filter, error) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, ErrUnsupported
	}
	socket, err := tcp.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return &Filter{socket}, nil
}

// Set replaces the rules. The error is ErrUnsupported where the kernel takes none, or none as many.
func (f *Filter) Set(rules []Rule) error {
	instructions, err := program(rules)
	if err != nil {
		return err
	}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	var refused error
	err = f.socket.Control(func(fd uintptr) {
		if len(rules) == 0 { // connections inherit nothing then
			if refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); refused == unix.ENOENT {
				refused = nil
			}
			return
		}
		refused = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	})
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	if refused != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, refused)
	}
	return nil
}
