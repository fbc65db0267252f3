package apikey

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"exportd/jobs"
)

// Scope is a right that a key has.
type Scope string

// The scopes there are. None includes another.
const (
	ScopeRead   Scope = "read"   // list routes and reading jobs
	ScopeExport Scope = "export" // starting, reading, canceling and deleting jobs
	ScopeOps    Scope = "ops"    // all orgs' jobs
	ScopeView   Scope = "view"   // looking at what ScopeOps may change, and at nothing in a file
	ScopeAdmin  Scope = "admin"  // keys of its org, but for those of operators and platform
	// ScopePlatform is for keys of all orgs, with any scope.
	ScopePlatform Scope = "platform"
)

// AllScopes are the scopes there are.
var AllScopes = []Scope{ScopeRead, ScopeExport, ScopeOps, ScopeView, ScopeAdmin, ScopePlatform}

// ofAllOrgs reports whether a right is one over more than the key's org.
func (s Scope) ofAllOrgs() bool { return s == ScopeOps || s == ScopeView || s == ScopePlatform }

// defaultScopes are those of a record without the field: keys made before scopes existed could list and
// export.
var defaultScopes = []Scope{ScopeRead, ScopeExport}

// State says whether a key may be used.
type State string

// Active is the only state in which a key works; a record without the field is active.
const (
	Active   State = "active"
	Disabled State = "disabled"
)

// maxSecrets is the secret in use and the one being rotated in or out, of each purpose. Verify always
// computes this many signatures, so their number cannot be told from outside.
const maxSecrets = 2

// Purpose is what a secret of a key signs.
type Purpose string

// The purposes there are. A secret of one is never taken for the other: receivers of callbacks, often a third
// party, must not be able to sign requests.
const (
	ForRequests  Purpose = "signing"
	ForCallbacks Purpose = "webhook"
)

// SigningSecret is a secret and when it holds. Zero times are unbounded.
type SigningSecret struct {
	Secret    Secret
	NotBefore time.Time // inclusive
	ExpiresAt time.Time // exclusive
}

func (s SigningSecret) usable(now time.Time) bool {
	return !s.Secret.IsZero() && !now.Before(s.NotBefore) && (s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt))
}

// Key is a record of the collection ApiKeys. Shared between requests: never change one.
type Key struct {
	ID string
	// OrgID is the org that the key acts in: of a sandbox key, the sandbox of its org.
	OrgID string
	// Name is for people.
	Name string
	// Person is who is signed in to the console by a provider of identities: then this is no record, and only
	// says what they may do.
	Person    string
	Scopes    []Scope
	State     State
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	// LastUsedAt is when the key last signed a request, to the day; zero if never.
	LastUsedAt time.Time
	// IPRanges are where requests may come from; empty allows every address.
	IPRanges []netip.Prefix
	// Secrets sign requests; at most two, the newest first, either is accepted.
	Secrets []SigningSecret
	// WebhookSecrets ("whsec_...") sign callbacks: at most two, the newest first, all that hold sign each
	// callback. There may be none.
	WebhookSecrets []SigningSecret
	// CallbackHosts are the hosts that callbacks may go to; empty allows every public one.
	CallbackHosts []string
	// MinVersion is the lowest version of the signature that the key may use; 0 is any. The server decides
	// it, so a thief of a signature cannot choose the weaker one.
	MinVersion int
	// OneUse refuses a second request with the same signature of version 1, whatever it asks for. Two
	// requests of such a key need different x-dates.
	OneUse bool
	// Budget is what its exports may come to in a day.
	Budget jobs.Budget
	// DefaultCallbackURL is used by exports that name none.
	DefaultCallbackURL string

	version, read time.Time // when its record was last written, and when it was read
	plain         bool      // its record holds a secret in clear
}

// Has reports whether the key has one of the scopes.
func (k *Key) Has(anyOf ...Scope) bool {
	return slices.ContainsFunc(anyOf, func(s Scope) bool { return slices.Contains(k.Scopes, s) })
}

// Privileged reports whether the key can do more than use what its org has. Its requests are signed by
// version 2: who overhears one of version 1 can use its headers for any other for a minute.
func (k *Key) Privileged() bool { return k.Has(ScopeOps, ScopeView, ScopeAdmin, ScopePlatform) }

// MayManage reports whether the key may see, make and change a key of an org with scopes: one of the platform
// any, an admin those of its own org and its sandbox that give no more than it has.
func (k *Key) MayManage(orgID string, scopes []Scope) bool {
	return k.Has(ScopePlatform) || k.Has(ScopeAdmin) && jobs.OwnerOf(orgID) == k.OrgID && !slices.ContainsFunc(scopes, Scope.ofAllOrgs)
}

// BoundLike reports whether k can be used in no way in which by cannot: from no other address, no longer, by
// no weaker signature. A bound key that could make or rotate a freer one with its rights would be bound by
// nothing.
func (k *Key) BoundLike(by *Key) bool {
	within := func(p netip.Prefix) bool {
		return slices.ContainsFunc(by.IPRanges, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) })
	}
	switch {
	case len(by.IPRanges) > 0 && (len(k.IPRanges) == 0 || !allOf(k.IPRanges, within)):
		return false
	case !by.ExpiresAt.IsZero() && (k.ExpiresAt.IsZero() || k.ExpiresAt.After(by.ExpiresAt)):
		return false
	}
	return (k.OneUse || !by.OneUse) && k.MinVersion >= by.MinVersion
}

func allOf[E any](s []E, is func(E) bool) bool {
	return !slices.ContainsFunc(s, func(e E) bool { return !is(e) })
}

// AllowsAddr reports whether a request of the key may come from addr.
func (k *Key) AllowsAddr(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("") // Contains is false for mapped and zoned addresses
	return len(k.IPRanges) == 0 || slices.ContainsFunc(k.IPRanges, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// ParseIPRange reads a range of addresses as "203.0.113.0/24" or a single address. IPv4 must not be written
// as IPv6, and no bits may be set beyond the length: both are mistakes.
func ParseIPRange(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		s += "/" + strconv.Itoa(addr.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() || p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("not a range of addresses as 203.0.113.0/24: %w", jobs.ErrInvalid)
	}
	return p, nil
}

// CallbackSecrets gives the texts of what callbacks of the key are signed with at now: its own webhook
// secrets, and the API secrets from which one is derived where it has none.
func (k *Key) CallbackSecrets(now time.Time) (own, api []string) {
	return usableTexts(k.WebhookSecrets, now), usableTexts(k.Secrets, now)
}

func usableTexts(secrets []SigningSecret, now time.Time) (texts []string) {
	for _, s := range secrets {
		if s.usable(now) {
			texts = append(texts, s.Secret.Reveal())
		}
	}
	return texts
}

// Usable reports whether the key may be used at now, whatever its secrets.
func (k *Key) Usable(now time.Time) bool {
	return k.State == Active && ValidOrg(k.OrgID) && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// ValidID reports whether s has the form of a key's id: 8 to 64 of A-Z a-z 0-9 _ -. Ids are checked before
// they become part of a document path; Firestore reserves __x__.
func ValidID(s string) bool {
	if len(s) < 8 || len(s) > 64 || strings.HasPrefix(s, "__") && strings.HasSuffix(s, "__") {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// ValidOrg reports whether s can be an org's id.
func ValidOrg(s string) bool { return jobs.ValidOrg(s) }
