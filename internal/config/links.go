package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"exportd/internal/loopback"
)

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// linkTo reads a URL in which needed is filled in, and others may be: behind its host, so that no job can say
// to whom the link leads. It is https, or http to this machine, as what it tells of a job is nobody else's.
func linkTo(field func(*Config) *string, needed string, others ...string) func(*Config, string) error {
	known := append([]string{needed}, others...)
	return func(c *Config, v string) error {
		if v == "" {
			return nil
		}
		for _, p := range placeholder.FindAllString(v, -1) {
			if !slices.Contains(known, p) {
				return fmt.Errorf("%s is nothing that is filled in: there are %s", p, strings.Join(known, ", "))
			}
		}
		if !strings.Contains(v, needed) {
			return fmt.Errorf("%s is missing, where what differs from job to job goes", needed)
		}
		u, err := url.Parse(placeholder.ReplaceAllString(v, "x"))
		if err != nil || !loopback.IsSecure(u) {
			return fmt.Errorf("an https URL with %s in it is wanted, or an http one of this machine", needed)
		}
		if u.User != nil {
			return fmt.Errorf("a URL without user and password is wanted: everybody who looks would have them")
		}
		if rest, _ := strings.CutPrefix(v, u.Scheme+"://"); !strings.HasPrefix(rest, u.Host) || strings.ContainsAny(v, "\"'<>\\ ") || strings.ContainsAny(placeholder.ReplaceAllString(v, ""), "{}") {
			return fmt.Errorf("what is filled in stands behind the host, and nothing else in braces")
		}
		*field(c) = v
		return nil
	}
}
