package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"exportd/internal/loopback"
)

// ConsoleSignIn is by whom people sign in to the console besides keys, and who may do what.
type ConsoleSignIn struct {
	// IAPAudience is the backend that Identity-Aware Proxy protects; "" trusts no header.
	IAPAudience string
	// Issuer is a provider of OpenID Connect, with which the console is known as ClientID; SecretFile has the
	// client's secret. "" is none. URL is where browsers reach the console.
	Issuer, ClientID, SecretFile, URL string
	// RoleClaim has roles or groups of a person.
	RoleClaim                  string
	Viewers, Operators, Admins []string
	Contact                    string // whom those ask who have no role
}

// iapAudience are the forms that Google documents: backends of load balancers, Cloud Run, App Engine.
var iapAudience = regexp.MustCompile(`^/projects/[0-9]+/((global|regions/[a-z0-9-]+)/backendServices/[0-9]+|locations/[a-z0-9-]+/services/[a-z0-9-]+|apps/[a-z0-9:.-]+)$`)

func audience(c *Config, v string) error {
	if v != "" && !iapAudience.MatchString(v) {
		return errors.New("/projects/NUMBER/global/backendServices/NUMBER is wanted, with numbers and no names")
	}
	c.SignIn.IAPAudience = v
	return nil
}

// base takes an https URL, or one of this machine: of a server, with a path where pathToo. complete holds
// production to https.
func base(field func(*Config) *string, pathToo bool) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v == "" {
			return nil
		}
		u, err := url.Parse(v)
		if err != nil || !loopback.IsSecure(u) || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("an https URL is wanted, without query")
		}
		if !pathToo {
			if v = strings.TrimSuffix(v, "/"); strings.Trim(u.Path, "/") != "" {
				return errors.New("an https URL without a path is wanted, as https://exports.example.com: that is added")
			}
		}
		*field(c) = v
		return nil
	}
}

const (
	// maxPeople and maxWho bound a list of who has a role; more are a group.
	maxPeople, maxWho = 1000, 254
	maxContact        = 200
)

// people takes addresses, @domains and groups.
func people(field func(*Config) *[]string) func(*Config, string) error {
	return func(c *Config, v string) error {
		for entry := range strings.SplitSeq(v, ",") {
			if entry = strings.TrimSpace(entry); entry == "" {
				continue
			}
			if len(entry) > maxWho || !utf8.ValidString(entry) || strings.ContainsFunc(entry, func(r rune) bool { return !unicode.IsPrint(r) }) || entry == "@" || entry == "*" {
				return fmt.Errorf("addresses, @domains or groups of up to %d characters are wanted, comma-separated", maxWho)
			}
			*field(c) = append(*field(c), entry)
		}
		if len(*field(c)) > maxPeople {
			return fmt.Errorf("at most %d are taken: name a group", maxPeople)
		}
		return nil
	}
}

func contact(c *Config, v string) error {
	if len(v) > maxContact || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("up to %d characters are wanted, all of which can be seen", maxContact)
	}
	c.SignIn.Contact = v
	return nil
}

// signInFaults are settings of which one needs another.
func (c *Config) signInFaults() (faults Faults) {
	s := c.SignIn
	roles := len(s.Viewers)+len(s.Operators)+len(s.Admins) > 0
	by := s.IAPAudience != "" || s.Issuer != ""
	for _, f := range []struct {
		wrong bool
		says  string
	}{
		{s.Issuer != "" && s.ClientID == "", "EXPORTD_CONSOLE_OIDC_ISSUER: without EXPORTD_CONSOLE_OIDC_CLIENT_ID the provider knows no console"},
		{s.Issuer != "" && s.URL == "", "EXPORTD_CONSOLE_OIDC_ISSUER: without EXPORTD_CONSOLE_URL the provider has nowhere to send browsers back to"},
		{s.Issuer == "" && s.ClientID != "", "EXPORTD_CONSOLE_OIDC_CLIENT_ID: without EXPORTD_CONSOLE_OIDC_ISSUER there is no provider"},
		{s.Issuer == "" && s.SecretFile != "", "EXPORTD_CONSOLE_OIDC_SECRET_FILE: without EXPORTD_CONSOLE_OIDC_ISSUER there is no provider"},
		{s.Issuer == "" && s.URL != "", "EXPORTD_CONSOLE_URL: without EXPORTD_CONSOLE_OIDC_ISSUER nothing needs it"},
		{by && !roles, "EXPORTD_CONSOLE_VIEWERS, _OPERATORS, _ADMINS: with Identity-Aware Proxy or a provider one of them is needed, else nobody whom it signs in has a role"},
		{!by && roles, "EXPORTD_CONSOLE_VIEWERS, _OPERATORS, _ADMINS: without EXPORTD_CONSOLE_IAP_AUDIENCE or EXPORTD_CONSOLE_OIDC_ISSUER nobody is signed in by name"},
		{!by && s.Contact != "", "EXPORTD_CONSOLE_CONTACT: without EXPORTD_CONSOLE_IAP_AUDIENCE or EXPORTD_CONSOLE_OIDC_ISSUER nobody is shown it"},
		{by && c.Console == "none", "EXPORTD_CONSOLE=none: does not go with EXPORTD_CONSOLE_IAP_AUDIENCE or EXPORTD_CONSOLE_OIDC_ISSUER; unset them"},
		{c.Env == "production" && (strings.HasPrefix(s.Issuer, "http:") || strings.HasPrefix(s.URL, "http:")), "EXPORTD_ENV=production: does not go with http in EXPORTD_CONSOLE_OIDC_ISSUER or EXPORTD_CONSOLE_URL"},
	} {
		if f.wrong {
			faults = append(faults, f.says)
		}
	}
	return faults
}
