package webhook

import (
	"fmt"
	"net/url"
	"strings"
)

// HostList matches host names: exact ones ("hooks.customer.com") and every name below a suffix
// ("*.customer.com", which does not match "customer.com" itself). The zero value is the empty list. A
// HostList is never changed after ParseHostList and may be shared between goroutines.
type HostList struct {
	exact    map[string]struct{}
	suffixes []string // each with its leading dot
}

// ParseHostList reads entries of the form "host" or "*.host". Names are taken through the same normalisation
// as the host of a callback URL, so an entry that could never match (an address, a single label, a port) is
// an error.
func ParseHostList(entries []string) (HostList, error) {
	list := HostList{exact: make(map[string]struct{}, len(entries))}
	for _, entry := range entries {
		name, isSuffix := strings.CutPrefix(entry, "*.")
		host, reason := normaliseHost(name)
		if reason != "" {
			return HostList{}, fmt.Errorf("callback host %q: %w", entry, refuse(reason))
		}
		if isSuffix {
			list.suffixes = append(list.suffixes, "."+host)
		} else {
			list.exact[host] = struct{}{}
		}
	}
	return list, nil
}

// Empty reports whether the list has no entry.
func (l HostList) Empty() bool { return len(l.exact) == 0 && len(l.suffixes) == 0 }

// Allow refuses a callback URL whose host the list does not name; the empty list allows all.
func (l HostList) Allow(callbackURL string) error {
	if u, err := url.Parse(callbackURL); !l.Empty() && (err != nil || !l.Contains(u.Hostname())) {
		return refuse(ReasonHostNotAllowed)
	}
	return nil
}

// Contains reports whether a normalised host (Target.Host) is matched.
func (l HostList) Contains(host string) bool {
	if _, ok := l.exact[host]; ok {
		return true
	}
	for _, s := range l.suffixes {
		if strings.HasSuffix(host, s) {
			return true
		}
	}
	return false
}
