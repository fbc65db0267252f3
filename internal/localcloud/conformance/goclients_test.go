//go:build conformance

package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// goProject is Node's too, whose rows are done at the same time: names are of a row and a language.
const goProject = "demo-clients"

// goClients are Google's clients for Go, of the versions in go.mod.
type goClients struct {
	firestore *firestore.Client
	pubsub    *pubsub.Client
	storage   *storage.Client
}

// goRow does a row; id is nobody else's.
type goRow = func(ctx context.Context, c *goClients, id string) (any, error)

// goRows are the rows that are done in Go too. Of Firestore these are some: the client's own suite,
// TestFirestoreGo, has the rest.
var goRows = map[string]map[string]goRow{"firestore": goFirestore, "pubsub": goPubSub, "storage": goStorage}

// goOutcomes does a service's rows.
func goOutcomes(t *testing.T, service, host string) (out []outcome) {
	t.Helper()
	c, err := newGoClients(t, service, host)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range slices.Sorted(maps.Keys(goRows[service])) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		got, err := goRows[service][name](ctx, c, fmt.Sprintf("go%d", i))
		cancel()
		if err != nil {
			got = goFailure(err)
		}
		raw, err := json.Marshal(got)
		o := outcome{Name: name}
		if err := errors.Join(err, json.Unmarshal(raw, &o.Got)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, o)
	}
	return out
}

func newGoClients(t *testing.T, service, host string) (c *goClients, err error) {
	t.Helper()
	options := []option.ClientOption{option.WithEndpoint(host), option.WithoutAuthentication(), option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials()))}
	c = &goClients{}
	var closer func() error
	switch service {
	case "firestore":
		c.firestore, err = firestore.NewClient(t.Context(), goProject, options...)
		closer = func() error { return c.firestore.Close() }
	case "pubsub":
		c.pubsub, err = pubsub.NewClient(t.Context(), goProject, options...)
		closer = func() error { return c.pubsub.Close() }
	case "storage":
		c.storage, err = storage.NewClient(t.Context(), option.WithEndpoint(host+"/storage/v1/"), option.WithoutAuthentication(), option.WithTelemetryDisabled())
		closer = func() error { return c.storage.Close() }
	}
	if err == nil {
		t.Cleanup(func() {
			if err := closer(); err != nil {
				t.Errorf("close the client: %v", err)
			}
		})
	}
	return c, err
}

// goFailure is an error as the table has it.
func goFailure(err error) any {
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return map[string]any{"error": e.Code, "message": e.Message}
	}
	switch {
	case errors.Is(err, storage.ErrObjectNotExist), errors.Is(err, storage.ErrBucketNotExist):
		return map[string]any{"error": 404, "message": err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return map[string]any{"error": "LATE", "message": err.Error()}
	}
	return map[string]any{"error": code.Code(status.Code(err)).String(), "message": status.Convert(err).Message()}
}
