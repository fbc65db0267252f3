package storageserver_test

import (
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/option"
)

// TestReadsAsTheClientDoesByItself: without WithJSONReads, reads go through the XML API.
func TestReadsAsTheClientDoesByItself(t *testing.T) {
	t.Parallel()
	url, jb := newBucket(t)
	client, err := storage.NewClient(t.Context(), option.WithEndpoint(url+"/storage/v1/"), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	data := random(1, 100<<10)
	for _, name := range []string{"a.csv", "exports/job 1/ü&.csv", "a//b", "a+b%20", "q?x=1#y"} {
		first := put(t, jb.Object(name), data, 0)
		o := client.Bucket("exports").Object(name)
		if got := read(t, o); !bytes.Equal(got, data) {
			t.Errorf("%s: read %d bytes, want %d", name, len(got), len(data))
		}
		r, err := o.NewRangeReader(t.Context(), 10, 20)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[10:30]) {
			t.Errorf("%s: range = %d bytes, %v", name, len(got), err)
		}
		if r.Attrs.Generation != first.Generation || r.Attrs.Size != int64(len(data)) {
			t.Errorf("%s: attributes of the reader: %+v", name, r.Attrs)
		}
		if _, err := o.If(storage.Conditions{GenerationMatch: first.Generation + 1}).NewReader(t.Context()); code(err) != http.StatusPreconditionFailed {
			t.Errorf("%s: read of another generation = %v, want 412", name, err)
		}
		if r, err := o.NewRangeReader(t.Context(), 0, 0); err != nil || r.Attrs.Size != int64(len(data)) {
			t.Errorf("%s: empty range: %v", name, err)
		}
	}
	if _, err := client.Bucket("exports").Object("nothing").NewReader(t.Context()); !errors.Is(err, storage.ErrObjectNotExist) {
		t.Errorf("read of nothing = %v", err)
	}
	for name, header := range map[string]http.Header{
		"plain":      {},
		"a page":     {"X-Goog-Api-Client": {"gl-js"}, "Origin": {"https://example.com"}},
		"cross-site": {"Authorization": {"Bearer x"}, "Sec-Fetch-Site": {"cross-site"}},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/exports/a.csv", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s, want 403", name, res.Status)
		}
	}
}

