// Package localcloudtest gives tests a fresh embedded cloud with Google's official clients connected to it.
package localcloudtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/storage"
	"go.uber.org/goleak"

	"exportd/internal/localcloud"
)

// Project is the Google Cloud project that the clients name.
const Project = "exportd-test"

// Cloud is an embedded cloud in a temporary folder with clients. Everything is closed when the test ends.
type Cloud struct {
	*localcloud.Cloud
	Firestore *firestore.Client // database "(default)"
	PubSub    *pubsub.Client
	Storage   *storage.Client

	config localcloud.Config
}

// Start starts a cloud on free ports that has the composite indexes of deployments/firestore.indexes.json.
// Changes are made to its configuration before it starts.
func Start(tb testing.TB, changes ...func(*localcloud.Config)) *Cloud {
	tb.Helper()
	cfg := localcloud.Config{DataDir: tb.TempDir(), IndexesJSON: Indexes(tb)}
	for _, change := range changes {
		change(&cfg)
	}
	c := &Cloud{config: cfg}
	c.start(tb)
	tb.Cleanup(func() { c.Stop(tb) })

	ctx, e := context.Background(), c.Endpoints() // clients live until Cleanup, when tb.Context() has ended
	var err error
	if c.Firestore, err = firestore.NewClient(ctx, Project, localcloud.GRPCOptions(e.Firestore)...); err != nil {
		tb.Fatalf("connect to embedded Firestore: %v", err)
	}
	tb.Cleanup(func() { _ = c.Firestore.Close() })
	if c.PubSub, err = pubsub.NewClient(ctx, Project, localcloud.GRPCOptions(e.PubSub)...); err != nil {
		tb.Fatalf("connect to embedded Pub/Sub: %v", err)
	}
	tb.Cleanup(func() { _ = c.PubSub.Close() })
	if c.Storage, err = storage.NewClient(ctx, localcloud.StorageOptions(e.Storage)...); err != nil {
		tb.Fatalf("connect to embedded Cloud Storage: %v", err)
	}
	tb.Cleanup(func() { _ = c.Storage.Close() })
	return c
}

func (c *Cloud) start(tb testing.TB) {
	tb.Helper()
	var err error
	if c.Cloud, err = localcloud.Start(context.Background(), c.config); err != nil {
		tb.Fatalf("start embedded cloud: %v", err)
	}
	// The next start is on the same addresses, so that the clients find it.
	e := c.Endpoints()
	c.config.FirestoreAddr, c.config.PubSubAddr, c.config.StorageAddr = e.Firestore, e.PubSub, e.Storage
}

// Stop ends the cloud, data kept: an outage for the clients until Restart.
func (c *Cloud) Stop(tb testing.TB) {
	tb.Helper()
	if err := c.Close(context.Background()); err != nil {
		tb.Errorf("stop embedded cloud: %v", err)
	}
}

// Restart starts the cloud again on the same folder and addresses after stopping it.
func (c *Cloud) Restart(tb testing.TB) {
	tb.Helper()
	c.Stop(tb)
	c.start(tb)
}

// Indexes returns deployments/firestore.indexes.json of the module that the test runs in.
func Indexes(tb testing.TB) []byte {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatalf("find the module: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			tb.Fatal("find the module: no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "deployments", "firestore.indexes.json"))
	if err != nil {
		tb.Fatalf("read the indexes: %v", err)
	}
	return raw
}

// LeakOptions are the goroutines that Google's clients leave behind, for goleak.VerifyTestMain.
func LeakOptions() []goleak.Option {
	return []goleak.Option{
		// Started once per process by the OpenCensus that the clients import; it has no stop.
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		// pubsub/v2 v2.8.1 stops the tickers this goroutine waits for before it has seen that its stream is
		// done.
		goleak.IgnoreTopFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"),
	}
}
