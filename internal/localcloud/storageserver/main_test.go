package storageserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"go.uber.org/goleak"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/localcloud/storageserver"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		log.Fatal(serveAndBeKilled(dir))
	}
	goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...)
}

// start runs a server on a folder until the test ends or stop is called. It is lax: tests write one name
// again and again, and in chunks of a few bytes.
func start(t testing.TB, dir string) (url string, stop func()) {
	t.Helper()
	return serve(t, storageserver.Options{Dir: dir, Lax: true})
}

func serve(t testing.TB, opt storageserver.Options) (url string, stop func()) {
	t.Helper()
	s, err := storageserver.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		web.CloseClientConnections()
		web.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return web.URL, stop
}

func connect(t testing.TB, url string) *storage.Client {
	t.Helper()
	client, err := storage.NewClient(context.Background(), option.WithEndpoint(url+"/storage/v1/"), option.WithoutAuthentication(), storage.WithJSONReads())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// newBucket returns a fresh server's URL and a bucket on it.
func newBucket(t testing.TB) (url string, b *storage.BucketHandle) {
	t.Helper()
	url, _ = start(t, t.TempDir())
	b = connect(t, url).Bucket("exports")
	if err := b.Create(t.Context(), "local", nil); err != nil {
		t.Fatal(err)
	}
	return url, b
}

func put(t testing.TB, o *storage.ObjectHandle, data []byte, chunk int) *storage.ObjectAttrs {
	t.Helper()
	w := o.NewWriter(t.Context())
	w.ChunkSize = chunk
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.Attrs()
}

func read(t testing.TB, o *storage.ObjectHandle) []byte {
	t.Helper()
	r, err := o.NewReader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func random(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

func code(err error) int {
	var e *googleapi.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestObjectLifeThroughTheOfficialClient(t *testing.T) {
	t.Parallel()
	for name, chunk := range map[string]int{"one streamed request": 0, "multipart": 16 << 20, "resumable": 256 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, b := newBucket(t)
			for _, size := range []int{0, 1, 32 << 10, 32<<10 + 1, 256 << 10, 256<<10 + 1, 1 << 20, 3<<20 + 7} {
				data := random(1, size)
				o := b.Object("exports/a b/ü.csv")
				attrs := put(t, o, data, chunk)
				if attrs.Size != int64(size) || attrs.Generation == 0 || attrs.Metageneration != 1 {
					t.Fatalf("Attrs after %d bytes = %+v", size, attrs)
				}
				if got := read(t, o); !bytes.Equal(got, data) {
					t.Fatalf("read %d bytes back, want the %d written", len(got), size)
				}
			}
			if err := b.Object("exports/a b/ü.csv").Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Object("exports/a b/ü.csv").Attrs(t.Context()); !errors.Is(err, storage.ErrObjectNotExist) {
				t.Fatalf("Attrs of a deleted object = %v, want ErrObjectNotExist", err)
			}
		})
	}
}

func sign(t testing.TB, url string, b *storage.BucketHandle, object string) string {
	t.Helper()
	signed, err := b.SignedURL(object, &storage.SignedURLOptions{
		Scheme: storage.SigningSchemeV4, Method: "GET", GoogleAccessID: "exportd@localhost", Insecure: true,
		Expires:         time.Now().Add(time.Minute),
		QueryParameters: map[string][]string{"response-content-disposition": {`attachment; filename="vip users.csv"`}},
		SignBytes:       func(p []byte) ([]byte, error) { return signBlob(t, url, p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func fetch(t testing.TB, method, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var body strings.Builder
	if _, err := io.Copy(&body, res.Body); err != nil {
		t.Fatal(err)
	}
	return res, body.String()
}
