package webhook

import (
	"net/netip"
	"testing"
)

func TestPublicAddr(t *testing.T) {
	t.Parallel()
	refused := []string{
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255",
		"127.0.0.1", "127.255.255.255", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.1", "192.0.2.1",
		"192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.0",
		"198.19.255.255", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"199.36.153.4", "199.36.153.7", "199.36.153.8", "199.36.153.11", "168.63.129.16",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "1fff:ffff::1", "2001::1", "2001:0:7f00:1::",
		"2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff:ffff::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1",
		"3fff::1", "3fff:fff::1", "2620:4f:8000::1", "2600:2d00:2:1000::1", "2600:2d00:2:2000::1", "4000::1", "5f00::1",
		"fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2606:4700:4700::1111%eth0",
	}
	for _, s := range refused {
		if PublicAddr(netip.MustParseAddr(s)) {
			t.Errorf("PublicAddr(%s) = true, want false", s)
		}
	}
	if PublicAddr(netip.Addr{}) {
		t.Error("PublicAddr(zero) = true, want false")
	}
	allowed := []string{
		"8.8.8.8", "1.1.1.1", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1",
		"192.0.1.1", "198.17.255.255", "198.20.0.1", "223.255.255.255", "199.36.153.3", "199.36.153.12", "168.63.129.17",
		"2001:200::1", "2606:4700:4700::1111", "2a00:1450::1", "3ffe:ffff::1", "3fff:1000::1", "::ffff:8.8.8.8",
	}
	for _, s := range allowed {
		if !PublicAddr(netip.MustParseAddr(s)) {
			t.Errorf("PublicAddr(%s) = false, want true", s)
		}
	}
}

// FuzzPublicAddr: nothing that the standard library knows to be special is public, and an IPv4 address is
// judged alike in both of its spellings.
func FuzzPublicAddr(f *testing.F) {
	f.Add([]byte{8, 8, 8, 8})
	f.Add([]byte{0x26, 6, 0x47, 0, 0x47, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x11})
	f.Fuzz(func(t *testing.T, data []byte) {
		addr, ok := netip.AddrFromSlice(data)
		if !ok {
			return
		}
		special := addr.Unmap()
		if PublicAddr(addr) && (!special.IsGlobalUnicast() || special.IsPrivate() || special.IsUnspecified()) {
			t.Errorf("PublicAddr(%s) = true", addr)
		}
		if addr.Is4() && PublicAddr(addr) != PublicAddr(netip.AddrFrom16(addr.As16())) {
			t.Errorf("PublicAddr(%s) depends on the spelling", addr)
		}
	})
}
