package localcloud_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/disk"
	"exportd/internal/localcloud/seal"
)

// users is a client of each service that keeps things.
type users struct {
	docs    *firestore.Client
	objects *storage.BucketHandle
}

func clientsOf(t *testing.T, c *localcloud.Cloud) users {
	t.Helper()
	docs, err := firestore.NewClient(t.Context(), "p", localcloud.GRPCOptions(c.Endpoints().Firestore)...)
	if err != nil {
		t.Fatal(err)
	}
	files, err := storage.NewClient(t.Context(), localcloud.StorageOptions(c.Endpoints().Storage)...)
	if err != nil {
		t.Fatal(err)
	}
	files.SetRetry(storage.WithPolicy(storage.RetryNever))
	t.Cleanup(func() { _, _ = docs.Close(), files.Close() })
	return users{docs, files.Bucket("bucket")}
}

func (u users) put(ctx context.Context, id string) (doc, object error) {
	_, doc = u.docs.Doc("C/"+id).Set(ctx, map[string]any{"a": strings.Repeat("x", 1000)})
	w := u.objects.Object(id).NewWriter(ctx)
	_, err := w.Write([]byte(id))
	return doc, errors.Join(err, w.Close())
}

// TestFullDisk: while the disk is full each write is refused at once in words that name the folder, reads go
// on, and with room again writes are taken without anybody's doing.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	var free atomic.Uint64
	free.Store(1 << 40)
	room := func() (uint64, error) { return free.Load(), nil }
	dir := t.TempDir()
	c := start(t, localcloud.Config{DataDir: dir, DiskFree: room})
	u := clientsOf(t, c)
	ctx := t.Context()
	if err := u.objects.Create(ctx, "p", nil); err != nil {
		t.Fatal(err)
	}
	if doc, object := u.put(ctx, "before"); doc != nil || object != nil {
		t.Fatal(doc, object)
	}
	free.Store(disk.Reserve - 1)
	for {
		doc, object := u.put(ctx, "full")
		if doc == nil { // what was found a moment ago still holds
			continue
		}
		if status.Code(doc) != codes.Internal || !strings.Contains(doc.Error(), dir) {
			t.Errorf("a document on a full disk: %v", doc)
		}
		if ae, ok := errors.AsType[*googleapi.Error](object); !ok || ae.Code != 507 || !strings.Contains(object.Error(), dir) {
			t.Errorf("an object on a full disk: %v", object)
		}
		break
	}
	if _, err := u.docs.Doc("C/before").Get(ctx); err != nil {
		t.Errorf("read on a full disk: %v", err)
	}
	if _, err := u.objects.Object("before").Attrs(ctx); err != nil {
		t.Errorf("read on a full disk: %v", err)
	}
	other := t.TempDir()
	if _, err := localcloud.Start(ctx, localcloud.Config{DataDir: other, DiskFree: room}); err == nil || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), "is full") {
		t.Errorf("Start() on a full disk = %v, want the folder's name", err)
	}
	free.Store(1 << 40)
	for {
		if doc, object := u.put(ctx, "after"); doc == nil && object == nil {
			break
		}
	}
}

// TestDamagedFolder: each file of a folder that was closed is cut, changed and taken away. None of it may
// pass for an older state of the data, as the engines would have it: the start ends with one line that names
// the file, and leaves everything as it is.
func TestDamagedFolder(t *testing.T) {
	t.Parallel()
	sealed := t.TempDir()
	c, err := localcloud.Start(t.Context(), localcloud.Config{DataDir: sealed})
	if err != nil {
		t.Fatal(err)
	}
	u := clientsOf(t, c)
	if err := u.objects.Create(t.Context(), "p", nil); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if doc, object := u.put(t.Context(), fmt.Sprint(i)); doc != nil || object != nil {
			t.Fatal(doc, object)
		}
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]func(path string, content []byte) error{
		"cut": func(path string, content []byte) error { return os.Truncate(path, int64(len(content)/2)) },
		"flipped": func(path string, content []byte) error {
			content[len(content)/2] ^= 4
			return os.WriteFile(path, content, 0o600)
		},
		"removed": func(path string, _ []byte) error { return os.Remove(path) },
	}
	cases := 0
	for file := range sums(t, sealed) {
		if filepath.Dir(file) == "." { // the seal, the lock, the ballast
			continue
		}
		for kind, damage := range kinds {
			path := filepath.Join(sealed, file)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			content := bytes.Clone(whole)
			if len(content) == 0 && kind != "removed" {
				continue
			}
			if err := damage(path, content); err != nil {
				t.Fatal(err)
			}
			cases++
			before := sums(t, sealed)
			_, err = localcloud.Start(t.Context(), localcloud.Config{DataDir: sealed})
			if d, ok := errors.AsType[*seal.DamagedError](err); !ok || d.File != path || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s %s: Start() = %v, want one line with its name", file, kind, err)
			}
			if after := sums(t, sealed); fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("%s %s: the start changed the folder from %v to %v", file, kind, before, after)
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil { // put back
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d kinds of damage, all found", cases)
	if cases < 20 {
		t.Errorf("%d cases of damage, want 20 or more", cases)
	}
	again := start(t, localcloud.Config{DataDir: sealed})
	for i := range 20 {
		if _, err := clientsOf(t, again).docs.Doc("C/" + fmt.Sprint(i)).Get(t.Context()); err != nil {
			t.Errorf("document %d after a restart: %v", i, err)
		}
	}
}

// TestNewerFolder: a folder of a newer build is refused in one line and left as it is; one of a build that
// wrote no format is taken.
func TestNewerFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "format")
	run := func() error {
		c, err := localcloud.Start(t.Context(), localcloud.Config{DataDir: dir})
		if err != nil {
			return err
		}
		return c.Close(t.Context())
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"3\n":     dir + " is of a newer version: it has format 3, and this program reads up to 2",
		"three\n": path + " does not hold the number of a format",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		before := sums(t, dir)
		if err := run(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("format %q: Start() = %v, want one line with %s", content, err, want)
		}
		if after := sums(t, dir); fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("format %q: the start changed the folder from %v to %v", content, before, after)
		}
	}
	for _, older := range []func() error{
		func() error { return os.Remove(path) },
		func() error { return os.WriteFile(path, nil, 0o600) },
		func() error { return os.WriteFile(path, []byte("1\n"), 0o600) },
	} {
		if err := errors.Join(older(), run()); err != nil {
			t.Error(err)
		}
		if raw, err := os.ReadFile(path); err != nil || string(raw) != "2\n" {
			t.Errorf("the folder has format %q, %v", raw, err)
		}
	}
	// What is there already is not written again: there may be no room for it.
	old := time.Unix(1e9, 0)
	if err := errors.Join(os.Chtimes(path, old, old), run()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(old) {
		t.Errorf("the format was written again: %v, %v", info, err)
	}
}

// sums are those of all files of a folder with content, by name; the ballast is only room.
func sums(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	out := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "ballast" {
			return err
		}
		raw, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = sha256.Sum256(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRemovedFolder: a folder that is removed under a running cloud ends it, in words that name it.
func TestRemovedFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	c, err := localcloud.Start(t.Context(), localcloud.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".elsewhere"); err != nil { // the engines can still end
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("Wait() = %v, want the folder's name", err)
	}
	_ = c.Close(t.Context()) // what can be closed
}
