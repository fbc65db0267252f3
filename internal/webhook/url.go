package webhook

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// MaxURLBytes is the longest callback URL accepted, in bytes as given and as normalised. Receivers and
// proxies cut at about this length.
const MaxURLBytes = 2048

// Reason says why a URL was refused by its form. The values are stable and may be shown to callers: they
// depend on the URL alone.
type Reason string

// The reasons ParseURL gives.
const (
	ReasonTooLong        Reason = "too_long"
	ReasonCharacters     Reason = "characters"       // control, space, backslash, not percent-encoded
	ReasonNotAbsolute    Reason = "not_absolute"     // no scheme://
	ReasonScheme         Reason = "scheme"           // not https
	ReasonUserInfo       Reason = "user_info"        // user:password@
	ReasonFragment       Reason = "fragment"         // #
	ReasonHostMissing    Reason = "host_missing"     //
	ReasonHostMalformed  Reason = "host_malformed"   // not a DNS name in its usual form
	ReasonHostAddress    Reason = "host_address"     // an IP address in any spelling, public ones too
	ReasonHostInternal   Reason = "host_internal"    // a name that is never public
	ReasonHostOwn        Reason = "host_own"         // this service itself
	ReasonHostNotAllowed Reason = "host_not_allowed" // not in the key's allow list
	ReasonPort           Reason = "port"             // not 443 or 8443
)

var reasonText = map[Reason]string{
	ReasonTooLong:        "must be at most 2048 bytes",
	ReasonCharacters:     "must hold only percent-encoded ASCII after the host, and no spaces, control characters or backslashes",
	ReasonNotAbsolute:    "must be an absolute URL",
	ReasonScheme:         "must use https",
	ReasonUserInfo:       "must not hold a user name or password",
	ReasonFragment:       "must not hold a fragment",
	ReasonHostMissing:    "must name a host",
	ReasonHostMalformed:  "must name a host by a well-formed DNS name",
	ReasonHostAddress:    "must name a host, not an address",
	ReasonHostInternal:   "must name a public host",
	ReasonHostOwn:        "must not name this service",
	ReasonHostNotAllowed: "must name a host that is allowed for this key",
	ReasonPort:           "must use port 443 or 8443",
}

// RefusedError is the only error of ParseURL. Its text names no part of the URL, which may carry a token, and
// is fit for callers.
type RefusedError struct{ Reason Reason }

func (e *RefusedError) Error() string { return "callback URL " + reasonText[e.Reason] }

func refuse(r Reason) error { return &RefusedError{Reason: r} }

// Dev opens what production keeps shut, for receivers on a developer's machine and in tests. The zero value
// opens nothing. Whoever reads configuration must refuse to start when Enabled in production; this package
// cannot know.
type Dev struct {
	// AllowHTTP accepts http:// beside https://.
	AllowHTTP bool
	// AllowCIDRs are address ranges that count as public. Address literals inside them are accepted as hosts,
	// and "localhost" is if one of them holds a loopback address.
	AllowCIDRs []netip.Prefix
	// AllowPorts are accepted beside 443 and 8443; 0 accepts every port.
	AllowPorts []uint16
}

// Enabled reports whether anything is opened.
func (d Dev) Enabled() bool {
	return d.AllowHTTP || len(d.AllowCIDRs) > 0 || len(d.AllowPorts) > 0
}

// allows expects an unmapped address without zone.
func (d Dev) allows(addr netip.Addr) bool { return inAny(d.AllowCIDRs, addr) }

// loopback gives the addresses "localhost" stands for, in the order to try.
func (d Dev) loopback() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		if d.allows(a) {
			out = append(out, a)
		}
	}
	return out
}

// Rules is what ParseURL judges by. The zero value is production's default: https to any public name on port
// 443 or 8443.
type Rules struct {
	// OwnHosts are the service's own names; calling them would be a loop.
	OwnHosts HostList
	// AllowedHosts is the key's allow list; empty allows every public name.
	AllowedHosts HostList
	// Dev opens loopback for development.
	Dev Dev
}

func (r Rules) allowsPort(port uint16) bool {
	return port == 443 || port == 8443 ||
		slices.Contains(r.Dev.AllowPorts, port) || slices.Contains(r.Dev.AllowPorts, 0)
}

