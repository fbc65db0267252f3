package console

import (
	"encoding/base64"
	"encoding/json"
	"errors"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// Browsers bring back what they can neither read nor change: a session, the token of a form, the way to a
// provider, a link that signs in. Each is sealed for what it is, and opens as that alone.

// maxSealed bounds a text that is looked at: ours have some 400 bytes, and browsers keep cookies of 4 KiB.
const maxSealed = 4 << 10

// sealed is a value as a text that goes into cookies, forms and links.
func sealed(by *apikey.Sealer, purpose string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	closed, err := by.SealText(purpose, plain)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(closed), nil
}

// unsealed reads what sealed has made for the purpose: errOut if the text is not that, jobs.ErrUnavailable
// while the keyset is not open, when nobody can tell.
func (c *Console) unsealed(purpose, text string, v any) error {
	if len(text) > maxSealed {
		return errOut
	}
	closed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return errOut
	}
	plain, err := c.sealer.OpenText(purpose, closed)
	switch {
	case errors.Is(err, jobs.ErrUnavailable):
		return err
	case err != nil || json.Unmarshal(plain, v) != nil:
		return errOut
	}
	return nil
}
