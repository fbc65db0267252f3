package jobs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Queue names a queue of messages.
type Queue string

// The queues. Dead holds messages that no code could handle.
const (
	QueueExports   Queue = "exports"
	QueueParts     Queue = "parts"
	QueueCallbacks Queue = "callbacks"
	QueueDead      Queue = "dead"
)

// Queues lists the queues that workers take from.
var Queues = []Queue{QueueExports, QueueParts, QueueCallbacks}

// Message says: look at this document. It carries no state, so a lost, doubled or late one does no harm.
type Message struct {
	JobID string `json:"jobId"`
	// PlanEpoch and Part name a part; PlanEpoch is 0 for a job's own message.
	PlanEpoch int64 `json:"planEpoch,omitempty"`
	Part      int   `json:"part,omitempty"`
	// CallbackID names a callback.
	CallbackID string `json:"callbackId,omitempty"`
}

// maxMessage bounds what is parsed: a real message has about 100 bytes.
const maxMessage = 1024

// Encode gives the wire form, JSON.
func (m Message) Encode() []byte {
	b, _ := json.Marshal(m) // strings and ints always marshal
	return b
}

// ParseMessage reads a message. Unknown fields, names that no document has, and anything behind the JSON
// object are an ErrInvalid.
func ParseMessage(data []byte) (Message, error) {
	if len(data) > maxMessage {
		return Message{}, fmt.Errorf("message of %d bytes: %w", len(data), ErrInvalid)
	}
	var m Message
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return Message{}, fmt.Errorf("message is not JSON of the known form: %w", ErrInvalid)
	}
	if _, err := d.Token(); err != io.EOF {
		return Message{}, fmt.Errorf("message goes on after its JSON: %w", ErrInvalid)
	}
	if !ValidID(m.JobID) || m.PlanEpoch < 0 || m.Part < 0 || m.Part > 0 && m.PlanEpoch == 0 || m.CallbackID != "" && !ValidCallbackID(m.CallbackID) {
		return Message{}, fmt.Errorf("message names no document: %w", ErrInvalid)
	}
	return m, nil
}

// PulledMessage is a message as it was pulled from a queue.
type PulledMessage struct {
	Data []byte
	// Receipt is what the queue knows this delivery by, until it is acknowledged or given back.
	Receipt string
	// Published is when it was published; zero where the queue does not know.
	Published time.Time
	// Trace is that of who notified, as Job.Trace, or whatever else anybody put there.
	Trace string
}
