package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	// maxAddresses is the most a name may resolve to; more is a misconfigured or hostile zone.
	maxAddresses = 32
	// maxDials is how many of them are tried in one attempt, within one connect time limit.
	maxDials = 4
)

// ErrBlocked is wrapped by every error that means: an address is not allowed.
var ErrBlocked = errors.New("destination address is not public")

// LookupFunc resolves a host name to all of its addresses.
type LookupFunc func(ctx context.Context, host string) ([]netip.Addr, error)

// DialFunc connects to an "address:port".
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// GuardConfig configures a Guard. Its zero value is production's.
type GuardConfig struct {
	// Lookup defaults to ResolverLookup(nil).
	Lookup LookupFunc
	// Dial defaults to a net.Dialer that judges the address once more in the socket, just before connect.
	// Tests lead public addresses to loopback with it, so that all checks before it stay production's.
	Dial DialFunc
	// Deny are ranges to refuse beside those of PublicAddr: one's own network, NAT and load-balancer
	// addresses.
	Deny []netip.Prefix
	// Dev opens address ranges for development.
	Dev Dev
	// DNSTimeout bounds the look-up; default DefaultDNSTimeout.
	DNSTimeout time.Duration
	// ConnectTimeout bounds connecting to all addresses together; default DefaultConnectTimeout.
	ConnectTimeout time.Duration
}

// How long a look-up, and connecting, may take.
const (
	DefaultDNSTimeout     = 2 * time.Second
	DefaultConnectTimeout = 3 * time.Second
)

// Guard resolves a host and connects to it only if every one of its addresses is allowed. It keeps no result.
// It is safe for concurrent use.
type Guard struct {
	cfg  GuardConfig
	dial DialFunc
}

// NewGuard makes a Guard.
func NewGuard(cfg GuardConfig) *Guard {
	if cfg.Lookup == nil {
		cfg.Lookup = ResolverLookup(nil)
	}
	cfg.DNSTimeout = cmp.Or(cfg.DNSTimeout, DefaultDNSTimeout)
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, DefaultConnectTimeout)
	g := &Guard{cfg: cfg, dial: cfg.Dial}
	if g.dial == nil {
		// KeepAlive off: a connection lives for one attempt only.
		g.dial = (&net.Dialer{ControlContext: g.control, KeepAlive: -1}).DialContext
	}
	return g
}

// ResolverLookup looks names up with r, or with Go's own resolver if r is nil: never with the C library,
// which takes "127.1" and "0x7f000001" for addresses. The name is made absolute, so that no search domain
// completes it, and a failure of one of the two questions (A, AAAA) fails the look-up, so that no address
// stays unseen.
func ResolverLookup(r *net.Resolver) LookupFunc {
	if r == nil {
		r = &net.Resolver{PreferGo: true, StrictErrors: true}
	}
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		return r.LookupNetIP(ctx, "ip", host+".")
	}
}

// DialError is the error of Guard.Dial; its text is for operators only.
type DialError struct {
	Class Class
	Err   error
}

func (e *DialError) Error() string { return string(e.Class) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// Check reports, as an error wrapping ErrBlocked, that addr must not be dialled.
func (g *Guard) Check(addr netip.Addr) error {
	if addr.IsValid() && addr.Zone() == "" {
		addr = addr.Unmap()
		if inAny(g.cfg.Deny, addr) {
			return fmt.Errorf("%w: %s is denied by configuration", ErrBlocked, addr)
		}
		if PublicAddr(addr) || g.cfg.Dev.allows(addr) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrBlocked, addr)
}

// control is the last line: it sees the address the socket will connect to.
func (g *Guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || (network != "tcp4" && network != "tcp6") {
		return fmt.Errorf("%w: %s %s", ErrBlocked, network, address)
	}
	return g.Check(ap.Addr())
}

// Dial looks t's host up, checks every address and connects to one of them. One bad address refuses all: a
// name that mixes public and private addresses is either misconfigured or an attack. Errors are of type
// *DialError.
func (g *Guard) Dial(ctx context.Context, t Target) (net.Conn, error) {
	addrs, err := g.resolve(ctx, t.host)
	if err != nil {
		return nil, &DialError{Class: ClassDNS, Err: err}
	}
	if len(addrs) == 0 {
		return nil, &DialError{Class: ClassDNS, Err: errors.New("look up: no address")}
	}
	for i, addr := range addrs {
		if err := g.Check(addr); err != nil {
			return nil, &DialError{Class: ClassBlocked, Err: err}
		}
		addrs[i] = addr.Unmap()
	}
	return g.connect(ctx, addrs, t.port)
}

func (g *Guard) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil // ParseURL lets only development's literals through
	}
	if host == "localhost" {
		return g.cfg.Dev.loopback(), nil // RFC 6761: not a question for DNS
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.DNSTimeout)
	defer cancel()
	addrs, err := g.cfg.Lookup(ctx, host)
	switch {
	case err != nil:
		return nil, fmt.Errorf("look up: %w", err)
	case len(addrs) > maxAddresses:
		return nil, fmt.Errorf("look up: %d addresses, more than %d", len(addrs), maxAddresses)
	}
	return slices.Clone(addrs), nil
}

// connect tries the addresses in turn, each with an even share of the time that is left, so that one dead
// address does not use up all of it.
func (g *Guard) connect(ctx context.Context, addrs []netip.Addr, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.ConnectTimeout)
	defer cancel()
	addrs = addrs[:min(len(addrs), maxDials)]
	var last error
	for i, addr := range addrs {
		deadline, _ := ctx.Deadline()
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		tryCtx, cancelTry := context.WithTimeout(ctx, share)
		conn, err := g.dial(tryCtx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(int(port))))
		cancelTry()
		if err == nil {
			return conn, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, &DialError{Class: connectClass(last), Err: fmt.Errorf("connect: %w", last)}
}

func connectClass(err error) Class {
	switch {
	case errors.Is(err, ErrBlocked):
		return ClassBlocked
	case isTimeout(err):
		return ClassTimeout
	}
	return ClassConnect
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
