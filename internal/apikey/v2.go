package apikey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Headers of version 2 of the signature, which a request has besides the other three.
const (
	HeaderVersion = "X-Signature-Version"
	HeaderNonce   = "X-Nonce"
	HeaderContent = "X-Content-Sha256"
)

const (
	// v2Context makes the key of version 2 of a secret, so that a signature of one version is never one of
	// the other.
	v2Context = "export-api/request-signing/v2"
	v2Label   = "EXPORT-HMAC-V2"
)

// Request is what of a request can be signed.
type Request struct {
	Header http.Header
	Method string
	Host   string // with its port, as in the Host header
	Path   string // escaped, as it was sent
	Query  string // raw, as it was sent
	Body   []byte
}

// RequestOf takes from an incoming request what was signed; body is its body, read whole.
func RequestOf(r *http.Request, body []byte) Request {
	return Request{r.Header, r.Method, r.Host, r.URL.EscapedPath(), r.URL.RawQuery, body}
}

// ReplayID is the same for exact duplicates of a request of version 1, and only for them: same key, signature
// (and so date), method, path, query and body. It is empty for version 2, of which Verify takes no
// duplicates. Only of use once Verify has taken the request.
func (r Request) ReplayID() string {
	if r.Header.Get(HeaderVersion) == "2" {
		return ""
	}
	return contentSum([]byte(strings.Join([]string{
		r.Header.Get(HeaderKey), r.Header.Get(HeaderSignature), r.Method, r.Path, r.Query, contentSum(r.Body),
	}, "\n")))
}

// StringToSign binds a request of version 2: what it asks for, where, when, and once. The pairs of the query
// are sorted by byte, because clients and proxies reorder them.
func (r Request) StringToSign(keyID, date, nonce string) string {
	pairs := strings.Split(r.Query, "&")
	slices.Sort(pairs)
	return strings.Join([]string{
		v2Label, keyID, date, nonce, r.Method, strings.ToLower(r.Host), r.Path, strings.Join(pairs, "&"), contentSum(r.Body),
	}, "\n")
}

func contentSum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// SignV2 returns the signature of version 2 of a request.
func SignV2(secret string, r Request, keyID, date, nonce string) string {
	sum := macV2(secret, r.StringToSign(keyID, date, nonce))
	return hex.EncodeToString(sum[:])
}

func macV2(secret, text string) [sha256.Size]byte {
	key := mac(secret, v2Context)
	return mac(string(key[:]), text)
}

// SignRequest puts the headers of version 2 on an outgoing request, with a nonce of its own; body is what
// will be sent.
func SignRequest(r *http.Request, keyID, secret string, body []byte, now time.Time) {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	date, nonce := now.UTC().Format("2006-01-02T15:04:05.000Z"), rand.Text()
	for name, value := range map[string]string{
		HeaderKey: keyID, HeaderDate: date, HeaderVersion: "2", HeaderNonce: nonce, HeaderContent: contentSum(body),
		HeaderSignature: SignV2(secret, Request{Method: r.Method, Host: host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Body: body}, keyID, date, nonce),
	} {
		r.Header.Set(name, value)
	}
}

// parseV2 reads what version 2 has besides, and judges all of it that needs no key.
func (c *credentials) parseV2(r Request) error {
	var sum string
	for _, f := range []struct {
		name string
		to   *string
	}{{HeaderNonce, &c.nonce}, {HeaderContent, &sum}} {
		if err := single(r.Header, f.name, f.to); err != nil {
			return err
		}
	}
	if !validNonce(c.nonce) {
		return refuse("header x-nonce must be 22 to 64 of A-Z a-z 0-9 _ -: 128 random bits or more, new for each request")
	}
	if sum != contentSum(r.Body) {
		return refuse("header x-content-sha256 must be the SHA-256 of the body in lower-case hex")
	}
	c.text = r.StringToSign(c.keyID, c.date, c.nonce)
	return nil
}

func validNonce(s string) bool {
	return len(s) >= 22 && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

// ErrNonceUsed means that a nonce was used before by the same key.
var ErrNonceUsed = errors.New("nonce was used before")

// NonceFunc notes that a key used a nonce; it must be remembered until a moment, over all processes.
// ErrNonceUsed if it was noted before; jobs.ErrUnavailable if that cannot be told.
type NonceFunc func(ctx context.Context, keyID, nonce string, until time.Time) error

// nonceCollection holds used nonces. A TTL policy on expiresAt should delete them; Run does where there is
// none.
const nonceCollection = "ExportNonces"

// nonce is a document of nonceCollection.
type nonce struct {
	ExpiresAt time.Time `firestore:"expiresAt"`
}

// nonceDoc is where it stands that a key used a nonce.
func (s *Store) nonceDoc(keyID, text string) *firestore.DocumentRef {
	sum := sha256.Sum256([]byte(keyID + "\x00" + text))
	return s.client.Collection(nonceCollection).Doc(hex.EncodeToString(sum[:]))
}

// UseNonce is a NonceFunc. When the answer of Firestore is lost, a nonce may be refused that was noted for
// the same request: the caller's next try has another.
func (s *Store) UseNonce(ctx context.Context, keyID, text string, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	_, err := s.nonceDoc(keyID, text).Create(ctx, nonce{until})
	if status.Code(err) == codes.AlreadyExists {
		return ErrNonceUsed
	}
	if err != nil {
		return fmt.Errorf("note nonce: %w", classify(err))
	}
	return nil
}
