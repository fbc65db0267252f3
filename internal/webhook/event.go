package webhook

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"
)

// Event is the body of a callback. What is not known is null.
type Event struct {
	// Type is "export.succeeded", "export.failed", "export.canceled" or EventPing.
	Type string `json:"type"`
	// Timestamp is when it happened, the same in every attempt.
	Timestamp time.Time `json:"timestamp"`
	Data      EventData `json:"data"`
}

// EventPing is the type of what a test sends.
const EventPing = "export.ping"

// EventData says which export ended, and how.
type EventData struct {
	JobID           string      `json:"jobId"`
	Kind            string      `json:"kind"`
	State           string      `json:"state"`
	TotalCount      *int64      `json:"totalCount"`
	CSVURL          *string     `json:"csvUrl"` // made fresh for each attempt
	CSVURLExpiresAt *time.Time  `json:"csvUrlExpiresAt"`
	Error           *EventError `json:"error"`
	Params          any         `json:"params"`
	// Changes are nil for a file of all rows.
	Changes *EventChanges `json:"changes,omitempty"`
}

// EventChanges is what a file of changes has, counted, as the job's own page does.
type EventChanges struct {
	Since     string `json:"since"`
	Added     int64  `json:"added"`
	Changed   int64  `json:"changed"`
	Removed   int64  `json:"removed"`
	Unchanged int64  `json:"unchanged"`
	Before    int64  `json:"rowsBefore"`
	After     int64  `json:"rowsAfter"`
}

// EventError says why an export failed, as the job's own page does.
type EventError struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

// Encode gives the bytes to sign and send. The error is that of Params.
func (e Event) Encode() ([]byte, error) {
	e.Timestamp = e.Timestamp.UTC()
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode callback body: %w", err)
	}
	return body, nil
}

// PingJobID is the job id of every test event; no job has it.
const PingJobID = "pingpingpingpingpingpingpi"

// Ping sends a signed test event once, through the same checks as a callback. Of d it needs URL, AllowedHosts
// and Secrets. The webhook-id is new each time. Whoever offers it to callers must bound how often they may
// ask: 5 a minute for each tenant.
func Ping(ctx context.Context, s *Sender, d Delivery) Attempt {
	now := s.cfg.Now()
	body, err := Event{Type: EventPing, Timestamp: now, Data: EventData{JobID: PingJobID, Kind: "vip-users", State: "succeeded", Params: struct{}{}}}.Encode()
	if err != nil {
		return Attempt{StartedAt: now, Class: ClassInternalError, Err: err}
	}
	d.ID, d.Timestamp, d.Body = "msg_ping_"+rand.Text(), now, body
	return s.Send(ctx, d)
}

// KeySecrets are the secrets that sign the callbacks of a key: its own webhook secrets, the current one
// first, or, when it has none, those derived from its API secrets. Either list has two entries during a
// rotation. ErrSecret or ErrNoSecret if there is no usable one.
func KeySecrets(webhookSecrets, apiSecrets []string) ([]Secret, error) {
	from, parse := webhookSecrets, ParseSecret
	if len(from) == 0 {
		from, parse = apiSecrets, DeriveSecret
	}
	if len(from) == 0 {
		return nil, ErrNoSecret
	}
	secrets := make([]Secret, 0, maxSecrets)
	for _, text := range from[:min(len(from), maxSecrets)] {
		secret, err := parse(text)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}
