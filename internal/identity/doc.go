// Package identity asks those who know people who somebody is: Google's Identity-Aware Proxy, which says so
// with each request, and any provider of OpenID Connect, to which a browser is sent. What a person may do is
// decided here by lists of settings, at each request anew; nothing of it is kept but what a session holds.
package identity

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Person is who somebody is, as a provider says.
type Person struct {
	// Name is how events call the person: the address of e-mail if the provider has verified it, else what it
	// calls them and its own number of them, which nobody can choose.
	Name string
	// Email is empty if it is not verified: of some providers anybody can set it.
	Email string
	// Values are those of the claim that gives roles, as far as a list names them.
	Values []string
	// Until is how long the provider stands for it.
	Until time.Time
}

// Role is what a person may do.
type Role string

// The roles, of which each may what those before it may; "" is none.
const (
	Viewer   Role = "viewer"   // look, and change and download nothing
	Operator Role = "operator" // run again, cancel, deliver again, pause
	Admin    Role = "admin"    // keys of all orgs
)

// Roles are lists of who has which role: addresses of e-mail, "@example.com" for all of a domain, or values
// of the claim that gives roles, as a group.
type Roles struct{ Viewers, Operators, Admins []string }

// Of is the highest role that a person has.
func (r Roles) Of(p Person) Role {
	for _, l := range []struct {
		role Role
		list []string
	}{{Admin, r.Admins}, {Operator, r.Operators}, {Viewer, r.Viewers}} {
		if slices.ContainsFunc(l.list, p.is) {
			return l.role
		}
	}
	return ""
}

func (p Person) is(entry string) bool {
	if slices.Contains(p.Values, entry) {
		return true
	}
	at := strings.LastIndexByte(p.Email, '@')
	if at <= 0 {
		return false
	}
	return strings.EqualFold(p.Email, entry) || strings.HasPrefix(entry, "@") && strings.EqualFold(p.Email[at:], entry)
}

// maxNamed bounds, in bytes, what is kept of a claim: it goes into a cookie, of which browsers keep 4 KiB.
const maxNamed = 1 << 10

// named are those of values that a list has, the highest first: what else a provider says of a person is not
// kept.
func (r Roles) named(values []string) (known []string) {
	size := 0
	for _, list := range [][]string{r.Admins, r.Operators, r.Viewers} {
		for _, entry := range list {
			if strings.HasPrefix(entry, "@") || !slices.Contains(values, entry) || slices.Contains(known, entry) {
				continue
			}
			if size += len(entry); size > maxNamed {
				return known
			}
			known = append(known, entry)
		}
	}
	return known
}

// maxName bounds an address, by RFC 5321, and what stands for one.
const maxName = 254

// plainName reports whether a text can be shown and told from others: no white space at all, and nothing that
// is not seen.
func plainName(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

// address gives a text if it can be an address of e-mail.
func address(s string) string {
	if at := strings.LastIndexByte(s, '@'); at <= 0 || at == len(s)-1 || !plainName(s) {
		return ""
	}
	return s
}

// RefusedError says to the person why nothing is believed.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

func refused(why string) error { return &RefusedError{why} }

// ErrUnavailable means that a provider cannot be asked at present.
var ErrUnavailable = errors.New("the provider of identities cannot be asked")
