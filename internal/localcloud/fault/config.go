package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// Config says what goes wrong. The zero Config is a cloud without faults.
type Config struct {
	// Seed decides, with the method and the number of the call, the fate of each call. The same seed gives
	// the n-th call of a method the same fate in every run.
	Seed uint64 `json:"seed"`
	// Rules by method: "Firestore/Commit" before "Firestore/*" before "*". Only the most specific rule
	// applies. Services are Firestore, Publisher, Subscriber and Storage; the methods of Storage are listed
	// at StorageMethod.
	Rules map[string]Rule `json:"rules,omitempty"`
}

// Rule is the fate of the calls of a method. Rates are probabilities from 0 to 1, drawn for each call or,
// where the field says so, for each message.
type Rule struct {
	// ErrorRate: the call is answered with Code and nothing is done.
	ErrorRate float64 `json:"errorRate,omitempty"`
	// LostRate: the work is done and the answer lost: Code for gRPC, a broken connection for HTTP.
	LostRate float64 `json:"lostRate,omitempty"`
	// Code is a canonical gRPC code such as "UNAVAILABLE" (the default), "ABORTED" or "RESOURCE_EXHAUSTED".
	// For HTTP, RESOURCE_EXHAUSTED is 429 and anything else 503.
	Code string `json:"code,omitempty"`
	// CutRate: the stream breaks with Code after CutAfter messages, or the HTTP body (of the request for
	// uploads, of the answer otherwise) and its connection after CutAfter bytes.
	CutRate  float64 `json:"cutRate,omitempty"`
	CutAfter int     `json:"cutAfter,omitempty"`
	// DelayRate: DelayMS milliseconds pass before the call or, on a stream, before a message is sent.
	DelayRate float64 `json:"delayRate,omitempty"`
	DelayMS   int     `json:"delayMs,omitempty"`
	// DropRate and DoubleRate are for each Pub/Sub message, published or delivered. A dropped published
	// message is answered for as if it had been taken; a dropped delivery comes back when its lease ends.
	DropRate   float64 `json:"dropRate,omitempty"`
	DoubleRate float64 `json:"doubleRate,omitempty"`
	// LatencyMS passes before the first message of each server stream: the round trip that loopback does not
	// have.
	LatencyMS int `json:"latencyMs,omitempty"`
	// RowsPerSecond limits the documents sent on each server stream; 0 is unlimited.
	RowsPerSecond float64 `json:"rowsPerSecond,omitempty"`
}

// maxDelay bounds delays so that a slip of the keyboard does not look like a hang.
const maxDelay = 10 * time.Minute

func (r Rule) validate() error {
	rates := map[string]float64{
		"errorRate": r.ErrorRate, "lostRate": r.LostRate, "cutRate": r.CutRate,
		"delayRate": r.DelayRate, "dropRate": r.DropRate, "doubleRate": r.DoubleRate,
	}
	for _, name := range slices.Sorted(maps.Keys(rates)) {
		if v := rates[name]; !(v >= 0 && v <= 1) {
			return fmt.Errorf("%s is 0 to 1, not %v", name, v)
		}
	}
	limit := int(maxDelay / time.Millisecond)
	if r.DelayMS < 0 || r.DelayMS > limit || r.LatencyMS < 0 || r.LatencyMS > limit {
		return fmt.Errorf("delayMs and latencyMs are 0 to %d", limit)
	}
	if r.CutAfter < 0 || !(r.RowsPerSecond >= 0) {
		return errors.New("cutAfter and rowsPerSecond must not be negative")
	}
	_, err := r.code()
	return err
}

func (r Rule) code() (codes.Code, error) {
	if r.Code == "" {
		return codes.Unavailable, nil
	}
	var c codes.Code
	quoted, err := json.Marshal(r.Code)
	if err != nil {
		return 0, err
	}
	if err := c.UnmarshalJSON(quoted); err != nil || c == codes.OK {
		return 0, fmt.Errorf("code %q is not the name of an error code", r.Code)
	}
	return c, nil
}

// rule is a Rule with its code looked up.
type rule struct {
	Rule
	status codes.Code
}

// rules is a Config ready for use; it is never changed.
type rules struct {
	config Config
	byName map[string]*rule
}

func compile(c Config) (*rules, error) {
	out := &rules{config: c, byName: make(map[string]*rule, len(c.Rules))}
	out.config.Rules = maps.Clone(c.Rules)
	for _, name := range slices.Sorted(maps.Keys(c.Rules)) {
		if service, method, ok := strings.Cut(name, "/"); name != "*" && (!ok || service == "" || method == "" || strings.Contains(method, "/")) {
			return nil, fmt.Errorf("rule %q: the name is \"Service/Method\", \"Service/*\" or \"*\"", name)
		}
		r := c.Rules[name]
		if err := r.validate(); err != nil {
			return nil, fmt.Errorf("rule %q: %w", name, err)
		}
		code, err := r.code()
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", name, err)
		}
		out.byName[name] = &rule{Rule: r, status: code}
	}
	return out, nil
}

// find returns the rule for "Service/Method", or nil.
func (rs *rules) find(name string) *rule {
	if len(rs.byName) == 0 {
		return nil
	}
	if r := rs.byName[name]; r != nil {
		return r
	}
	service, _, _ := strings.Cut(name, "/")
	if r := rs.byName[service+"/*"]; r != nil {
		return r
	}
	return rs.byName["*"]
}
