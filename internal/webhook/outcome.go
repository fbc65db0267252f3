package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Class says how one attempt ended, in the only words a tenant may see. Answers have the class "http_<code>",
// 2xx included.
type Class string

// The classes of attempts that got no usable answer.
const (
	ClassBlocked       Class = "blocked_destination" // URL or one of its addresses refused; nothing was sent
	ClassDNS           Class = "dns_error"           // no address, NXDOMAIN, SERVFAIL, time-out, too many
	ClassConnect       Class = "connect_failed"      // refused or unreachable
	ClassTLS           Class = "tls_error"           // handshake or certificate
	ClassTimeout       Class = "timeout"             // connect, handshake, headers or the whole attempt
	ClassBadResponse   Class = "bad_response"        // not HTTP, oversize headers, cut off early
	ClassInterrupted   Class = "interrupted"         // our own shutdown, or a crowd; says nothing about the receiver
	ClassInternalError Class = "internal_error"      // could not be signed: our own fault
)

func statusClass(code int) Class { return Class("http_" + strconv.Itoa(code)) }

// Attempt is what is known after one request.
type Attempt struct {
	StartedAt time.Time
	Duration  time.Duration
	Class     Class
	// Status is the HTTP status, 0 when there was none. It can be set beside ClassTimeout or ClassBadResponse
	// when the body did not end well.
	Status int
	// Response is the start of the answer's body as harmless text: valid UTF-8 without control or direction
	// characters, at most Limits.KeepBytes. It is what a stranger wrote: escape it wherever it is shown.
	Response string
	// RetryAfter is what the receiver asked for, at most 24 h; 0 when it did not, or not in a way that can be
	// read.
	RetryAfter time.Duration
	// Err is the cause, for the operator's log; nil after an answer. It may name addresses: never show it to
	// a tenant.
	Err error
}

// Delivered reports whether the receiver took the event: 2xx and nothing else.
func (a Attempt) Delivered() bool {
	return a.Status >= 200 && a.Status <= 299 && a.Class == statusClass(a.Status)
}

// maxRetryAfter bounds every wish of a receiver, and with it every delay.
const maxRetryAfter = 24 * time.Hour

// ParseRetryAfter reads a Retry-After header: digits (seconds) or an HTTP date, nothing else. The result is
// between 0 and 24 h; 0 also stands for absent and unreadable, which are treated alike.
func ParseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseUint(value, 10, 64)
		if err != nil || seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter // more digits than fit is still only "long"
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter) // Sub saturates
}
