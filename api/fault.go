package api

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// fault is one thing that is wrong with a request, in the form that Joi gives it.
type fault struct {
	Message string         `json:"message"`
	Path    []string       `json:"path"`
	Type    string         `json:"type"`
	Context map[string]any `json:"context"`
}

// Types of faults. The values are part of the API.
const (
	typeRequired = "any.required"
	typeOnly     = "any.only"
	typeUnknown  = "any.unknown"
	typeEmpty    = "string.empty"
	typeMax      = "string.max"
	typeURI      = "string.uri"
	typeNumber   = "number.base"
	typeInteger  = "number.integer"
	typeNumMin   = "number.min"
	typeNumMax   = "number.max"
	typeBoolean  = "boolean.base"
	typeDate     = "date.format"
	typeGreater  = "date.greater"
	typeRange    = "date.range"
)

// invalidError refuses a request for its faults; answered with 422.
type invalidError struct{ faults []fault }

func (e *invalidError) Error() string {
	texts := make([]string, len(e.faults))
	for i, f := range e.faults {
		texts[i] = f.Message
	}
	return strings.Join(texts, "; ")
}

func invalid(name, kind string, context map[string]any, format string, args ...any) error {
	return &invalidError{[]fault{newFault(name, kind, context, format, args...)}}
}

// newFault makes a fault of the parameter name; the message begins with the name in quotes.
func newFault(name, kind string, context map[string]any, format string, args ...any) fault {
	label := shorten(name)
	if context == nil {
		context = map[string]any{}
	}
	context["label"], context["key"] = label, label
	if v, ok := context["value"].(string); ok {
		context["value"] = shorten(v)
	}
	return fault{Message: `"` + label + `" ` + fmt.Sprintf(format, args...), Path: []string{label}, Type: kind, Context: context}
}

// maxEcho is how many bytes of what a caller gave are repeated to them: enough to find it, and an answer
// stays about as small as its request.
const maxEcho = 64

func shorten(s string) string {
	if len(s) <= maxEcho {
		return s
	}
	s = s[:maxEcho]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}
