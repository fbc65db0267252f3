package apikey

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"exportd/jobs"
)

// Names of the headers that carry a signature.
const (
	HeaderKey       = "X-Api-Key"
	HeaderDate      = "X-Date"
	HeaderSignature = "X-Signature"
)

// Window bounds server time minus x-date, both ends included.
type Window struct {
	Ahead  time.Duration // how far the caller's clock may be ahead
	Behind time.Duration // how old a signature may be
}

// noteUntil is how long a request dated at must be remembered: as long as the date is good, by the clock of
// any process.
func (w Window) noteUntil(at time.Time) time.Time { return at.Add(w.Behind + w.Ahead + 5*time.Second) }

// Remember is how long a request that arrives now must be remembered.
func (w Window) Remember(now time.Time) time.Time { return w.noteUntil(now.Add(w.Ahead)) }

// DefaultWindow is the contract's: -5 s to +60 s.
var DefaultWindow = Window{Ahead: 5 * time.Second, Behind: time.Minute}

// LookupFunc finds a key: jobs.ErrNotFound if there is none, jobs.ErrInvalid if its record makes no sense,
// jobs.ErrUnavailable if that cannot be told now.
type LookupFunc func(ctx context.Context, id string) (*Key, error)

// InForce finds a key in whose name something is to be sent. It is jobs.ErrNotFound for one that was
// disabled, as for one that is gone: whoever revokes a key wants nothing more to be sent in its name. One
// that has expired was good when it asked.
func (f LookupFunc) InForce(ctx context.Context, id string) (*Key, error) {
	k, err := f(ctx, id)
	if err == nil && k.State != Active {
		return nil, jobs.ErrNotFound
	}
	return k, err
}

// Proved are keys that have signed requests a short while ago, so that not each request reads its key.
// Requests that none of them signed are judged by a look-up, whether their key is among them or not: that a
// key is in use does not show in what a refusal costs.
type Proved interface {
	// Known is the key of that id as it was read a short while ago; nil if it is not among them.
	Known(id string) *Key
	// Prove is told of a key that has signed a request, as Lookup gave it.
	Prove(k *Key)
}

// RefusedError refuses a request's signature. Its text is fit for callers and names nothing that they gave.
type RefusedError struct {
	message string
	// OfKey says that it depends on what is known of the key: that must show in nothing, its time included.
	OfKey bool
	// Cause is for the log, and nil but for a key's record that makes no sense.
	Cause error
}

// Error says what was refused.
func (e *RefusedError) Error() string { return e.message }

// textRefused is the text of everything that depends on the key or its secret.
const textRefused = "unknown API key or wrong signature"

// Refuse gives a RefusedError whose text depends on no key.
func Refuse(text string) error { return &RefusedError{message: text} }

func refuse(format string, args ...any) error {
	return &RefusedError{message: fmt.Sprintf(format, args...)}
}

// Sign returns the signature of a date by secret: HMAC-SHA256 of the header's exact bytes, in lower-case hex.
func Sign(secret, date string) string {
	sum := mac(secret, date)
	return hex.EncodeToString(sum[:])
}

func mac(secret, date string) [sha256.Size]byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(date))
	return [sha256.Size]byte(m.Sum(nil))
}

// Verifier says which key signed a request.
type Verifier struct {
	Window Window
	Lookup LookupFunc
	// Proved spares look-ups; may be nil.
	Proved Proved
	// Nonces makes requests of version 2 one-use. Without it that version is refused.
	Nonces NonceFunc
	// PrivilegedV1 lets keys of operators, admins and the platform sign by version 1.
	PrivilegedV1 bool
}

// MinVersion is the lowest version of the signature by which a key may sign here.
func (v Verifier) MinVersion(k *Key) int {
	if k.Privileged() && !v.PrivilegedV1 {
		return 2
	}
	return max(1, k.MinVersion)
}

