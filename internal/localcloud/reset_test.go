package localcloud_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
)

// fill puts one of everything into a project, and uploads that take more than the index does.
func fill(t *testing.T, c *localcloudtest.Cloud, project, database string) {
	t.Helper()
	ctx := t.Context()
	fs, err := firestore.NewClientWithDatabase(ctx, project, database, localcloud.GRPCOptions(c.Endpoints().Firestore)...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fs.Close() }()
	if _, err := fs.Doc("users/u/pets/p").Set(ctx, map[string]any{"n": 1}); err != nil {
		t.Fatal(err)
	}
	ps, err := pubsub.NewClient(ctx, project, localcloud.GRPCOptions(c.Endpoints().PubSub)...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ps.Close() }()
	topic := "projects/" + project + "/topics/topic"
	_, err = ps.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic})
	if status.Code(err) == codes.AlreadyExists { // another database of the project
		return
	}
	_, subErr := ps.SubscriptionAdminClient.CreateSubscription(ctx, &pubsubpb.Subscription{Name: "projects/" + project + "/subscriptions/sub", Topic: topic})
	if err := errors.Join(err, subErr, c.Storage.Bucket("b-"+project).Create(ctx, project, nil)); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{10, 700_000} {
		w := c.Storage.Bucket("b-" + project).Object(strings.Repeat("o", size%7+1)).NewWriter(ctx)
		w.ChunkSize = 256 << 10
		if _, err := w.Write(bytes.Repeat([]byte("x"), size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	c := localcloudtest.Start(t, func(cfg *localcloud.Config) { cfg.ControlAddr = "127.0.0.1:0" })
	for _, at := range [][2]string{{"project-one", "(default)"}, {"project-one", "other"}, {"project-two", "(default)"}} {
		fill(t, c, at[0], at[1])
	}
	reset := func(query string) (int, string) {
		t.Helper()
		resp, err := http.Post("http://"+c.Endpoints().Control+"/reset"+query, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.TrimSpace(string(body))
	}
	for _, step := range []struct {
		query string
		code  int
		want  string
	}{
		{"?projct=project-one", 400, `there is no parameter "projct": service, project, database`},
		{"?service=spanner", 400, `there is no service "spanner": ["firestore" "pubsub" "storage"]`},
		{"?project=project-one&database=other", 200, `{"documents":1,"topics":0,"subscriptions":0,"buckets":0,"objects":0}`},
		{"?project=project-one&database=other", 200, `{"documents":0,"topics":0,"subscriptions":0,"buckets":0,"objects":0}`},
		{"?project=project-one&service=storage&service=pubsub", 200, `{"documents":0,"topics":1,"subscriptions":1,"buckets":1,"objects":2}`},
		{"", 200, `{"documents":2,"topics":1,"subscriptions":1,"buckets":1,"objects":2}`},
		{"", 200, `{"documents":0,"topics":0,"subscriptions":0,"buckets":0,"objects":0}`},
	} {
		if code, got := reset(step.query); code != step.code || got != step.want {
			t.Errorf("POST /reset%s = %d %s, want %d %s", step.query, code, got, step.code, step.want)
		}
	}
	// All can be made again, and nothing is left of what was.
	fill(t, c, "project-one", "(default)")
	it := c.Storage.Buckets(t.Context(), "project-one")
	if b, err := it.Next(); err != nil || b.Name != "b-project-one" {
		t.Errorf("first bucket = %v, %v", b, err)
	}
	if _, err := it.Next(); !errors.Is(err, iterator.Done) {
		t.Errorf("second bucket: %v", err)
	}
	if err := c.Storage.Bucket("b-project-two").Create(t.Context(), "project-two", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.Storage.Buckets(t.Context(), "project-three").Next(); !errors.Is(err, iterator.Done) {
		t.Errorf("another project's buckets are listed: %v", err)
	}
}

// In memory all is as in a folder, and no file is written, until there is no memory left.
func TestInMemory(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	before, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var free atomic.Uint64
	free.Store(1 << 30)
	c := localcloudtest.Start(t, func(cfg *localcloud.Config) {
		cfg.DataDir, cfg.InMemory, cfg.DiskFree, cfg.IndexesJSON = "", true, func() (uint64, error) { return free.Load(), nil }, nil
	})
	fill(t, c, "project-one", "(default)")
	for name, size := range map[string]int{"oooo": 10, "o": 700_000} {
		r, err := c.Storage.Bucket("b-project-one").Object(name).NewReader(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil || len(data) != size || strings.Trim(string(data), "x") != "" {
			t.Errorf("read of %s: %d bytes, %v; want %d", name, len(data), err, size)
		}
	}
	if _, err := c.Storage.Bucket("b-project-one").Object("both").ComposerFrom(c.Storage.Bucket("b-project-one").Object("o"), c.Storage.Bucket("b-project-one").Object("oooo")).Run(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := c.Reset(t.Context(), localcloud.Scope{}); err != nil || got.Objects != 3 {
		t.Errorf("Reset() = %+v, %v", got, err)
	}
	after, err := os.ReadDir(".")
	if err != nil || len(after) != len(before) {
		t.Errorf("%d files in the working directory, %d before: %v", len(after), len(before), err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("temporary files: %v, %v", files, err)
	}
	free.Store(1 << 20)
	deadline := time.Now().Add(time.Minute) // the amount is looked at 20 times a second
	for ; err == nil && time.Now().Before(deadline); _, err = c.Firestore.Doc("a/b").Set(t.Context(), map[string]any{"n": 1}) {
	}
	if err == nil || !strings.Contains(err.Error(), "the memory of the embedded cloud is full: 1 MiB are free") {
		t.Errorf("a write without memory: %v", err)
	}
	if _, err := localcloud.Start(context.Background(), localcloud.Config{DataDir: dir, InMemory: true}); err == nil {
		t.Error("a cloud in memory takes a data folder")
	}
}
