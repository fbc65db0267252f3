package webhook

import "net/netip"

// refusedIPv4 is every IPv4 range that is not the public internet: the IANA special-purpose registry,
// multicast and class E, plus addresses that look public and are internal to a cloud.
var refusedIPv4 = prefixes(
	"0.0.0.0/8",        // "this network"; Linux connects 0.0.0.0 to itself
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // carrier NAT; metadata of some clouds
	"127.0.0.0/8",      // loopback
	"169.254.0.0/16",   // link-local; metadata of most clouds
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // IETF protocol assignments
	"192.0.2.0/24",     // documentation
	"192.31.196.0/24",  // AS112
	"192.52.193.0/24",  // AMT
	"192.88.99.0/24",   // 6to4 relay
	"192.168.0.0/16",   // private
	"192.175.48.0/24",  // AS112
	"198.18.0.0/15",    // benchmarking
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, broadcast
	"199.36.153.4/30",  // restricted.googleapis.com
	"199.36.153.8/30",  // private.googleapis.com
	"168.63.129.16/32", // Azure host services
)

// globalIPv6 is the only IPv6 range in use on the public internet. Allowing it alone refuses NAT64, SIIT,
// unique-local, site-local, SRv6 and the IPv4-compatible forms without naming them.
var globalIPv6 = netip.MustParsePrefix("2000::/3")

// refusedIPv6 is what inside globalIPv6 is not a public host.
var refusedIPv6 = prefixes(
	"2001::/23",             // Teredo, ORCHID, benchmarking, AS112
	"2001:db8::/32",         // documentation
	"2002::/16",             // 6to4: carries any IPv4 address
	"3fff::/20",             // documentation
	"2620:4f:8000::/48",     // AS112
	"2600:2d00:2:1000::/64", // restricted.googleapis.com
	"2600:2d00:2:2000::/64", // private.googleapis.com
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// PublicAddr reports whether addr is a unicast address of the public internet. A zoned address never is. An
// IPv4-mapped IPv6 address is judged as the IPv4 address a socket would really reach.
func PublicAddr(addr netip.Addr) bool {
	if !addr.IsValid() || addr.Zone() != "" {
		return false // Prefix.Contains is false for every zoned address
	}
	addr = addr.Unmap() // and for ::ffff:127.0.0.1 in 127.0.0.0/8
	if addr.Is4() {
		return !inAny(refusedIPv4, addr)
	}
	return globalIPv6.Contains(addr) && !inAny(refusedIPv6, addr)
}

// inAny expects an unmapped address without zone.
func inAny(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
