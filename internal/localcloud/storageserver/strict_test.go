package storageserver_test

import (
	"bytes"
	"errors"
	"net/http"
	"testing"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"

	"exportd/internal/localcloud/storageserver"
)

// TestStrict: by default one name cannot be written as often as one likes, and the official client's own
// uploads in chunks pass.
func TestStrict(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, storageserver.Options{Dir: t.TempDir()})
	b := connect(t, url).Bucket("exports")
	if err := b.Create(t.Context(), "local", nil); err != nil {
		t.Fatal(err)
	}
	// RetryNever, because the client would otherwise wait until it may.
	o := b.Object("same").Retryer(storage.WithPolicy(storage.RetryNever))
	write := func(n int) error {
		w := o.NewWriter(t.Context())
		w.ChunkSize = 256 << 10
		_, err := w.Write(bytes.Repeat([]byte("x"), n))
		return errors.Join(err, w.Close())
	}
	if err := write(256<<10*2 + 7); err != nil {
		t.Fatalf("three chunks: %v", err)
	}
	err := error(nil)
	for n := 0; err == nil && n < 20; n++ {
		err = write(1)
	}
	if e, ok := errors.AsType[*googleapi.Error](err); !ok || e.Code != http.StatusTooManyRequests || len(e.Errors) != 1 || e.Errors[0].Reason != "rateLimitExceeded" {
		t.Errorf("after many writes of one name: %v, want 429 rateLimitExceeded", err)
	}
	if err := o.Delete(t.Context()); err == nil {
		t.Error("a delete is no change")
	}
}
