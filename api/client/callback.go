package client

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Callback is what the service sends when an export has ended.
type Callback struct {
	// ID is the same each time one event is sent: who has it already has seen the event.
	ID string `json:"-"`
	// Type is "export.succeeded", "export.failed", "export.canceled", or "export.ping" of a test.
	Type string `json:"type"`
	// Timestamp is when it happened.
	Timestamp time.Time `json:"timestamp"`
	Data      struct {
		JobID JobID   `json:"jobId"`
		Kind  JobKind `json:"kind"`
		State State   `json:"state"`
		// TotalCount and the link are nil unless there is a file. The link is a secret.
		TotalCount      *int64         `json:"totalCount"`
		CSVURL          *string        `json:"csvUrl"`
		CSVURLExpiresAt *time.Time     `json:"csvUrlExpiresAt"`
		Error           *JobError      `json:"error"`
		Params          map[string]any `json:"params"`
	} `json:"data"`
}

// ErrCallback is a request that is not, or not surely, a callback of the service: answer it with 401.
var ErrCallback = errors.New("callback is not verified")

const (
	// callbackTolerance is how far a callback's time may be from now: older ones may be replays.
	callbackTolerance = 5 * time.Minute
	// minCallbackSecret is the least that Standard Webhooks allows.
	minCallbackSecret = 24
)

// VerifyCallback reads a callback whose body, byte for byte as it came, is signed by one of the webhook
// secrets of a key: two while one replaces the other. Answer it with 2xx within 15 s and do the work
// afterwards; the same ID may come again. Errors are ErrCallback, but for secrets that are none.
func VerifyCallback(header http.Header, body []byte, now time.Time, secrets ...string) (*Callback, error) {
	id, stamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseUint(stamp, 10, 40) // some 30,000 years
	if id == "" || err != nil {
		return nil, fmt.Errorf("%w: webhook-id or webhook-timestamp is missing", ErrCallback)
	}
	var signed bool
	for _, secret := range secrets {
		key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(key) < minCallbackSecret || !strings.HasPrefix(secret, "whsec_") {
			return nil, errors.New("a webhook secret is whsec_ and base64 of 24 bytes or more")
		}
		want := []byte("v1," + base64.StdEncoding.EncodeToString(mac(key, id+"."+stamp+"."+string(body))))
		for signature := range strings.FieldsSeq(header.Get("webhook-signature")) {
			signed = hmac.Equal([]byte(signature), want) || signed
		}
	}
	if !signed {
		return nil, fmt.Errorf("%w: no signature matches", ErrCallback)
	}
	if now.Sub(time.Unix(int64(seconds), 0)).Abs() > callbackTolerance {
		return nil, fmt.Errorf("%w: webhook-timestamp is too far from now", ErrCallback)
	}
	callback := &Callback{ID: id}
	if err := json.Unmarshal(body, callback); err != nil {
		return nil, fmt.Errorf("%w: the body is no event: %w", ErrCallback, err)
	}
	if callback.Data.JobID == "" {
		return nil, fmt.Errorf("%w: the body is no event: it has no job", ErrCallback)
	}
	return callback, nil
}
