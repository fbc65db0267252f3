package api

import (
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxWait is the longest a request is held: load balancers give up on quiet connections after 30 s.
const maxWait = 25 * time.Second

// preference is how long a caller is willing to wait.
type preference struct {
	wait    time.Duration
	applied string // value of Preference-Applied, "" if nothing was asked for
}

// listItems are the items of a header that is a list: a comma in a quoted string separates nothing.
var listItems = regexp.MustCompile(`(?:[^,"]|"(?:[^"\\]|\\.)*"?)+`)

// readPrefer reads the Prefer headers (RFC 7240): "wait=n", seconds, at most 25; "respond-async" alone is
// wait=0. Preferences that are unknown or malformed are ignored, as the RFC demands; of repeated ones the
// first counts.
func readPrefer(h http.Header, missing time.Duration) preference {
	async, wait := false, -1
	for _, header := range h.Values("Prefer") {
		for _, item := range listItems.FindAllString(header, -1) {
			item, _, _ = strings.Cut(item, ";") // parameters of preferences: we know none
			name, value, hasValue := strings.Cut(item, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				async = async || !hasValue
			case "wait":
				// What does not even fit is long, too.
				if n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 64); wait < 0 && (err == nil || errors.Is(err, strconv.ErrRange)) {
					wait = int(min(n, uint64(maxWait/time.Second)))
				}
			}
		}
	}
	switch {
	case wait >= 0:
		return preference{time.Duration(wait) * time.Second, "wait=" + strconv.Itoa(wait)}
	case async:
		return preference{0, "respond-async"}
	}
	return preference{wait: missing}
}

// readCacheControl reads how old a result may be that was made for an equal request (RFC 9111): no-cache
// wants none, and maxAge is that of max-age, whole seconds as Age has them; negative if nothing is said.
// Directives that are unknown or malformed are ignored.
func readCacheControl(h http.Header) (noCache bool, maxAge time.Duration) {
	maxAge = -1
	for _, header := range h.Values("Cache-Control") {
		for _, item := range listItems.FindAllString(header, -1) {
			name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(item)), "=")
			switch name {
			case "no-cache":
				noCache = true
			case "max-age":
				if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
					maxAge = time.Duration(n) * time.Second
				}
			}
		}
	}
	return noCache, maxAge
}

// maxIdempotencyKey is the length of the longest Idempotency-Key.
const maxIdempotencyKey = 255

// readIdempotencyKey returns the Idempotency-Key header, "" if there is none.
func readIdempotencyKey(h http.Header) (string, []fault) {
	const name = "Idempotency-Key"
	vs := h.Values(name)
	one := func(kind string, context map[string]any, format string, args ...any) []fault {
		return []fault{newFault(name, kind, context, format, args...)}
	}
	switch {
	case len(vs) == 0:
		return "", nil
	case len(vs) > 1:
		return "", one(typeUnknown, nil, "must be given only once")
	case vs[0] == "":
		return "", one(typeEmpty, nil, "is not allowed to be empty")
	case len(vs[0]) > maxIdempotencyKey:
		return "", one(typeMax, map[string]any{"value": vs[0], "limit": maxIdempotencyKey}, "length must be less than or equal to %d characters long", maxIdempotencyKey)
	case !visibleASCII(vs[0], maxIdempotencyKey):
		return "", one(typeOnly, map[string]any{"value": vs[0]}, "must consist of visible ASCII characters")
	}
	return vs[0], nil
}
