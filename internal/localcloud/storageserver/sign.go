package storageserver

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// signer holds the server's own account, whose key signs URLs and verifies them, and the keys of accounts
// that sign by themselves.
type signer struct {
	key      *rsa.PrivateKey
	accounts map[string][]*rsa.PublicKey // by address; others are taken for the server's own
	now      func() time.Time
}

const (
	signAlgorithm  = "GOOG4-RSA-SHA256"
	signScope      = "/auto/storage/goog4_request"
	signTime       = "20060102T150405Z"
	maxSignSeconds = 7 * 24 * 60 * 60
	// maxClockSkew is how far ahead the signer's clock may be.
	maxClockSkew = 15 * time.Minute
	// maxBlobBytes bounds what is signed; a URL's string to sign is about 150 bytes.
	maxBlobBytes = 64 << 10
)

// openSigner reads the key, which is made once, so that URLs outlive a restart.
func openSigner(path string) (*signer, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return createSigner(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	key, err := parseKey(raw)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %s %w; remove it to have a new key made", path, err)
	}
	return &signer{key: key, now: time.Now}, nil
}

func newSigner() (*signer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	return &signer{key: key, now: time.Now}, nil
}

func createSigner(path string) (*signer, error) {
	made, err := newSigner()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(made.key)
	if err != nil {
		return nil, fmt.Errorf("make signing key: %w", err)
	}
	// A kill in the middle must not leave half a key, so it gets its name when it is whole.
	tmp := path + ".new"
	if err := os.WriteFile(tmp, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, fmt.Errorf("write signing key: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, fmt.Errorf("write signing key: %w", err)
	}
	return made, nil
}

// signBlob stands for the IAM Credentials method of that name, with the same bodies: base64 in "payload", the
// RSA-SHA256 signature of the bytes in "signedBlob".
func (s *Server) signBlob(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return errNotImplemented
	}
	var req struct {
		Payload []byte `json:"payload"`
	}
	if err := decodeJSON(w, r, &req); err != nil {
		return err
	}
	if len(req.Payload) == 0 || len(req.Payload) > maxBlobBytes {
		return badRequest("The payload must have 1 to %d bytes.", maxBlobBytes)
	}
	sum := sha256.Sum256(req.Payload)
	sig, err := rsa.SignPKCS1v15(rand.Reader, s.signer.key, crypto.SHA256, sum[:])
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	writeJSON(w, http.StatusOK, map[string]any{"keyId": "embedded", "signedBlob": sig})
	return nil
}

func denied(code, format string, args ...any) error {
	return &apiError{http.StatusForbidden, code, fmt.Sprintf(format, args...)}
}

// verify holds a V4 signed URL against the key. It rebuilds what was signed from the request as it came:
// method, path, every query parameter, the host and the other signed headers.
// https://cloud.google.com/storage/docs/authentication/canonical-requests
func (k *signer) verify(r *http.Request) error {
	q := r.URL.Query()
	for name, values := range q {
		if len(values) > 1 && strings.HasPrefix(name, "X-Goog-") {
			return denied("SignatureDoesNotMatch", "%s is given twice.", name)
		}
	}
	date := q.Get("X-Goog-Date")
	signed, err := time.Parse(signTime, date)
	seconds, errSeconds := strconv.Atoi(q.Get("X-Goog-Expires"))
	account, scope, ok := strings.Cut(q.Get("X-Goog-Credential"), "/")
	if err != nil || errSeconds != nil || !ok || q.Get("X-Goog-Algorithm") != signAlgorithm || scope != date[:8]+signScope ||
		seconds < 1 || seconds > maxSignSeconds {
		return denied("AuthenticationQueryParametersError", "The signature's query parameters are not well formed.")
	}
	now := k.now()
	if end := signed.Add(time.Duration(seconds) * time.Second); now.After(end) {
		return denied("ExpiredToken", "The provided token has expired. Request signature expired at: %s", end.Format(time.RFC3339))
	}
	if signed.After(now.Add(maxClockSkew)) {
		return denied("AccessDenied", "The request is signed for a later time.")
	}
	sig, err := hex.DecodeString(q.Get("X-Goog-Signature"))
	if err != nil {
		return denied("SignatureDoesNotMatch", "The signature is not well formed.")
	}
	// Google's clients sign the host without its port, as it has none in production; others sign what they
	// send.
	hosts := []string{r.Host}
	if name, _, err := net.SplitHostPort(r.Host); err == nil {
		hosts = []string{name, r.Host}
	}
	for _, host := range hosts {
		canonical, err := canonicalRequest(r, q, host)
		if err != nil {
			return err
		}
		inner := sha256.Sum256([]byte(canonical))
		sum := sha256.Sum256([]byte(strings.Join([]string{signAlgorithm, date, scope, hex.EncodeToString(inner[:])}, "\n")))
		for _, key := range k.keysOf(account) {
			if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig) == nil {
				return nil
			}
		}
	}
	return denied("SignatureDoesNotMatch", "Access denied. The request signature we calculated does not match the signature you provided: check the key of %s.", account)
}

func (k *signer) keysOf(account string) []*rsa.PublicKey {
	if keys := k.accounts[account]; keys != nil {
		return keys
	}
	return []*rsa.PublicKey{&k.key.PublicKey}
}

func canonicalRequest(r *http.Request, q url.Values, host string) (string, error) {
	q.Del("X-Goog-Signature")
	names := strings.Split(q.Get("X-Goog-SignedHeaders"), ";")
	if !slices.Contains(names, "host") || !slices.IsSorted(names) {
		return "", denied("AuthenticationQueryParametersError", "The signed headers must be sorted and include host.")
	}
	lines := []string{r.Method, canonicalPath(r.URL.Path), strings.ReplaceAll(q.Encode(), "+", "%20")}
	payload := "UNSIGNED-PAYLOAD"
	for _, name := range names {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			value = host
		}
		if name == "x-goog-content-sha256" {
			payload = value
		}
		lines = append(lines, name+":"+strings.Join(strings.Fields(value), " "))
	}
	lines = append(lines, "", strings.Join(names, ";"), payload)
	return strings.Join(lines, "\n"), nil
}

// canonicalPath escapes every byte but letters, digits, "-._~" and "/".
func canonicalPath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	}
	return strings.Join(segments, "/")
}