// Target is a callback URL that passed ParseURL, in normal form: lower-case scheme, ASCII host without
// trailing dot, no default port, a path of at least "/", path and query byte for byte as given.
type Target struct {
	scheme, host string
	port         uint16
	rest         string // path and query
}

// Host is the normalised host name: the key for limits per host.
func (t Target) Host() string { return t.host }

// Port is the port to dial.
func (t Target) Port() uint16 { return t.port }

// Origin is scheme, host and port, without path and query: what is fit for logs and the key for suspension.
func (t Target) Origin() string {
	if t.scheme == "" {
		return ""
	}
	host := t.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if (t.scheme == "https" && t.port == 443) || (t.scheme == "http" && t.port == 80) {
		return t.scheme + "://" + host
	}
	return t.scheme + "://" + host + ":" + strconv.Itoa(int(t.port))
}

// String is the normalised URL. It may carry a token in its query: for storing and calling, not for logs.
func (t Target) String() string { return t.Origin() + t.rest }

// ParseURL judges a callback URL by its form and returns it normalised, or a
// *RefusedError. It asks no DNS: a name that passes may still resolve to an
// address that Guard refuses.
//
// It does not build on net/url, which accepts much that must be refused here (port 99999, "%zz" in a query)
// and leaves mapping of the host to net/http, after any check of the string.
func ParseURL(raw string, rules Rules) (Target, error) {
	if len(raw) > MaxURLBytes {
		return Target{}, refuse(ReasonTooLong)
	}
	if !utf8.ValidString(raw) || strings.ContainsFunc(raw, isForbidden) {
		return Target{}, refuse(ReasonCharacters)
	}
	scheme, after, ok := strings.Cut(raw, "://")
	if !ok || strings.ContainsAny(scheme, "/?#@.") {
		return Target{}, refuse(ReasonNotAbsolute)
	}
	t := Target{scheme: strings.ToLower(scheme)}
	switch {
	case t.scheme == "https":
		t.port = 443
	case t.scheme == "http" && rules.Dev.AllowHTTP:
		t.port = 80
	default:
		return Target{}, refuse(ReasonScheme)
	}
	authority := after
	if i := strings.IndexAny(after, "/?#"); i >= 0 {
		authority, t.rest = after[:i], after[i:]
	}
	if reason := t.setAuthority(authority, rules); reason != "" {
		return Target{}, refuse(reason)
	}
	if reason := t.checkRest(); reason != "" {
		return Target{}, refuse(reason)
	}
	if len(t.String()) > MaxURLBytes { // punycode is longer than what it stands for
		return Target{}, refuse(ReasonTooLong)
	}
	return t, nil
}

func isForbidden(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }

// setAuthority reads "host[:port]".
func (t *Target) setAuthority(authority string, rules Rules) Reason {
	if strings.Contains(authority, "@") {
		return ReasonUserInfo
	}
	host, port := authority, ""
	hasPort := false
	if end := strings.LastIndexByte(authority, ']'); end >= 0 {
		host, port = authority[:end+1], authority[end+1:]
		port, hasPort = strings.CutPrefix(port, ":")
		if !hasPort && port != "" {
			return ReasonHostMalformed
		}
	} else {
		host, port, hasPort = strings.Cut(authority, ":")
	}
	if host == "" {
		return ReasonHostMissing
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || strconv.FormatUint(n, 10) != port || n == 0 {
			return ReasonPort // "", 0443, +443, full-width digits, 443:80
		}
		t.port = uint16(n)
	}
	if !rules.allowsPort(t.port) && (t.scheme != "http" || t.port != 80) {
		return ReasonPort
	}
	var reason Reason
	if t.host, reason = rules.host(host); reason != "" {
		return reason
	}
	if rules.OwnHosts.Contains(t.host) {
		return ReasonHostOwn
	}
	if !rules.AllowedHosts.Empty() && !rules.AllowedHosts.Contains(t.host) {
		return ReasonHostNotAllowed
	}
	return ""
}

