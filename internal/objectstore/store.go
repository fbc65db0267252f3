// Package objectstore keeps export files in Cloud Storage, through the official client, or in the embedded
// storage server when one is named.
//
// What it promises: an object is reported as written only when Storage holds the bytes that were written, by
// size and CRC32C; nothing is overwritten; a write that is aborted, or whose source fails, publishes nothing;
// every call ends, because each has a deadline and a bounded number of tries. Errors say what they mean for a
// job: see jobs.AsFailure and the sentinels here and in package jobs.
package objectstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/api/option/internaloption"
	htransport "google.golang.org/api/transport/http"

	"exportd/internal/connection"
	"exportd/internal/panics"
)

// Config says which bucket and how to reach it. Only Bucket is required.
type Config struct {
	// Bucket holds the exports. Its name is required.
	Bucket string
	// EmulatorHost is the embedded server's "host:port" or URL. Empty means what STORAGE_EMULATOR_HOST says,
	// and when that is empty too, Google's Cloud Storage with application default credentials.
	EmulatorHost string
	// SignerEmail is the service account that signs download URLs, by IAM signBlob. Empty lets the client
	// find it (service account file, impersonation, metadata server).
	SignerEmail string
	// ProjectID and Location are where Mend creates a missing bucket. Location defaults to the service's
	// default ("US"), and then any location of a bucket that is there is right.
	ProjectID, Location string
	// RetentionDays is the age at which the bucket itself deletes objects below exports/, behind exportd's
	// own cleaning. Zero sets no such rule.
	RetentionDays int
	// ChunkBytes is the size of an upload request, and about the memory a large upload holds. Default 8 MiB,
	// rounded up to a multiple of 256 KiB.
	ChunkBytes int
	// CallTimeout bounds each call that moves no object bytes, its tries included. Default 60 s.
	CallTimeout time.Duration
	// StallTimeout bounds the time without any progress while bytes move. Default 3 min.
	StallTimeout time.Duration
	// Backoff is the pause before a request's second try; it doubles up to 5 s. Default 200 ms.
	Backoff time.Duration
	// Guard watches over the connections; a new one if nil. AnswerTimeout is how long a request may be
	// without an answer before another connection is tried. Default 15 s.
	Guard         *connection.Guard
	AnswerTimeout time.Duration
	// ClientOptions are added to those of the client, whose transport is then its own.
	ClientOptions []option.ClientOption
}

// Store is a bucket. It is safe for concurrent use.
type Store struct {
	cfg      Config
	client   *storage.Client
	bucket   *storage.BucketHandle
	emulator string // base URL of the embedded server, empty on Google Cloud
	signer   http.Client
	base     *connection.Transport // of client and signer
}

const (
	defaultChunkBytes   = 8 << 20
	defaultCallTimeout  = time.Minute
	defaultStallTimeout = 3 * time.Minute
	// exportsPrefix is what the lifecycle rule covers.
	exportsPrefix = "exports/"

	// maxAttempts and the backoff give a call about half a minute of tries: enough for a server that
	// restarts, short enough that the job's own retries, which free the worker, take over.
	maxAttempts    = 11
	defaultBackoff = 200 * time.Millisecond
	maxBackoff     = 5 * time.Second // a service that is back is found within it
)

// Open makes a client; it sends nothing. Close must be called.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Bucket == "" {
		return nil, errors.New("open object store: no bucket is configured")
	}
	cfg.ChunkBytes = cmp.Or(cfg.ChunkBytes, defaultChunkBytes)
	cfg.CallTimeout = cmp.Or(cfg.CallTimeout, defaultCallTimeout)
	cfg.StallTimeout = cmp.Or(cfg.StallTimeout, defaultStallTimeout)
	cfg.Backoff = cmp.Or(cfg.Backoff, defaultBackoff)
	if cfg.Guard == nil {
		cfg.Guard = &connection.Guard{}
	}
	base := cfg.Guard.Transport(cfg.AnswerTimeout)
	s := &Store{cfg: cfg, signer: http.Client{Transport: base}, base: base}
	opts := []option.ClientOption{storage.WithJSONReads()} // as all other calls: errors come in one form
	if host := cmp.Or(cfg.EmulatorHost, os.Getenv("STORAGE_EMULATOR_HOST")); host != "" {
		if !strings.Contains(host, "://") {
			host = "http://" + host
		}
		s.emulator = strings.TrimSuffix(host, "/")
		opts = append(opts, option.WithEndpoint(s.emulator+"/storage/v1/"), option.WithoutAuthentication(), option.WithHTTPClient(&http.Client{Transport: base}))
	} else if len(cfg.ClientOptions) == 0 {
		// The client's own transport but for what it stands on.
		signed, err := htransport.NewTransport(ctx, base, option.WithScopes(storage.ScopeFullControl, "https://www.googleapis.com/auth/cloud-platform"),
			internaloption.WithDefaultEndpointTemplate("https://storage.UNIVERSE_DOMAIN/storage/v1/"), internaloption.WithDefaultMTLSEndpoint("https://storage.mtls.googleapis.com/storage/v1/"),
			internaloption.WithDefaultUniverseDomain("googleapis.com"), internaloption.EnableNewAuthLibrary())
		if err != nil {
			return nil, fmt.Errorf("open object store: %w", err)
		}
		opts = append(opts, option.WithHTTPClient(&http.Client{Transport: signed}))
	}
	client, err := storage.NewClient(ctx, append(opts, cfg.ClientOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	// Every name is written once and has one right content, so that any request may be sent again.
	client.SetRetry(storage.WithPolicy(storage.RetryAlways), storage.WithMaxAttempts(maxAttempts),
		storage.WithBackoff(s.backoff()), storage.WithErrorFunc(retryable))
	s.client, s.bucket = client, client.Bucket(cfg.Bucket)
	return s, nil
}

func (s *Store) backoff() gax.Backoff {
	return gax.Backoff{Initial: s.cfg.Backoff, Max: maxBackoff, Multiplier: 2}
}

// Close releases the client's connections.
func (s *Store) Close() error {
	defer s.base.Close()
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("close object store: %w", err)
	}
	return nil
}

