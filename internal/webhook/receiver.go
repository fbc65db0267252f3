package webhook

import (
	"crypto/hmac"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// ReceiverTolerance is how far the clock of a sender may be off, as in the libraries of Standard
	// Webhooks. It bounds how long a captured request can be sent again.
	ReceiverTolerance = 5 * time.Minute
	// maxReceived bounds the body that a Receiver reads; the service sends a few KiB.
	maxReceived = 1 << 20
)

// Received is a callback as a Receiver got it.
type Received struct {
	At   time.Time
	ID   string    // webhook-id: the same for every attempt of one event
	Sent time.Time // webhook-timestamp
	Body []byte    // as it came
	// Event is Body decoded; its Params are a map. Zero if Refused.
	Event Event
	// Refused says why the request was not accepted, "" if it was.
	Refused string
}

// Receiver is the other side: it answers 204 to callbacks that one of its secrets signed and 401 or 400 to
// everything else. It is for developers who integrate and for tests; a real receiver also remembers ids,
// because every event may come more than once.
type Receiver struct {
	// Secrets are accepted, either of them. At least one is required.
	Secrets []Secret
	// Report is told of each request, accepted or not, before it is answered; may be nil. Calls run side by
	// side.
	Report func(Received)
	// Now defaults to time.Now.
	Now func() time.Time
}

// ServeHTTP verifies a callback and answers it.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now
	if rc.Now != nil {
		now = rc.Now
	}
	got := Received{At: now(), ID: r.Header.Get(HeaderID)}
	status := http.StatusNoContent
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReceived))
	got.Body = body
	switch {
	case r.Method != http.MethodPost:
		got.Refused, status = "not a POST", http.StatusMethodNotAllowed
	case err != nil:
		got.Refused, status = "body cannot be read or is too long", http.StatusBadRequest
	default:
		if got.Refused = rc.verify(r.Header, &got); got.Refused != "" {
			status = http.StatusUnauthorized
		} else if json.Unmarshal(body, &got.Event) != nil {
			got.Refused, status = "body is not the JSON of a callback", http.StatusBadRequest
		}
	}
	if rc.Report != nil {
		rc.Report(got)
	}
	w.WriteHeader(status)
}

// verify says what is wrong with the signature, "" if nothing is.
func (rc *Receiver) verify(h http.Header, got *Received) string {
	for _, name := range []string{HeaderID, HeaderTimestamp, HeaderSignature} {
		if n := len(h.Values(name)); n != 1 {
			return "header " + name + " is missing or repeated"
		}
	}
	stamp := h.Get(HeaderTimestamp)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != stamp {
		return "header " + HeaderTimestamp + " is not a number of seconds"
	}
	got.Sent = time.Unix(seconds, 0).UTC()
	if got.At.Sub(got.Sent).Abs() > ReceiverTolerance {
		return "timestamp is more than 5 minutes off"
	}
	for _, secret := range rc.Secrets {
		want, err := Sign(got.ID, got.Sent, got.Body, secret)
		if err != nil {
			return "header " + HeaderID + " is malformed, or the secret is"
		}
		for signature := range strings.FieldsSeq(h.Get(HeaderSignature)) {
			if hmac.Equal([]byte(signature), []byte(want)) {
				return ""
			}
		}
	}
	return "no signature matches the secret"
}