// host normalises a host, with the exceptions development asks for.
func (r Rules) host(host string) (string, Reason) {
	if len(r.Dev.AllowCIDRs) > 0 {
		if strings.EqualFold(host, "localhost") && len(r.Dev.loopback()) > 0 {
			return "localhost", ""
		}
		addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
		if err == nil && addr.Is6() == strings.HasPrefix(host, "[") && addr.Zone() == "" && r.Dev.allows(addr.Unmap()) {
			return addr.Unmap().String(), ""
		}
	}
	return normaliseHost(host)
}

// checkRest lets path and query be only what RFC 3986 allows there, with the square brackets that are usual
// in queries, and adds the missing path.
func (t *Target) checkRest() Reason {
	if strings.Contains(t.rest, "#") {
		return ReasonFragment
	}
	if t.rest == "" || t.rest[0] == '?' {
		t.rest = "/" + t.rest
	}
	query := false
	for i := 0; i < len(t.rest); i++ {
		switch c := t.rest[i]; {
		case c == '?':
			query = true
		case c == '%':
			if i+2 >= len(t.rest) || !isHex(t.rest[i+1]) || !isHex(t.rest[i+2]) {
				return ReasonCharacters
			}
		case c >= utf8.RuneSelf:
			return ReasonCharacters
		case isAlphaNum(c) || strings.IndexByte("-._~!$&'()*+,;=:@/", c) >= 0:
		case query && (c == '[' || c == ']'):
		default:
			return ReasonCharacters
		}
	}
	return ""
}

// hostProfile is strict on purpose: what a browser would forgive is refused.
var hostProfile = idna.New(
	idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.ValidateLabels(true),
	idna.CheckHyphens(true), idna.CheckJoiners(true), idna.VerifyDNSLength(true),
)

// internalSuffixes are names that are never, or never safely, public: special-use names and those that ICANN
// will not delegate because networks use them inside.
var internalSuffixes = []string{
	".localhost", ".localdomain", ".local", ".lan", ".internal", ".intranet", ".private", ".corp", ".home",
	".svc", ".arpa", ".onion", ".alt", ".test", ".invalid",
}

// normaliseHost returns the lower-case ASCII form of a public DNS name.
func normaliseHost(host string) (string, Reason) {
	switch {
	case host == "":
		return "", ReasonHostMissing
	case strings.HasPrefix(host, "["):
		return "", ReasonHostAddress
	case strings.HasSuffix(host, "."):
		return "", ReasonHostMalformed // the same host in two spellings
	}
	ascii, err := hostProfile.ToASCII(host)
	if err != nil {
		if _, err := netip.ParseAddr(strings.TrimRight(host, ".")); err == nil {
			return "", ReasonHostAddress
		}
		return "", ReasonHostMalformed
	}
	last := ascii[strings.LastIndexByte(ascii, '.')+1:]
	switch {
	case last == "" || last[0] >= '0' && last[0] <= '9':
		return "", ReasonHostAddress // 127.1, 0x7f.1, 1.2.3.4.5: no public top label starts with a digit
	case !strings.Contains(ascii, "."):
		return "", ReasonHostInternal
	case disguised(host, ascii):
		return "", ReasonHostMalformed
	}
	for _, s := range internalSuffixes {
		if strings.HasSuffix(ascii, s) {
			return "", ReasonHostInternal
		}
	}
	return ascii, ""
}

// disguised reports whether characters were mapped into plain ASCII (full-width letters, circled letters,
// ideographic dots, soft hyphens): nobody types those into a host name for a good reason.
func disguised(given, ascii string) bool {
	from, to := strings.Split(given, "."), strings.Split(ascii, ".")
	if len(from) != len(to) {
		return true
	}
	for i := range from {
		if !strings.HasPrefix(to[i], "xn--") && !strings.EqualFold(from[i], to[i]) {
			return true
		}
	}
	back, err := hostProfile.ToUnicode(ascii)
	if err != nil {
		return true
	}
	for i, label := range strings.Split(back, ".") { // xn--localhost- decodes to plain ASCII
		if strings.HasPrefix(to[i], "xn--") && !strings.ContainsFunc(label, func(r rune) bool { return r >= utf8.RuneSelf }) {
			return true
		}
	}
	return false
}

func isAlphaNum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