// Ping reports whether the bucket can be reached and read. It needs storage.objects.list only.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	it := s.bucket.Objects(ctx, &storage.Query{Prefix: exportsPrefix})
	it.PageInfo().MaxSize = 1
	if _, err := it.Next(); err != nil && !errors.Is(err, iterator.Done) {
		return s.explain(ctx, "ping bucket", s.cfg.Bucket, err)
	}
	return nil
}

// maxURLLife is the limit of V4 signatures.
const maxURLLife = 7 * 24 * time.Hour

// SignedURL returns a URL that lets anybody who has it GET the object for ttl (up to 7 days; signatures made
// by IAM are only sure for 12 h). A browser saves the download as filename, if one is given. On Google Cloud
// without a key file it asks IAM once per call, so call it when a link is wanted, not for lists.
func (s *Store) SignedURL(ctx context.Context, name string, ttl time.Duration, filename string) (string, error) {
	if ttl < time.Second || ttl > maxURLLife {
		return "", fmt.Errorf("sign URL of %s: a life of %s is not between 1s and 7 days", name, ttl)
	}
	opts := &storage.SignedURLOptions{
		Scheme: storage.SigningSchemeV4, Method: http.MethodGet,
		Expires:        time.Now().Add(ttl),
		GoogleAccessID: s.cfg.SignerEmail,
	}
	if filename != "" {
		opts.QueryParameters = map[string][]string{
			"response-content-disposition": {mime.FormatMediaType("attachment", map[string]string{"filename": filename})},
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	if s.emulator != "" {
		opts.Insecure = strings.HasPrefix(s.emulator, "http:")
		opts.GoogleAccessID = cmp.Or(opts.GoogleAccessID, "exportd@localhost")
		opts.SignBytes = func(p []byte) ([]byte, error) { return s.signBlob(ctx, p) }
	}
	type answer struct {
		url string
		err error
	}
	// The client takes no context here and asks the metadata server and IAM; its own retries end.
	answers := make(chan answer, 1)
	// A handle of its own: Retryer writes to the options of the one it is called on, which all calls of
	// s.bucket share (v1.70.0).
	bucket := s.client.Bucket(s.cfg.Bucket).Retryer(storage.WithMaxAttempts(3), storage.WithMaxRetryDuration(s.cfg.CallTimeout))
	go func() {
		var a answer
		a.err = panics.Do(func() (err error) { a.url, err = bucket.SignedURL(name, opts); return err })
		answers <- a
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return "", s.explain(ctx, "sign URL of", name, a.err)
		}
		return a.url, nil
	case <-ctx.Done():
		return "", s.explain(ctx, "sign URL of", name, ctx.Err())
	}
}

// signBlob has the embedded server sign, which keeps the key that verifies.
func (s *Store) signBlob(ctx context.Context, p []byte) (signed []byte, err error) {
	body, err := json.Marshal(map[string]any{"payload": p})
	if err != nil {
		return nil, fmt.Errorf("encode bytes to sign: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.emulator+"/signBlob", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask for a signature: %w", err)
	}
	res, err := s.signer.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for a signature: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // read to its end, or of no use
	var answer struct {
		SignedBlob []byte `json:"signedBlob"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for a signature: status %d: %w", res.StatusCode, errors.Join(err, ErrUnavailable))
	}
	return answer.SignedBlob, nil
}

// smallBuffers hold what may turn out to be all of an object; see writer.
var smallBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
