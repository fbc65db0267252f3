package jobstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"exportd/jobs"
)

var sweepCases = []objectCase{
	{name: "a list has what begins with its prefix, in order", run: listed},
	{name: "a list ends where its caller has enough", run: listEnds},
	{name: "a list is whole over its pages", run: pages},
	{name: "what is listed may be deleted meanwhile", run: sweptMeanwhile},
	{name: "what is deleted is gone, and may be deleted again", run: deleted},
	{name: "a prefix is deleted, and nothing beside it", run: prefixDeleted},
	{name: "the whole bucket is not deleted", run: notAll},
	{name: "those who delete at once bear each other", run: deletersAtOnce},
	{name: "an object is held as it was written, or not", run: held},
	{name: "a lost object is told from a lost bucket", run: lost},
}

var linkCases = []objectCase{
	{name: "a link gives the bytes, as what they are", run: linked},
	{name: "a changed link gives nothing", run: changedLink},
	{name: "a link lives for a second to seven days", run: linkLife},
	{name: "a link to a missing object is made, and gives nothing", run: linkToNothing},
	{name: "links are made side by side", run: linksAtOnce},
}

func listed(t *testing.T, b *Bucket) {
	all := []string{"a", "a/", "a/1", "a/10", "a/2", "a/2/x", "ab", "b/1"}
	for _, i := range []int{5, 3, 7, 0, 6, 1, 4, 2} {
		b.put(t, all[i], random(uint64(i), i))
	}
	for prefix, want := range map[string][]string{"": all, "a": all[:7], "a/": all[1:6], "a/1": all[2:4], "a/2/": all[5:6], "c": nil, "a/1000": nil} {
		if got := b.names(t, prefix); !slices.Equal(got, want) {
			t.Errorf("List(%q) = %q, want %q", prefix, got, want)
		}
	}
	if o := b.list(t, "a/2/x")[0]; o.Size != 5 || o.CRC32C != checksum(random(5, 5)) {
		t.Errorf("listed is %+v", o)
	}
}

func listEnds(t *testing.T, b *Bucket) {
	for i := range 5 {
		b.put(t, fmt.Sprint(i), nil)
	}
	n := 0
	for o, err := range b.List(t.Context(), "") {
		if err != nil || o.Name != fmt.Sprint(n) {
			t.Fatalf("List gives %+v, %v", o, err)
		}
		if n++; n == 2 {
			break
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for o, err := range b.List(ctx, "") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("List whose context has ended = %+v, %v", o, err)
		}
	}
}

// pages: Cloud Storage lists a thousand at a time.
func pages(t *testing.T, b *Bucket) {
	const n = 1003
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("p/%04d", i)
	}
	race(t, 8, nil, func(worker int) error {
		for i := worker; i < n; i += 8 {
			if _, err := b.write(t.Context(), names[i], []byte("x")); err != nil {
				return err
			}
		}
		return nil
	})
	if got := b.names(t, "p/"); !slices.Equal(got, names) {
		t.Errorf("%d of %d are listed, or not in order", len(got), n)
	}
	if got, err := b.DeletePrefix(t.Context(), "p/"); got != n || err != nil {
		t.Errorf("DeletePrefix = %d, %v, want %d", got, err, n)
	}
}

func sweptMeanwhile(t *testing.T, b *Bucket) {
	const n = 20
	for i := range n {
		b.put(t, fmt.Sprintf("s/%02d", i), []byte("x"))
	}
	seen := 0
	for o, err := range b.List(t.Context(), "s/") {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		if err := b.Delete(t.Context(), o.Name); err != nil {
			t.Error(err)
		}
	}
	if left := b.names(t, ""); seen != n || len(left) > 0 {
		t.Errorf("%d of %d were listed, left are %v", seen, n, left)
	}
}

func deleted(t *testing.T, b *Bucket) {
	b.put(t, "a", []byte("x"))
	b.put(t, "a2", []byte("x"))
	for range 2 {
		if err := b.Delete(t.Context(), "a"); err != nil {
			t.Errorf("Delete = %v", err)
		}
		b.missing(t, "a")
	}
	if got := b.names(t, ""); !slices.Equal(got, []string{"a2"}) {
		t.Errorf("left are %v", got)
	}
}

func prefixDeleted(t *testing.T, b *Bucket) {
	for _, name := range []string{"exports/o/j", "exports/o/j/1/a", "exports/o/j/2/b", "exports/o/j2/1/a", "exports/p/j/1/a"} {
		b.put(t, name, []byte("x"))
	}
	for _, want := range []int{2, 0} {
		if n, err := b.DeletePrefix(t.Context(), "exports/o/j/"); n != want || err != nil {
			t.Errorf("DeletePrefix = %d, %v, want %d", n, err, want)
		}
	}
	if got := b.names(t, ""); !slices.Equal(got, []string{"exports/o/j", "exports/o/j2/1/a", "exports/p/j/1/a"}) {
		t.Errorf("left are %v", got)
	}
}

func notAll(t *testing.T, b *Bucket) {
	b.put(t, "a", []byte("x"))
	if n, err := b.DeletePrefix(t.Context(), ""); n != 0 || err == nil {
		t.Errorf("DeletePrefix of everything = %d, %v", n, err)
	}
	if len(b.names(t, "")) != 1 {
		t.Error("the bucket is empty")
	}
}

