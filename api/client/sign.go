package client

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Sign returns version 1 of the signature: HMAC-SHA256 of the exact bytes of a date, keyed by secret, in
// lower-case hex.
func Sign(secret, date string) string { return hex.EncodeToString(mac([]byte(secret), date)) }

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

const dateLayout = "2006-01-02T15:04:05.000Z07:00"

// SetSignature puts the three headers of version 1 into h, as of now. They work for about a minute, for any
// request.
func SetSignature(h http.Header, key, secret string, now time.Time) {
	date := now.UTC().Format(dateLayout)
	h.Set("X-Api-Key", key)
	h.Set("X-Date", date)
	h.Set("X-Signature", Sign(secret, date))
}

// SetSignature2 puts the headers of version 2 on r, as of now: they work for about a minute, for this request
// with this body, once.
func SetSignature2(r *http.Request, body []byte, key, secret string, now time.Time) {
	r.Header.Set("X-Api-Key", key)
	r.Header.Set("X-Date", now.UTC().Format(dateLayout))
	r.Header.Set("X-Nonce", rand.Text())
	r.Header.Set("X-Signature-Version", "2")
	r.Header.Set("X-Signature", sign2(r, body, secret))
}

// sign2 signs what r asks for, where, when, and once: the headers are in place. The pairs of the query are
// sorted, because proxies reorder them.
func sign2(r *http.Request, body []byte, secret string) string {
	sum := sha256.Sum256(body)
	content := hex.EncodeToString(sum[:])
	r.Header.Set("X-Content-Sha256", content)
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	pairs := strings.Split(r.URL.RawQuery, "&")
	slices.Sort(pairs)
	text := strings.Join([]string{
		"EXPORT-HMAC-V2", r.Header.Get("X-Api-Key"), r.Header.Get("X-Date"), r.Header.Get("X-Nonce"),
		r.Method, strings.ToLower(host), r.URL.EscapedPath(), strings.Join(pairs, "&"), content,
	}, "\n")
	// A key of its own, so that a signature of one version is never one of the other.
	return hex.EncodeToString(mac(mac([]byte(secret), "export-api/request-signing/v2"), text))
}

// signer signs each request as it goes out: one that is tried again is signed again.
type signer struct {
	key, secret, userAgent string
	version                int
	now                    func() time.Time
	next                   http.RoundTripper
}

func (s *signer) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if s.version == 2 && r.GetBody != nil {
		b, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		defer b.Close()
		if body, err = io.ReadAll(b); err != nil {
			return nil, fmt.Errorf("read body to sign: %w", err)
		}
	}
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", s.userAgent)
	if s.version == 2 {
		SetSignature2(r, body, s.key, s.secret, s.now())
	} else {
		SetSignature(r.Header, s.key, s.secret, s.now())
	}
	return s.next.RoundTrip(r)
}
