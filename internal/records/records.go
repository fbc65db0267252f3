// Package records reads the source collections: pages for the list routes, counts for the planner, and scans
// for exports.
//
// A scan is the fast way: it never decodes a document. A gRPC codec hands out the buffer in which a response
// arrived, and the caller gets the bytes of the document in it. Everything goes through Google's own
// transport (credentials, TLS, endpoint and routing headers as the official client has them), so the same
// code reads production, an emulator and the embedded server.
//
// Errors are classified: see [ErrMissingIndex] and its neighbours. Reads that break are tried again here,
// within bounds; what is returned has been.
package records

import (
	"context"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"exportd/internal/connection"
)

// Config says which database is read and how.
type Config struct {
	// ProjectID is the Google Cloud project. Required.
	ProjectID string
	// DatabaseID is the database in it. Default "(default)".
	DatabaseID string
	// Emulator is the host:port of an emulator or embedded server, which is reached without TLS and
	// credentials. Empty is Google.
	Emulator string
	// Connections is how many HTTP/2 connections streams are spread over: each one is read by a single
	// goroutine, which becomes the limit with many parts at once. Default 4.
	Connections int
	// Guard watches over the connections; a new one if nil.
	Guard *connection.Guard
	// Options go to the official transport (credentials, endpoint); unused with Emulator.
	Options []option.ClientOption

	// stall ends a stream that sends nothing for that long; the scan then goes on with a new one. Default 30
	// s: production sends rows within seconds.
	stall time.Duration
	// backoff is the first pause between tries. Default 100 ms.
	backoff time.Duration
}

// Reader reads one database. It is safe for concurrent use.
type Reader struct {
	pool    *connection.Pool
	stub    firestorepb.FirestoreClient
	root    string // projects/P/databases/D/documents
	headers []string
	stall   time.Duration
	backoff time.Duration
}

// Open connects to the database. Dialling is lazy: an unreachable server shows at the first read, see
// [Reader.Ping].
func Open(ctx context.Context, cfg Config) (*Reader, error) {
	if cfg.ProjectID == "" {
		return nil, fmt.Errorf("open records: no project id")
	}
	if cfg.DatabaseID == "" {
		cfg.DatabaseID = "(default)"
	}
	if cfg.Connections <= 0 {
		cfg.Connections = 4
	}
	if cfg.stall <= 0 {
		cfg.stall = 30 * time.Second
	}
	if cfg.backoff <= 0 {
		cfg.backoff = 100 * time.Millisecond
	}
	pool, err := connection.DialFirestore(ctx, connection.FirestoreConfig{
		Emulator: cfg.Emulator, Connections: cfg.Connections, Guard: cfg.Guard, Options: cfg.Options,
	})
	if err != nil {
		return nil, fmt.Errorf("open records: %w", err)
	}
	database := "projects/" + cfg.ProjectID + "/databases/" + cfg.DatabaseID
	return &Reader{
		pool: pool,
		stub: firestorepb.NewFirestoreClient(pool),
		root: database + "/documents",
		// As the official client sends them; production routes named databases by these.
		headers: []string{
			"google-cloud-resource-prefix", database,
			"x-goog-request-params", "parent=" + url.QueryEscape(database+"/documents"),
			"x-goog-api-client", "gl-go/" + strings.TrimPrefix(runtime.Version(), "go") + " grpc/" + grpc.Version,
		},
		stall:   cfg.stall,
		backoff: cfg.backoff,
	}, nil
}

// Close closes the connections. Reads under way end with an error.
func (r *Reader) Close() error { return r.pool.Close() }

// outgoing adds the headers of every call.
func (r *Reader) outgoing(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, r.headers...)
}