func deletersAtOnce(t *testing.T, b *Bucket) {
	for i := range 20 {
		b.put(t, fmt.Sprintf("s/%02d", i), []byte("x"))
	}
	if done := race(t, 4, nil, func(int) error { _, err := b.DeletePrefix(t.Context(), "s/"); return err }); done != 4 {
		t.Errorf("%d of 4 have deleted", done)
	}
	if left := b.names(t, ""); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

func held(t *testing.T, b *Bucket) {
	o := b.put(t, "a", random(1, 1000))
	for name, tc := range map[string]struct {
		object string
		size   int64
		crc    uint32
		want   bool
	}{
		"as written":       {"a", o.Size, o.CRC32C, true},
		"of another size":  {"a", o.Size + 1, o.CRC32C, false},
		"of another bytes": {"a", o.Size, o.CRC32C + 1, false},
		"missing":          {"b", o.Size, o.CRC32C, false},
	} {
		if got, err := b.Holds(t.Context(), tc.object, tc.size, tc.crc); got != tc.want || err != nil {
			t.Errorf("Holds of an object that is %s = %t, %v", name, got, err)
		}
	}
}

func lost(t *testing.T, b *Bucket) {
	o := b.put(t, "a", random(1, 1000))
	if err := b.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if there, err := b.Holds(t.Context(), "a", o.Size, o.CRC32C); there || err != nil {
		t.Errorf("Holds of a lost object = %t, %v", there, err)
	}
	if _, err := b.NewReader(t.Context(), "a", 0); errors.Is(err, jobs.ErrNoBucket) {
		t.Errorf("NewReader of a lost object = %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if there, err := b.Holds(ctx, "a", o.Size, o.CRC32C); there || err == nil || errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("Holds that got no answer = %t, %v: the object may be there", there, err)
	}
}

// get follows a link.
func (b *Bucket) get(t *testing.T, link string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := b.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res, body
}

func (b *Bucket) link(t *testing.T, name, filename string) string {
	t.Helper()
	link, err := b.SignedURL(t.Context(), name, time.Hour, filename)
	if err != nil {
		t.Fatalf("SignedURL(%s) = %v", name, err)
	}
	return link
}

// wantFile wants a download of those bytes, saved by that name.
func (b *Bucket) wantFile(t *testing.T, link string, want []byte, filename string) {
	t.Helper()
	res, body := b.get(t, link)
	if res.StatusCode != http.StatusOK || !bytes.Equal(body, want) || res.Header.Get("Content-Type") != plainText.ContentType {
		t.Errorf("GET = %d, %d bytes, %s", res.StatusCode, len(body), res.Header.Get("Content-Type"))
	}
	how, params, err := mime.ParseMediaType(res.Header.Get("Content-Disposition"))
	if filename != "" && (err != nil || how != "attachment" || params["filename"] != filename) {
		t.Errorf("it is saved as %q (%v), want %q", params["filename"], err, filename)
	}
}

func linked(t *testing.T, b *Bucket) {
	for i, name := range []string{"exports/o/j/1/vip users.csv", "exports/ü?#%.csv"} {
		data := random(uint64(i), 1000)
		b.put(t, name, data)
		b.wantFile(t, b.link(t, name, `vip "ü".csv`), data, `vip "ü".csv`)
		b.wantFile(t, b.link(t, name, ""), data, "")
	}
	// Without a name of the link's own, the object's counts.
	w := b.Create(t.Context(), "b", jobs.ObjectAttrs{ContentType: plainText.ContentType, ContentDisposition: `attachment; filename="own.csv"`, CacheControl: "private, no-store"})
	defer w.Abort()
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantFile(t, b.link(t, "b", ""), nil, "own.csv")
	if res, _ := b.get(t, b.link(t, "b", "")); res.Header.Get("Cache-Control") != "private, no-store" {
		t.Errorf("Cache-Control = %q", res.Header.Get("Cache-Control"))
	}
}

func changedLink(t *testing.T, b *Bucket) {
	b.put(t, "exports/a.csv", []byte("x"))
	b.put(t, "exports/b.csv", []byte("y"))
	link := b.link(t, "exports/a.csv", "a.csv")
	for _, changed := range []string{link + "0", strings.Replace(link, "exports/a", "exports/b", 1), strings.Replace(link, "a.csv", "b.csv", -1)} {
		if changed == link {
			t.Fatalf("nothing is changed in %s", link)
		}
		if res, body := b.get(t, changed); res.StatusCode != http.StatusForbidden || bytes.Contains(body, []byte("y")) && len(body) == 1 {
			t.Errorf("GET of a changed link = %d %q, want 403", res.StatusCode, body)
		}
	}
}

func linkLife(t *testing.T, b *Bucket) {
	for _, ttl := range []time.Duration{-time.Hour, 0, time.Second - 1, 7*24*time.Hour + time.Second} {
		if _, err := b.SignedURL(t.Context(), "a", ttl, ""); err == nil {
			t.Errorf("SignedURL for %s = nil error", ttl)
		}
	}
	for _, ttl := range []time.Duration{time.Second, 7 * 24 * time.Hour} {
		if _, err := b.SignedURL(t.Context(), "a", ttl, ""); err != nil {
			t.Errorf("SignedURL for %s = %v", ttl, err)
		}
	}
}

func linkToNothing(t *testing.T, b *Bucket) {
	if res, _ := b.get(t, b.link(t, "nothing", "")); res.StatusCode != http.StatusNotFound {
		t.Errorf("GET = %d, want 404", res.StatusCode)
	}
}

func linksAtOnce(t *testing.T, b *Bucket) {
	const n = 6
	for i := range n {
		b.put(t, fmt.Sprint(i), random(uint64(i), 100))
	}
	links := make([]string, n)
	race(t, n, nil, func(i int) (err error) {
		links[i], err = b.SignedURL(t.Context(), fmt.Sprint(i), time.Hour, fmt.Sprintf("%d.csv", i))
		return err
	})
	for i, link := range links {
		b.wantFile(t, link, random(uint64(i), 100), fmt.Sprintf("%d.csv", i))
	}
}
