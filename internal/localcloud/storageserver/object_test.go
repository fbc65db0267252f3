package storageserver_test

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/storage"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/iterator"

	"exportd/internal/objectstore/crc32c"
)

func TestAttributesAreKept(t *testing.T) {
	t.Parallel()
	_, b := newBucket(t)
	for name, chunk := range map[string]int{"streamed": 0, "multipart": 16 << 20, "resumable": 256 << 10} {
		w := b.Object(name).NewWriter(t.Context())
		w.ChunkSize = chunk
		w.ContentType, w.ContentDisposition, w.CacheControl = "text/csv", `attachment; filename="ü.csv"`, "private, max-age=0"
		w.ContentLanguage, w.Metadata = "de", map[string]string{"job": "j1", "epoch": "3"}
		if _, err := w.Write(random(1, 300<<10)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		a, err := b.Object(name).Attrs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := []any{a.ContentType, a.ContentDisposition, a.CacheControl, a.ContentLanguage, a.Metadata, a.Size, a.CRC32C}
		want := []any{"text/csv", `attachment; filename="ü.csv"`, "private, max-age=0", "de", map[string]string{"job": "j1", "epoch": "3"}, int64(300 << 10), crc32.Checksum(random(1, 300<<10), crc32c.Table)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: attributes (-want +got):\n%s", name, diff)
		}
	}
}

func TestPreconditions(t *testing.T) {
	t.Parallel()
	_, b := newBucket(t)
	o := b.Object("a")
	first := put(t, o, []byte("1"), 0)
	wrong, right := storage.Conditions{GenerationMatch: first.Generation + 1}, storage.Conditions{GenerationMatch: first.Generation, MetagenerationMatch: 1}
	write := func(o *storage.ObjectHandle, chunk int) error {
		w := o.NewWriter(t.Context())
		w.ChunkSize = chunk
		_, _ = w.Write(random(1, 600<<10)) // the error shows in Close
		return w.Close()
	}
	compose := func(o *storage.ObjectHandle) error {
		_, err := o.ComposerFrom(b.Object("a")).Run(t.Context())
		return err
	}
	attrs := func(o *storage.ObjectHandle) error { _, err := o.Attrs(t.Context()); return err }
	open := func(o *storage.ObjectHandle) error {
		r, err := o.NewReader(t.Context())
		if err == nil {
			err = r.Close()
		}
		return err
	}
	for _, cond := range []storage.Conditions{wrong, {DoesNotExist: true}, {MetagenerationMatch: 2}} {
		c := o.If(cond)
		for op, err := range map[string]error{"streamed write": write(c, 0), "multipart write": write(c, 1<<20), "resumable write": write(c, 256<<10), "compose": compose(c), "delete": c.Delete(t.Context()), "attrs": attrs(c), "read": open(c)} {
			if code(err) != http.StatusPreconditionFailed {
				t.Errorf("%s if %+v = %v, want 412", op, cond, err)
			}
		}
	}
	if err := attrs(o.If(storage.Conditions{GenerationNotMatch: first.Generation})); code(err) != http.StatusNotModified {
		t.Errorf("attrs if changed = %v, want 304", err)
	}
	if err := attrs(o.Generation(first.Generation + 1)); !errors.Is(err, storage.ErrObjectNotExist) {
		t.Errorf("attrs of another generation = %v, want ErrObjectNotExist", err)
	}
	if got := read(t, o); string(got) != "1" {
		t.Errorf("object = %q after refused changes", got)
	}
	for op, err := range map[string]error{"attrs": attrs(o.If(right)), "read": open(o.If(right))} {
		if err != nil {
			t.Errorf("%s with the right conditions = %v", op, err)
		}
	}
	if err := o.If(right).Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if err := write(o.If(storage.Conditions{DoesNotExist: true}), 256<<10); err != nil {
		t.Error(err)
	}
}

func TestDeclaredChecksums(t *testing.T) {
	t.Parallel()
	_, b := newBucket(t)
	data := random(1, 600<<10)
	good := md5.Sum(data)
	for _, chunk := range []int{0, 1 << 20, 256 << 10} {
		for name, c := range map[string]struct {
			crc  uint32
			md5  []byte
			want int
		}{
			"right": {crc32.Checksum(data, crc32c.Table), good[:], 0}, "wrong crc": {1, good[:], 400}, "wrong md5": {crc32.Checksum(data, crc32c.Table), make([]byte, 16), 400},
		} {
			o := b.Object(fmt.Sprint(name, chunk))
			w := o.NewWriter(t.Context())
			w.ChunkSize, w.SendCRC32C, w.CRC32C, w.MD5 = chunk, true, c.crc, c.md5
			_, _ = w.Write(data) // the error shows in Close
			if err := w.Close(); code(err) != c.want {
				t.Errorf("%s in chunks of %d = %v, want %d", name, chunk, err, c.want)
			}
			if _, err := o.Attrs(t.Context()); (err == nil) != (c.want == 0) {
				t.Errorf("%s in chunks of %d: object = %v", name, chunk, err)
			}
		}
	}
}

func TestAnyLegalNameStaysInside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url, _ := start(t, dir)
	b := connect(t, url).Bucket("exports")
	if err := b.Create(t.Context(), "local", nil); err != nil {
		t.Fatal(err)
	}
	names := []string{"a", "a/b", "a/", "a//b", "/a", "../../escape", "a/../b", "ü/日本/😀", "a b+c%20?d#e&f=g", strings.Repeat("x", 1024), "...", "-", "\\", "a\tb"}
	for i, name := range names {
		put(t, b.Object(name), []byte(name), []int{0, 16 << 20}[i%2])
	}
	for _, name := range names {
		if got := read(t, b.Object(name)); string(got) != name {
			t.Errorf("object %q = %q", name, got)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff(names, list(t, b, storage.Query{}, 0)); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	for _, name := range []string{".", "..", strings.Repeat("x", 1025), "a\nb", "a\rb", "\xff", ".well-known/acme-challenge/x"} {
		w := b.Object(name).NewWriter(t.Context())
		if err := w.Close(); err == nil {
			t.Errorf("write of %q = nil, want a refusal", name)
		}
	}
}

// list gives the names and prefixes, in pages of the size; 0 leaves it to the client.
func list(t testing.TB, b *storage.BucketHandle, q storage.Query, page int) (names []string) {
	t.Helper()
	it := b.Objects(t.Context(), &q)
	it.PageInfo().MaxSize = page
	for {
		a, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, a.Name+a.Prefix)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	other := connect(t, url).Bucket("exports2")
	if err := other.Create(t.Context(), "local", nil); err != nil {
		t.Fatal(err)
	}
	put(t, other.Object("a/other"), nil, 0)
	for _, name := range []string{"a", "a/1", "a/2", "a/b/1", "a/b/2", "b", "b/1", "c"} {
		put(t, b.Object(name), nil, 0)
	}
	for name, c := range map[string]struct {
		q    storage.Query
		want []string
	}{
		"all":            {storage.Query{}, []string{"a", "a/1", "a/2", "a/b/1", "a/b/2", "b", "b/1", "c"}},
		"prefix":         {storage.Query{Prefix: "a/"}, []string{"a/1", "a/2", "a/b/1", "a/b/2"}},
		"delimiter":      {storage.Query{Delimiter: "/"}, []string{"a", "b", "c", "a/", "b/"}},
		"both":           {storage.Query{Prefix: "a/", Delimiter: "/"}, []string{"a/1", "a/2", "a/b/"}},
		"offsets":        {storage.Query{StartOffset: "a/2", EndOffset: "b/1"}, []string{"a/2", "a/b/1", "a/b/2", "b"}},
		"nothing":        {storage.Query{Prefix: "zzz"}, nil},
		"selected attrs": {storage.Query{Prefix: "c"}, []string{"c"}},
	} {
		for _, page := range []int{0, 1, 2, 3} {
			got := list(t, b, c.q, page)
			want := slices.Clone(c.want)
			if page > 0 { // prefixes come after the objects of their page
				slices.Sort(got)
				slices.Sort(want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s in pages of %d (-want +got):\n%s", name, page, diff)
			}
		}
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	_, b := newBucket(t)
	data := random(1, 1000)
	var parts []*storage.ObjectHandle
	for i := range 10 {
		parts = append(parts, b.Object(fmt.Sprint(i)))
		put(t, parts[i], data[i*100:(i+1)*100], 0)
	}
	if _, err := b.Object("whole").ComposerFrom(parts...).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ offset, length, from, to int64 }{{0, -1, 0, 1000}, {0, 1, 0, 1}, {99, 2, 99, 101}, {950, 500, 950, 1000}, {-7, -1, 993, 1000}, {100, 800, 100, 900}, {999, -1, 999, 1000}} {
		r, err := b.Object("whole").NewRangeReader(t.Context(), c.offset, c.length)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data[c.from:c.to]) {
			t.Errorf("range %d+%d = %d bytes, %v, want %d..%d", c.offset, c.length, len(got), err, c.from, c.to)
		}
	}
	if _, err := b.Object("whole").NewRangeReader(t.Context(), 1000, -1); code(err) != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("range beyond the end = %v, want 416", err)
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	_, b := newBucket(t)
	var want []byte
	var parts []*storage.ObjectHandle
	for i := range 32 {
		part := random(uint64(i), i*3000)
		parts, want = append(parts, b.Object(fmt.Sprintf("part-%02d", i))), append(want, part...)
		put(t, parts[i], part, 0)
	}
	c := b.Object("whole").ComposerFrom(parts...)
	c.ContentType, c.SendCRC32C, c.CRC32C = "text/csv", true, crc32.Checksum(want, crc32c.Table)
	a, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a.Size != int64(len(want)) || a.CRC32C != c.CRC32C || a.ComponentCount != 32 || len(a.MD5) != 0 || a.ContentType != "text/csv" {
		t.Errorf("composite = %+v", a)
	}
	// A composite of composites, and of one object twice.
	a, err = b.Object("twice").ComposerFrom(b.Object("whole"), b.Object("whole"), parts[1]).Run(t.Context())
	if err != nil || a.ComponentCount != 65 {
		t.Errorf("composite of composites = %+v, %v", a, err)
	}
	// The sources' bytes stay as long as a composite uses them.
	for _, o := range append(parts, b.Object("whole")) {
		if err := o.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, b.Object("twice")); !bytes.Equal(got, slices.Concat(want, want, random(1, 3000))) {
		t.Errorf("composite has %d bytes, and not the right ones", len(got))
	}
	put(t, b.Object("x"), []byte("x"), 0)
	wrong := b.Object("y").ComposerFrom(b.Object("x"))
	wrong.SendCRC32C, wrong.CRC32C = true, 1
	if _, err := wrong.Run(t.Context()); code(err) != 400 {
		t.Errorf("compose with a wrong checksum = %v, want 400", err)
	}
	if _, err := b.Object("y").ComposerFrom(b.Object("x"), b.Object("missing")).Run(t.Context()); code(err) != 404 {
		t.Errorf("compose of a missing source = %v, want 404", err)
	}
	if _, err := b.Object("y").ComposerFrom(b.Object("x").Generation(1)).Run(t.Context()); code(err) != 404 {
		t.Errorf("compose of another generation = %v, want 404", err)
	}
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	client := connect(t, url)
	if err := b.Create(t.Context(), "local", nil); code(err) != http.StatusConflict {
		t.Errorf("create again = %v, want 409", err)
	}
	for _, name := range []string{"A", "ab", "-abc", "a.b.c", strings.Repeat("x", 64)} {
		if err := client.Bucket(name).Create(t.Context(), "local", nil); code(err) != 400 {
			t.Errorf("create %q = %v, want 400", name, err)
		}
	}
	lifecycle := storage.Lifecycle{Rules: []storage.LifecycleRule{{Action: storage.LifecycleAction{Type: "Delete"}, Condition: storage.LifecycleCondition{AgeInDays: 3, MatchesPrefix: []string{"exports/"}}}}}
	if _, err := b.Update(t.Context(), storage.BucketAttrsToUpdate{Lifecycle: &lifecycle}); err != nil {
		t.Fatal(err)
	}
	a, err := b.Attrs(t.Context())
	if err != nil || a.Name != "exports" || a.MetaGeneration != 2 || !cmp.Equal(a.Lifecycle, lifecycle) {
		t.Errorf("attrs = %+v, %v", a, err)
	}
	if got, err := client.Buckets(t.Context(), "local").Next(); err != nil || got.Name != "exports" {
		t.Errorf("first bucket = %+v, %v", got, err)
	}
	put(t, b.Object("x"), nil, 0)
	if err := b.Delete(t.Context()); code(err) != http.StatusConflict {
		t.Errorf("delete with an object in it = %v, want 409", err)
	}
	if err := b.Object("x").Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := b.Attrs(t.Context()); !errors.Is(err, storage.ErrBucketNotExist) {
		t.Errorf("attrs of a deleted bucket = %v, want ErrBucketNotExist", err)
	}
	if _, err := b.Objects(t.Context(), nil).Next(); !errors.Is(err, storage.ErrBucketNotExist) {
		t.Errorf("list of a deleted bucket = %v, want ErrBucketNotExist", err)
	}
	w := b.Object("x").NewWriter(t.Context())
	if err := w.Close(); code(err) != 404 {
		t.Errorf("write to a deleted bucket = %v, want 404", err)
	}
}

func TestWebPagesAreRefused(t *testing.T) {
	t.Parallel()
	url, _ := newBucket(t)
	for name, headers := range map[string][]string{
		"another site's script": {"Origin", "https://evil.example"},
		"another site's form":   {"Sec-Fetch-Site", "cross-site"},
	} {
		if res := send(t, "POST", url+"/storage/v1/b?project=local", "", `{"name":"evil"}`, headers...); res.StatusCode != 403 {
			t.Errorf("%s = %d, want 403", name, res.StatusCode)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/storage/v1/b?project=local", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.example" // DNS pointed at this machine
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil || res.StatusCode != 403 {
		t.Errorf("rebound name = %v, %v, want 403", res, err)
	}
	_ = res.Body.Close()
	for _, path := range []string{"/", "/_internal/delete_all", "/storage/v1/b/exports/iam", "/storage/v1/projects/p/serviceAccount", "/batch/storage/v1"} {
		if res := send(t, "POST", url+path, "", "{}"); res.StatusCode != 400 {
			t.Errorf("POST %s = %d, want 400", path, res.StatusCode)
		}
	}
}

// TestNodeRoot: Node's client asks an emulator without /storage/v1, but for uploads, and is served the same,
// guarded as well.
func TestNodeRoot(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	w := b.Object("dir/a").NewWriter(t.Context())
	if _, err := w.Write([]byte("text")); err != nil || w.Close() != nil {
		t.Fatal("upload", err)
	}
	for _, tt := range []struct {
		method, path, body, says string
		status                   int
		headers                  []string
	}{
		{"POST", "/b?project=local", `{"name":"another"}`, `"another"`, 200, nil},
		{"GET", "/b?project=local", "", `"exports"`, 200, nil},
		{"GET", "/b/exports", "", `"exports"`, 200, nil},
		{"GET", "/b/exports/o", "", `"dir/a"`, 200, nil},
		{"GET", "/b/exports/o/dir%2Fa?alt=media", "", "text", 200, nil},
		{"GET", "/b/exports/o/dir%2Fa?alt=media", "", "web pages", 403, []string{"Origin", "https://evil.example"}},
		{"DELETE", "/b/exports/o/dir%2Fa", "", "", 204, nil},
		{"GET", "/bucket/a", "", "", 403, nil}, // of the XML API, unsigned
	} {
		res := send(t, tt.method, url+tt.path, "", tt.body, tt.headers...)
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != tt.status || !strings.Contains(string(body), tt.says) {
			t.Errorf("%s %s = %d %.200s, %v, want %d with %q", tt.method, tt.path, res.StatusCode, body, err, tt.status, tt.says)
		}
	}
}
