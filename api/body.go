package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"unicode/utf8"
)

// maxReason is the longest reason, in characters.
const maxReason = 500

// body reads a JSON object as params reads a query, and collects faults the same way.
type body struct {
	params
	fields map[string]json.RawMessage
}

// readBody parses the body: one JSON object, or nothing. limit has bounded it.
func readBody(r *http.Request) (*body, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	b := &body{fields: map[string]json.RawMessage{}}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the body could not be read")
	}
	if raw = bytes.TrimSpace(raw); len(raw) == 0 {
		return b, nil
	}
	if !utf8.Valid(raw) || raw[0] != '{' || json.Unmarshal(raw, &b.fields) != nil {
		return nil, refuse(http.StatusBadRequest, "the body must be a JSON object")
	}
	if len(b.fields) > maxParams {
		return nil, refuse(http.StatusBadRequest, fmt.Sprintf("at most %d fields are read, and there are %d", maxParams, len(b.fields)))
	}
	b.read()
	return b, nil
}

// read makes parameters of the fields.
func (b *body) read() {
	b.values = make(map[string][]string, len(b.fields))
	for name, value := range b.fields {
		var text string
		if bytes.Equal(value, []byte("null")) {
			continue // the same as leaving it out
		}
		if json.Unmarshal(value, &text) != nil {
			text = string(value) // for the fault that text gives
		}
		b.values[name] = []string{text}
	}
}

// readReason reads a body that says why and nothing else.
func readReason(r *http.Request) (string, error) {
	b, err := readBody(r)
	if err != nil {
		return "", err
	}
	return b.reason(true), b.finish()
}

// reason reads why somebody does something: required from operators.
func (b *body) reason(required bool) string {
	const name = "reason"
	if v, ok := b.fields[name]; ok && v[0] != '"' && b.values[name] != nil {
		b.allowed = append(b.allowed, name)
		b.fault(name, typeOnly, map[string]any{"value": string(v)}, "must be a string")
		return ""
	}
	v := b.text(name, required)
	if utf8.RuneCountInString(v) > maxReason {
		b.fault(name, typeMax, map[string]any{"value": v, "limit": maxReason}, "length must be less than or equal to %d characters long", maxReason)
	}
	return v
}

// finish refuses what is faulty or unknown; null is not a way around that.
func (b *body) finish() error {
	for name := range b.fields {
		if b.values[name] == nil && !slices.Contains(b.allowed, name) {
			b.values[name] = []string{"null"}
		}
	}
	return b.params.finish()
}

// list reads an array of strings.
func (b *body) list(name string) []string {
	raw, ok := b.fields[name]
	b.allowed = append(b.allowed, name)
	if !ok {
		return nil
	}
	var out []string
	if json.Unmarshal(raw, &out) != nil || len(out) > maxKeyList {
		b.fault(name, typeOnly, map[string]any{"value": string(raw), "limit": maxKeyList}, "must be an array of at most %d strings", maxKeyList)
	}
	return out
}

// object reads a required object of the body; faults in it get its name as prefix.
func (b *body) object(name string, read func(*params)) {
	raw, ok := b.fields[name]
	b.allowed = append(b.allowed, name)
	if !ok {
		b.fault(name, typeRequired, nil, "is required")
		return
	}
	inner := body{fields: map[string]json.RawMessage{}}
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &inner.fields) != nil || len(inner.fields) > maxParams {
		b.fault(name, typeOnly, map[string]any{"value": string(raw)}, "must be an object")
		return
	}
	inner.read()
	read(&inner.params)
	_ = inner.finish() // its faults are taken over
	for _, fault := range inner.faults {
		fault.Path = append([]string{name}, fault.Path...)
		b.faults = append(b.faults, fault)
	}
}
