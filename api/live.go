package api

import (
	"errors"
	"net/netip"
	"sync/atomic"
)

// Live is what may change while a server runs, with the meaning of Config's fields of these names.
type Live struct {
	IPRate, KeyRate Rate
	TrustedProxies  []netip.Prefix
}

// Change has other limits hold from now on. A rate that changes begins with full buckets; connections that
// are there stay, and one whose address has become a trusted proxy's goes on being counted as it was.
func (s *Server) Change(l Live) error {
	s.proxies.set(l.TrustedProxies)
	err := errors.Join(s.byIP.change(l.IPRate), s.byKey.change(l.KeyRate))
	return errors.Join(err, s.opened.change(s.openRate()))
}

// proxies are the networks that are believed, by those who ask while they may change.
type proxies struct {
	now atomic.Pointer[[]netip.Prefix]
}

func (p *proxies) set(networks []netip.Prefix) { p.now.Store(&networks) }

func (p *proxies) get() []netip.Prefix {
	if networks := p.now.Load(); networks != nil {
		return *networks
	}
	return nil
}
