//go:build !linux

package synfilter

import "net"

// Filter is the filter of a listener.
type Filter struct{}

// New gives ErrUnsupported.
func New(net.Listener) (*Filter, error) { return nil, ErrUnsupported }

// Set gives ErrUnsupported.
func (*Filter) Set([]Rule) error { return ErrUnsupported }
