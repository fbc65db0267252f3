package apikey

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is the text that a caller signs with. Every usual way to print, encode or log it gives "[redacted]";
// only Reveal shows it. The zero value is no secret.
type Secret struct {
	// A pointer, because fmt calls no methods on unexported fields of other structs: there it prints an
	// address.
	text *string
}

// NewSecret wraps text; an empty text gives the zero value.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text, "" for the zero value.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.text == nil }

const redacted = "[redacted]"

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// Format writes "[redacted]" for every verb, %d and %x too.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[redacted]"; encoding/json uses it too.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
