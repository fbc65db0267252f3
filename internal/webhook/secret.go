package webhook

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Names of the headers of Standard Webhooks.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

const (
	secretPrefix = "whsec_"
	// MinSecretBytes and MaxSecretBytes are the bounds of the specification for symmetric keys.
	MinSecretBytes, MaxSecretBytes = 24, 64
	// derivedBytes is the size of SHA-256's output: more adds nothing to an HMAC.
	derivedBytes = 32
	// deriveInfo separates callback secrets from every other use of an API secret.
	deriveInfo = "callback/v1"
	maxIDBytes = 128
	// maxSecrets is the current secret and the one being rotated out.
	maxSecrets = 2
)

// Errors of signing. None of them holds any part of a secret.
var (
	ErrSecret    = errors.New("webhook secret must be whsec_ and base64 of 24 to 64 bytes")
	ErrMessageID = errors.New("webhook id must be 1 to 128 characters of A-Z a-z 0-9 _ -")
	ErrNoSecret  = errors.New("signing needs one or two webhook secrets")
)

// Secret is a symmetric signing key. Every usual way to print, encode or log it gives "[redacted]"; only
// Reveal shows it. The zero value signs nothing.
type Secret struct {
	// A pointer, because fmt calls no methods on unexported fields of other structs: there it prints an
	// address.
	key *string
}

func secretOf(key []byte) Secret {
	s := string(key)
	return Secret{key: &s}
}

// ParseSecret reads the form that customers see: "whsec_" and padded standard base64 of 24 to 64 bytes.
func ParseSecret(s string) (Secret, error) {
	encoded, ok := strings.CutPrefix(s, secretPrefix)
	if !ok {
		return Secret{}, ErrSecret
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) < MinSecretBytes || len(key) > MaxSecretBytes {
		return Secret{}, ErrSecret // the cause would quote the input
	}
	secret := secretOf(key)
	if secret.Reveal() != s {
		return Secret{}, ErrSecret // DecodeString skips line ends
	}
	return secret, nil
}

// DeriveSecret makes the callback secret of a key that has none of its own, from its API secret: HKDF-SHA256,
// no salt, info "callback/v1", 32 bytes. The API secret itself must not sign callbacks: a receiver that knows
// it, often a third party, could then sign API requests.
func DeriveSecret(apiSecret string) (Secret, error) {
	if apiSecret == "" {
		return Secret{}, ErrNoSecret
	}
	key, err := hkdf.Key(sha256.New, []byte(apiSecret), nil, deriveInfo, derivedBytes)
	if err != nil {
		return Secret{}, fmt.Errorf("derive webhook secret: %w", err)
	}
	return secretOf(key), nil
}

// Reveal returns the "whsec_" form, for showing it once to its owner and for sealing it at rest; "" for the
// zero value.
func (s Secret) Reveal() string {
	if s.key == nil {
		return ""
	}
	return secretPrefix + base64.StdEncoding.EncodeToString([]byte(*s.key))
}

const redacted = "[redacted]"

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// Format writes "[redacted]" for every verb, %d and %x too.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[redacted]"; encoding/json uses it too.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// ValidID reports whether id can be a webhook-id. A full stop is not allowed: it separates the fields of what
// is signed.
func ValidID(id string) bool {
	if id == "" || len(id) > maxIDBytes {
		return false
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; !isAlphaNum(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Sign returns the value of the webhook-signature header: one "v1," signature of "id.timestamp.body" for each
// secret, the current one first, separated by spaces. Two secrets are for rotation: a receiver that holds
// either verifies. The timestamp is signed in whole seconds.
func Sign(id string, at time.Time, body []byte, secrets ...Secret) (string, error) {
	if !ValidID(id) {
		return "", ErrMessageID
	}
	if len(secrets) == 0 || len(secrets) > maxSecrets {
		return "", ErrNoSecret
	}
	signatures := make([]string, len(secrets))
	for i, s := range secrets {
		if s.key == nil {
			return "", ErrNoSecret
		}
		mac := hmac.New(sha256.New, []byte(*s.key))
		mac.Write([]byte(id + "." + unixSeconds(at) + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " "), nil
}

func unixSeconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
