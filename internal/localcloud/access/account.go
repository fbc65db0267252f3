package access

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
)

// Roles are the accounts of a file. Safe for concurrent use.
type Roles struct{ accounts map[string]*Account }

// Account is one account and what has come of its permissions. Safe for concurrent use.
type Account struct {
	// Name is the one in the file.
	Name string

	mu      sync.Mutex
	granted map[string]int // uses of each permission
	denied  map[Denial]int
}

// Denial is a call that lacked a permission. Without a Permission the table does not know the method.
type Denial struct {
	Method     string `json:"method"`
	Permission string `json:"permission,omitempty"`
}

// maxAccounts bounds the listeners: three for each.
const maxAccounts = 16

var (
	accountName    = regexp.MustCompile(`^[a-z][a-z0-9-]{0,29}$`)
	permissionName = regexp.MustCompile(`^[a-z]+\.[a-zA-Z]+\.[a-zA-Z]+$`)
)

// Parse reads a file of roles: YAML (or JSON) with a list of permissions for each account, and other keys
// than "accounts" refused.
//
//	accounts:
//	  reader: [datastore.entities.get, datastore.entities.list]
//
// A permission that no call of the embedded cloud needs is an error: nothing would tell whether it is one too
// many.
func Parse(data []byte) (*Roles, error) {
	var file struct {
		Accounts map[string][]string `yaml:"accounts"`
	}
	if err := decode(data, &file); err != nil {
		return nil, fmt.Errorf("parse roles: %w", err)
	}
	if n := len(file.Accounts); n == 0 || n > maxAccounts {
		return nil, fmt.Errorf("parse roles: %d accounts, want 1 to %d", n, maxAccounts)
	}
	known := Permissions()
	r := &Roles{accounts: make(map[string]*Account, len(file.Accounts))}
	for name, list := range file.Accounts {
		if !accountName.MatchString(name) {
			return nil, fmt.Errorf("parse roles: account %q: lower-case letters, digits and - are wanted", name)
		}
		a := &Account{Name: name, granted: make(map[string]int, len(list)), denied: map[Denial]int{}}
		for _, p := range list {
			switch _, twice := a.granted[p]; {
			case !permissionName.MatchString(p) || !slices.Contains(known, p):
				return nil, fmt.Errorf("parse roles: account %s: no call of the embedded cloud needs a permission %q", name, p)
			case twice:
				return nil, fmt.Errorf("parse roles: account %s: %s is listed twice", name, p)
			}
			a.granted[p] = 0
		}
		r.accounts[name] = a
	}
	return r, nil
}

// decode reads YAML. The library panics on some of what is none.
func decode(data []byte, v any) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it is not YAML")
		}
	}()
	return yaml.UnmarshalWithOptions(data, v, yaml.DisallowUnknownField())
}

// Names returns the accounts, sorted.
func (r *Roles) Names() []string { return slices.Sorted(maps.Keys(r.accounts)) }

// Account returns the one of that name, nil without one.
func (r *Roles) Account(name string) *Account { return r.accounts[name] }

// allow counts and tells which of the permissions that a call needs is missing, "" for none. A call that
// lacks one uses none.
func (a *Account) allow(method string, needed []string) (missing string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range needed {
		if _, ok := a.granted[p]; !ok {
			a.denied[Denial{method, p}]++
			return p
		}
	}
	for _, p := range needed {
		a.granted[p]++
	}
	return ""
}

// refuseUnknown counts a call that the table does not know.
func (a *Account) refuseUnknown(method string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.denied) < maxDenials {
		a.denied[Denial{Method: method}]++
	}
}

// maxDenials bounds what callers can make an account remember by calling methods that do not exist.
const maxDenials = 1000

func (a *Account) has(permission string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.granted[permission]
	return ok
}

// Usage is what has come of an account's permissions.
type Usage struct {
	Used   map[string]int `json:"used"`   // permissions with how often they let a call pass
	Unused []string       `json:"unused"` // granted, and never needed
	Denied []DenialCount  `json:"denied"`
}

// DenialCount is how often a call was refused for want of a permission.
type DenialCount struct {
	Denial
	Count int `json:"count"`
}

// Usage returns the counts of each account, by name.
func (r *Roles) Usage() map[string]Usage {
	out := make(map[string]Usage, len(r.accounts))
	for name, a := range r.accounts {
		out[name] = a.usage()
	}
	return out
}

func (a *Account) usage() Usage {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := Usage{Used: map[string]int{}, Unused: []string{}, Denied: []DenialCount{}}
	for p, n := range a.granted {
		if n == 0 {
			u.Unused = append(u.Unused, p)
			continue
		}
		u.Used[p] = n
	}
	slices.Sort(u.Unused)
	for d, n := range a.denied {
		u.Denied = append(u.Denied, DenialCount{d, n})
	}
	slices.SortFunc(u.Denied, func(a, b DenialCount) int {
		return strings.Compare(a.Method+" "+a.Permission, b.Method+" "+b.Permission)
	})
	return u
}