func TestUpdateAttributes(t *testing.T) {
	t.Parallel()
	_, b := newBucket(t)
	o := b.Object("a.csv")
	first := put(t, o, []byte("1"), 0)
	sum := md5.Sum([]byte("1"))
	if !bytes.Equal(first.MD5, sum[:]) {
		t.Errorf("MD5 = %x, want %x", first.MD5, sum)
	}
	a, err := o.Update(t.Context(), storage.ObjectAttrsToUpdate{ContentType: "text/csv", CacheControl: "no-store", Metadata: map[string]string{"a": "1", "b": "2"}, CustomTime: time.Unix(1e9, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if a.ContentType != "text/csv" || a.Metageneration != 2 || a.Generation != first.Generation || a.Etag == first.Etag || !a.CustomTime.Equal(time.Unix(1e9, 0)) {
		t.Errorf("after the first update: %+v", a)
	}
	if a, err = o.If(storage.Conditions{MetagenerationMatch: 2}).Update(t.Context(), storage.ObjectAttrsToUpdate{ContentType: "", Metadata: map[string]string{"a": "3"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{"", "no-store", map[string]string{"a": "3", "b": "2"}, int64(3)}, []any{a.ContentType, a.CacheControl, a.Metadata, a.Metageneration}); diff != "" {
		t.Errorf("after the second update (-want +got):\n%s", diff)
	}
	if a, err = o.Update(t.Context(), storage.ObjectAttrsToUpdate{Metadata: map[string]string{}}); err != nil || len(a.Metadata) != 0 {
		t.Errorf("without metadata: %v, %v", a, err)
	}
	if _, err := o.If(storage.Conditions{MetagenerationMatch: 2}).Update(t.Context(), storage.ObjectAttrsToUpdate{ContentType: "x/y"}); code(err) != http.StatusPreconditionFailed {
		t.Errorf("update of an old metageneration = %v, want 412", err)
	}
	if _, err := o.Update(t.Context(), storage.ObjectAttrsToUpdate{CustomTime: time.Unix(1e8, 0)}); code(err) != http.StatusBadRequest {
		t.Errorf("earlier custom time = %v, want 400", err)
	}
	if got := read(t, o); string(got) != "1" {
		t.Errorf("read = %q", got)
	}
}

func TestHolds(t *testing.T) {
	t.Parallel()
	_, b := newBucket(t)
	o := b.Object("a.csv")
	put(t, o, []byte("1"), 0)
	for _, set := range []func(bool) error{
		func(v bool) error {
			_, err := o.Update(t.Context(), storage.ObjectAttrsToUpdate{TemporaryHold: v})
			return err
		},
		func(v bool) error {
			_, err := o.Update(t.Context(), storage.ObjectAttrsToUpdate{EventBasedHold: v})
			return err
		},
	} {
		if err := set(true); err != nil {
			t.Fatal(err)
		}
		w := o.NewWriter(t.Context())
		_, _ = w.Write([]byte("2")) // the error shows in Close
		for op, err := range map[string]error{"delete": o.Delete(t.Context()), "overwrite": w.Close()} {
			if code(err) != http.StatusForbidden {
				t.Errorf("%s of a held object = %v, want 403", op, err)
			}
		}
		if err := set(false); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Delete(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	other := connect(t, url).Bucket("copies")
	if err := other.Create(t.Context(), "local", &storage.BucketAttrs{StorageClass: "NEARLINE"}); err != nil {
		t.Fatal(err)
	}
	data := random(1, 100<<10)
	w := b.Object("a.csv").NewWriter(t.Context())
	w.ContentType, w.Metadata = "text/csv", map[string]string{"job": "j1"}
	_, _ = w.Write(data) // the error shows in Close
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	to := other.Object("b/ü.csv")
	a, err := to.CopierFrom(b.Object("a.csv")).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a.ContentType != "text/csv" || a.Metadata["job"] != "j1" || a.Bucket != "copies" || a.Size != int64(len(data)) || !bytes.Equal(a.MD5, w.Attrs().MD5) || a.CRC32C != w.Attrs().CRC32C {
		t.Errorf("copy: %+v", a)
	}
	// The bytes are shared, and stay as long as one needs them.
	if err := b.Object("a.csv").Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, to); !bytes.Equal(got, data) {
		t.Errorf("copy has %d bytes", len(got))
	}
	c := to.CopierFrom(to) // a rewrite in place changes the metadata
	c.ContentType = "text/plain"
	if a, err = c.Run(t.Context()); err != nil || a.ContentType != "text/plain" || len(a.Metadata) != 0 {
		t.Errorf("rewrite in place: %+v, %v", a, err)
	}
	if got := read(t, to); !bytes.Equal(got, data) {
		t.Errorf("after the rewrite in place: %d bytes", len(got))
	}
	c = other.Object("held").CopierFrom(to)
	c.EventBasedHold = true // which is no metadata to take instead of the source's
	if a, err = c.Run(t.Context()); err != nil || a.ContentType != "text/plain" || !a.EventBasedHold {
		t.Errorf("copy with a hold: %+v, %v", a, err)
	}
	c = to.CopierFrom(b.Object("nothing"))
	if _, err := c.Run(t.Context()); code(err) != http.StatusNotFound {
		t.Errorf("copy of nothing = %v", err)
	}
	if _, err := other.Object("c").CopierFrom(to.If(storage.Conditions{GenerationMatch: 1})).Run(t.Context()); code(err) != http.StatusPreconditionFailed {
		t.Errorf("copy of another generation = %v, want 412", err)
	}
	if _, err := other.Object("d").CopierFrom(to.Generation(1)).Run(t.Context()); code(err) != http.StatusNotFound {
		t.Errorf("copy of another generation = %v, want 404", err)
	}
	put(t, b.Object("n"), nil, 0)
	if a, err := b.Object("n").Attrs(t.Context()); err != nil || a.StorageClass != "STANDARD" {
		t.Errorf("class: %v, %v", a, err)
	}
	if a := put(t, other.Object("n"), nil, 0); a.StorageClass != "NEARLINE" {
		t.Errorf("class of an object in a NEARLINE bucket: %s", a.StorageClass)
	}
}

func TestListsSelect(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	for _, name := range []string{"a.csv", "a.txt", "d/", "d/a.csv", "d/e/b.csv", "d/e/b.txt", "z"} {
		put(t, b.Object(name), nil, 0)
	}
	for glob, want := range map[string][]string{
		"*.csv": {"a.csv"}, "**.csv": {"a.csv", "d/a.csv", "d/e/b.csv"}, "d/*": {"d/", "d/a.csv"}, "d/**/b.*": {"d/e/b.csv", "d/e/b.txt"}, "**/*.csv": {"a.csv", "d/a.csv", "d/e/b.csv"},
		"?": {"z"}, "[!a]": {"z"}, "{a,d/a}.{csv,txt}": {"a.csv", "a.txt", "d/a.csv"}, "a.[ct]*": {"a.csv", "a.txt"},
	} {
		if diff := cmp.Diff(want, list(t, b, storage.Query{MatchGlob: glob}, 0)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", glob, diff)
		}
	}
	if _, err := b.Objects(t.Context(), &storage.Query{MatchGlob: "{a"}).Next(); code(err) != http.StatusBadRequest {
		t.Errorf("open brace = %v, want 400", err)
	}
	got := list(t, b, storage.Query{Prefix: "d/", Delimiter: "/", IncludeTrailingDelimiter: true}, 0)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"d/", "d/a.csv", "d/e/"}, got); diff != "" {
		t.Errorf("trailing delimiter (-want +got):\n%s", diff)
	}
	it := b.Objects(t.Context(), &storage.Query{StartOffset: "d/", Delimiter: "/", IncludeTrailingDelimiter: true})
	it.PageInfo().MaxSize = 1
	if a, err := it.Next(); err != nil || a.Name+a.Prefix != "d/" || it.PageInfo().Token != "z" {
		t.Errorf("a page of an object that is its own prefix: %+v, %v, the next begins at %q", a, err, it.PageInfo().Token)
	}
	q := &storage.Query{Prefix: "a."}
	if err := q.SetAttrSelection([]string{"Name"}); err != nil {
		t.Fatal(err)
	}
	if a, err := b.Objects(t.Context(), q).Next(); err != nil || a.Name != "a.csv" || a.Etag != "" || a.Generation != 0 {
		t.Errorf("selected attributes: %+v, %v", a, err)
	}
	for _, name := range []string{"exports-2", "exports-3", "other"} {
		if err := connect(t, url).Bucket(name).Create(t.Context(), "local", nil); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, want := range map[string][]string{"": {"exports", "exports-2", "exports-3", "other"}, "exports-": {"exports-2", "exports-3"}, "p": nil} {
		it := connect(t, url).Buckets(t.Context(), "local")
		it.Prefix = prefix
		it.PageInfo().MaxSize = 1
		var names []string
		for b, err := it.Next(); err == nil; b, err = it.Next() {
			names = append(names, b.Name)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("buckets %q (-want +got):\n%s", prefix, diff)
		}
	}
}

func TestSignedPut(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	signed, err := b.SignedURL("up/a b.csv", &storage.SignedURLOptions{
		Scheme: storage.SigningSchemeV4, Method: "PUT", GoogleAccessID: "exportd@localhost", Insecure: true, Expires: time.Now().Add(time.Minute),
		ContentType: "text/csv", Headers: []string{"x-goog-meta-job:j1"},
		SignBytes: func(p []byte) ([]byte, error) { return signBlob(t, url, p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, contentType string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, signed, strings.NewReader("id\r\n1\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("X-Goog-Meta-Job", "j1")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res
	}
	if res := send("PUT", "text/plain"); res.StatusCode != http.StatusForbidden {
		t.Errorf("PUT of another type than signed: %s, want 403", res.Status)
	}
	if res := send("DELETE", "text/csv"); res.StatusCode != http.StatusForbidden {
		t.Errorf("DELETE with a URL for PUT: %s, want 403", res.Status)
	}
	if res := send("PUT", "text/csv"); res.StatusCode != http.StatusOK || res.Header.Get("Etag") == "" {
		t.Fatalf("PUT: %s", res.Status)
	}
	a, err := b.Object("up/a b.csv").Attrs(t.Context())
	if err != nil || a.ContentType != "text/csv" || a.Metadata["job"] != "j1" || a.Size != 7 {
		t.Errorf("uploaded: %+v, %v", a, err)
	}
}

// TestTranscoding: a gzip is unpacked for who does not take one.
func TestTranscoding(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(bytes.Repeat([]byte("id,name\r\n"), 1000)) // into memory
	_ = z.Close()
	for name, cache := range map[string]string{"transform": "", "as is": "no-transform"} {
		w := b.Object(name).NewWriter(t.Context())
		w.ContentEncoding, w.CacheControl, w.ChunkSize = "gzip", cache, 0
		_, _ = w.Write(packed.Bytes()) // the error shows in Close
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, accept := range []string{"gzip", "identity"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/exports/"+strings.ReplaceAll(name, " ", "%20"), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept-Encoding", accept)
			req.Header.Set("Authorization", "Bearer x")
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			want, encoding := packed.Len(), "gzip"
			if accept == "identity" && cache == "" {
				want, encoding = 9000, ""
			}
			if err != nil || len(body) != want || res.Header.Get("Content-Encoding") != encoding || res.Header.Get("X-Goog-Stored-Content-Encoding") != "gzip" {
				t.Errorf("%s for who accepts %s: %d bytes, %q, %v; want %d, %q", name, accept, len(body), res.Header.Get("Content-Encoding"), err, want, encoding)
			}
		}
	}
}
