// Package loopback knows names of this machine. A service that answers to nothing else cannot be reached by a
// web page that had a name of its own pointed at 127.0.0.1 (DNS rebinding).
package loopback

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// IsHost reports whether a request's Host, with or without a port, is localhost or a loopback address.
func IsHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.IsLoopback()
}

// IsSecure reports whether nobody on the way can read what is sent to a URL: it is https, or http to this
// machine.
func IsSecure(u *url.URL) bool {
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && IsHost(u.Host))
}