// Verify finds the key that signed a request. It returns a *RefusedError if none did, and the error of Lookup
// or Nonces if it could not tell. now is the server's time as the headers arrived.
func (v Verifier) Verify(ctx context.Context, r Request, now time.Time) (*Key, error) {
	c, err := parse(r)
	if err != nil {
		return nil, err
	}
	w := v.Window
	// Sub saturates: dates too far away for a Duration are outside as well.
	if age := now.Sub(c.at); age < -w.Ahead || age > w.Behind {
		return nil, refuse("x-date must be at most %g s old and %g s ahead of the server's time", w.Behind.Seconds(), w.Ahead.Seconds())
	}
	if c.version == 2 && v.Nonces == nil {
		return nil, refuse("x-signature-version 2 is not supported here")
	}
	key, err := v.signer(ctx, c, now)
	if err != nil {
		return nil, err
	}
	// From here on the caller has the secret and may be told more.
	if least := v.MinVersion(key); c.version < least {
		return nil, refuse("this API key requires x-signature-version %d", least)
	}
	if c.version == 2 || key.OneUse {
		if err := v.takeOnce(ctx, key, c); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// signer finds the key that made a signature: among those that are proved, else by a look-up.
func (v Verifier) signer(ctx context.Context, c credentials, now time.Time) (*Key, error) {
	if v.Proved != nil {
		if key := v.Proved.Known(c.keyID); c.signedBy(key, now) {
			v.Proved.Prove(key)
			return key, nil
		}
	}
	key, err := v.Lookup(ctx, c.keyID)
	var cause error
	switch {
	case errors.Is(err, jobs.ErrInvalid):
		cause = err
	case err != nil && !errors.Is(err, jobs.ErrNotFound):
		return nil, fmt.Errorf("look up API key: %w", err)
	}
	if !c.signedBy(key, now) {
		return nil, &RefusedError{message: textRefused, OfKey: true, Cause: cause}
	}
	if v.Proved != nil {
		v.Proved.Prove(key)
	}
	return key, nil
}

// Again judges a request once more that Verify has taken: whether its key, and the secret that signed it,
// hold at now. The age of the date and the nonce have been judged.
func (v Verifier) Again(ctx context.Context, r Request, now time.Time) (*Key, error) {
	c, err := parse(r)
	if err != nil {
		return nil, err
	}
	key, err := v.Lookup(ctx, c.keyID)
	if err != nil && !errors.Is(err, jobs.ErrNotFound) && !errors.Is(err, jobs.ErrInvalid) {
		return nil, fmt.Errorf("look up API key: %w", err)
	}
	if !c.signedBy(key, now) {
		return nil, refuse(textRefused)
	}
	return key, nil
}

// takeOnce notes what is new in each request: the nonce, or of version 1 the signature. A signature has a ":"
// before it, which no nonce has.
func (v Verifier) takeOnce(ctx context.Context, key *Key, c credentials) error {
	what, text := "x-nonce", c.nonce
	if c.version == 1 {
		what, text = "x-signature", ":"+hex.EncodeToString(c.signature[:])
	}
	if v.Nonces == nil {
		return refuse("this API key takes each x-signature once, which is not supported here")
	}
	err := v.Nonces(ctx, key.ID, text, v.Window.noteUntil(c.at))
	if errors.Is(err, ErrNonceUsed) {
		return refuse("%s was used before", what)
	}
	return err
}

// credentials are the headers, well-formed.
type credentials struct {
	version   int
	keyID     string
	nonce     string // version 2
	text      string // what is signed
	date      string // as it was sent
	at        time.Time
	signature [sha256.Size]byte
}

// datePattern is narrower than time.Parse, which also takes a comma, one-digit hours and offsets of 24 h;
// what several parsers might read differently is refused.
var datePattern = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// VersionOf is the version by which a request that Verify took was signed.
func VersionOf(h http.Header) int {
	if h.Get(HeaderVersion) == "2" {
		return 2
	}
	return 1
}

func parse(r Request) (credentials, error) {
	c := credentials{version: 1}
	var signature, version string
	for _, f := range []struct {
		name string
		to   *string
	}{{HeaderKey, &c.keyID}, {HeaderDate, &c.date}, {HeaderSignature, &signature}} {
		if err := single(r.Header, f.name, f.to); err != nil {
			return c, err
		}
	}
	if len(r.Header.Values(HeaderVersion)) > 0 {
		if err := single(r.Header, HeaderVersion, &version); err != nil {
			return c, err
		}
		if version != "1" && version != "2" {
			return c, refuse("header x-signature-version must be 1 or 2")
		}
		c.version = int(version[0] - '0')
	}
	if !ValidID(c.keyID) {
		return c, refuse("header x-api-key must be 8 to 64 of A-Z a-z 0-9 _ -")
	}
	if !isLowerHex(signature) || hex.DecodedLen(len(signature)) != sha256.Size {
		return c, refuse("header x-signature must be 64 lower-case hex digits")
	}
	_, _ = hex.Decode(c.signature[:], []byte(signature)) // all digits, right length
	var err error
	if c.at, err = time.Parse(time.RFC3339Nano, c.date); err != nil || !datePattern.MatchString(c.date) {
		return c, refuse("header x-date must be an ISO 8601 date-time with seconds and Z or an offset, like 2026-01-02T03:04:05.678Z")
	}
	c.text = c.date
	if c.version == 2 {
		err = c.parseV2(r)
	}
	return c, err
}

// single reads a header that must be there once: of two, a proxy may read another one than we do.
func single(h http.Header, name string, to *string) error {
	switch v := h.Values(name); len(v) {
	case 0:
		return refuse("header %s is required", strings.ToLower(name))
	case 1:
		*to = v[0]
		return nil
	}
	return refuse("header %s must be given once", strings.ToLower(name))
}

// isLowerHex refuses upper case, which hex.Decode takes.
func isLowerHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s)%2 == 0
}

// dummySecret stands in for secrets that are not there, so that the work is the same. A signature by it is
// refused like any other: knowing it is of no use.
const dummySecret = "a secret that no key has, 256 bits"

// signedBy reports whether one of key's secrets made the signature and the key may be used. It does the same
// work for every key, nil as well.
func (c credentials) signedBy(key *Key, now time.Time) bool {
	var candidates [maxSecrets]struct {
		secret string
		real   int
	}
	for i := range candidates {
		candidates[i].secret = dummySecret
		if key != nil && i < len(key.Secrets) && key.Secrets[i].usable(now) {
			candidates[i].secret, candidates[i].real = key.Secrets[i].Secret.Reveal(), 1
		}
	}
	match := 0
	sign := mac
	if c.version == 2 {
		sign = macV2
	}
	for _, s := range candidates {
		sum := sign(s.secret, c.text)
		match |= subtle.ConstantTimeCompare(sum[:], c.signature[:]) & s.real
	}
	return match == 1 && key.Usable(now)
}
