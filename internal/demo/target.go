package demo

import (
	"context"
	"fmt"

	"exportd/internal/connection"

	apiv1 "cloud.google.com/go/firestore/apiv1"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/googleapis/gax-go/v2"
)

// Client is what Load needs of the generated Firestore client (*apiv1.Client).
type Client interface {
	GetDocument(context.Context, *firestorepb.GetDocumentRequest, ...gax.CallOption) (*firestorepb.Document, error)
	Commit(context.Context, *firestorepb.CommitRequest, ...gax.CallOption) (*firestorepb.CommitResponse, error)
}

// Target is the database that Load writes to.
type Target struct {
	Client Client
	// Database is the resource name, as in "projects/demo/databases/(default)".
	Database string
}

// DialEmulator connects to a Firestore emulator at hostPort, in the clear. The caller closes what it returns
// second. Without TLS it must never be given anything but a loopback address.
func DialEmulator(ctx context.Context, hostPort, project string) (Target, func() error, error) {
	client, err := apiv1.NewClient(ctx, connection.EmulatorOptions(hostPort)...)
	if err != nil {
		return Target{}, nil, fmt.Errorf("dial firestore emulator %s: %w", hostPort, err)
	}
	return Target{Client: client, Database: "projects/" + project + "/databases/(default)"}, client.Close, nil
}
