package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

type integer interface{ ~int | ~int64 }

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error { *field(c) = v; return nil }
}

func oneOf(field func(*Config) *string, allowed ...string) func(*Config, string) error {
	return func(c *Config, v string) error {
		if !slices.Contains(allowed, v) {
			return fmt.Errorf("one of %s is wanted", strings.Trim(strings.Join(allowed, ", "), ", "))
		}
		*field(c) = v
		return nil
	}
}

func number[T integer](field func(*Config) *T, low, high T) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || T(n) < low || T(n) > high {
			return fmt.Errorf("a whole number from %d to %d is wanted", low, high)
		}
		*field(c) = T(n)
		return nil
	}
}

func duration(field func(*Config) *time.Duration, unit time.Duration, low, high int64) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < low || n > high {
			return fmt.Errorf("a whole number from %d to %d is wanted", low, high)
		}
		*field(c) = time.Duration(n) * unit
		return nil
	}
}

func boolean(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v != "true" && v != "false" {
			return errors.New("true or false is wanted")
		}
		*field(c) = v == "true"
		return nil
	}
}

func list(field func(*Config) *[]string) func(*Config, string) error {
	return func(c *Config, v string) error {
		*field(c) = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
		return nil
	}
}

func ports(field func(*Config) *[]int) func(*Config, string) error {
	return func(c *Config, v string) error {
		for p := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ',' || r == ' ' }) {
			n, err := strconv.Atoi(p)
			if err != nil || n < 0 || n > 65535 {
				return errors.New("ports from 0 to 65535 are wanted, comma-separated")
			}
			*field(c) = append(*field(c), n)
		}
		return nil
	}
}

var kmsKeyName = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$`)

// kmsKey also takes the form of Tink's URIs.
func kmsKey(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		v = strings.TrimPrefix(v, "gcp-kms://")
		if v != "" && !kmsKeyName.MatchString(v) {
			return errors.New("projects/P/locations/L/keyRings/R/cryptoKeys/K is wanted")
		}
		*field(c) = v
		return nil
	}
}

// probeURL takes an https URL, or "none" for no probe.
func probeURL(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v == "none" {
			return nil
		}
		if u, err := url.Parse(v); err != nil || u.Scheme != "https" || u.Host == "" {
			return errors.New("an https URL is wanted, or none")
		}
		*field(c) = v
		return nil
	}
}
