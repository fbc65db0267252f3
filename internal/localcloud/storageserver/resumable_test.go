package storageserver_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"

	"exportd/internal/objectstore/crc32c"
)

// rawUpload speaks the resumable protocol by hand, where the official client would hide it.
type rawUpload struct {
	t   testing.TB
	url string
}

func startUpload(t testing.TB, base, query string) rawUpload {
	t.Helper()
	res := send(t, "POST", base+"/upload/storage/v1/b/exports/o?uploadType=resumable&"+query, "", `{"contentType":"text/csv"}`)
	if res.StatusCode != http.StatusOK || res.Header.Get("Location") == "" {
		t.Fatalf("start of an upload = %d %v", res.StatusCode, res.Header)
	}
	return rawUpload{t, res.Header.Get("Location")}
}

func send(t testing.TB, method, url, contentRange, body string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentRange != "" {
		req.Header.Set("Content-Range", contentRange)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(data))
	return res
}

// expect sends a chunk and compares the status and the Range header ("" for none).
func (u rawUpload) expect(contentRange, body string, status int, wantRange string) {
	u.t.Helper()
	res := send(u.t, "PUT", u.url, contentRange, body)
	if res.StatusCode != status || res.Header.Get("Range") != wantRange {
		text, _ := io.ReadAll(res.Body)
		u.t.Errorf("%q with %d bytes = %d Range %q, want %d %q: %s", contentRange, len(body), res.StatusCode, res.Header.Get("Range"), status, wantRange, text)
	}
}

func TestResumableOffsetsAreExact(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	u := startUpload(t, url, "name=a&ifGenerationMatch=0")
	u.expect("bytes */*", "", 308, "")
	u.expect("bytes 3-5/*", "def", 503, "") // a gap
	u.expect("bytes 0-3/*", "abcd", 308, "bytes=0-3")
	u.expect("bytes 0-3/*", "abcd", 308, "bytes=0-3")       // sent again
	u.expect("bytes 2-5/*", "cdef", 308, "bytes=0-5")       // overlapping
	u.expect("bytes 0-9/*", "abcdefghij", 308, "bytes=0-9") // overlapping from the start
	u.expect("bytes */*", "", 308, "bytes=0-9")
	u.expect("bytes */11", "", 308, "bytes=0-9")
	u.expect("bytes */5", "", 400, "") // fewer than have come
	if _, err := b.Object("a").Attrs(t.Context()); err == nil {
		t.Error("the object is visible before its last byte")
	}
	u.expect("bytes 8-11/12", "ijkl", 200, "")
	u.expect("bytes 8-11/12", "ijkl", 200, "") // the answer was lost
	u.expect("bytes */12", "", 200, "")
	if got := read(t, b.Object("a")); string(got) != "abcdefghijkl" {
		t.Errorf("object = %q", got)
	}
	for _, bad := range []string{"bytes", "bytes x-y/*", "bytes 5-2/*", "bytes 0-0/x", "bytes 0-5/3", "items 0-0/*", "bytes 0-9223372036854775807/*", "bytes -1-2/*"} {
		send(t, "PUT", u.url, bad, "")
		v := startUpload(t, url, "name=b")
		v.expect(bad, "", 400, "")
	}
}

// A range may leave its end open: the request then has all that is left, as Node's client sends it, with or
// without a length of the body.
func TestResumableOpenRange(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	for name, send := range map[string]func(u rawUpload){
		"known":   func(u rawUpload) { u.expect("bytes 0-*/6", "abcdef", 200, "") },
		"unknown": func(u rawUpload) { u.expect("bytes 0-*/*", "abcdef", 200, "") },
		"resumed": func(u rawUpload) {
			u.expect("bytes 0-2/*", "abc", 308, "bytes=0-2")
			u.expect("bytes 3-*/6", "def", 200, "")
		},
		"again": func(u rawUpload) {
			u.expect("bytes 0-2/*", "abc", 308, "bytes=0-2")
			u.expect("bytes 0-*/*", "abcdef", 200, "")
		},
		"cut short": func(u rawUpload) {
			u.expect("bytes 0-*/6", "abc", 308, "bytes=0-2")
			u.expect("bytes 3-5/6", "def", 200, "")
		},
		"chunked": func(u rawUpload) {
			req, _ := http.NewRequestWithContext(t.Context(), "PUT", u.url, io.MultiReader(strings.NewReader("abc"), strings.NewReader("def")))
			req.Header.Set("Content-Range", "bytes 0-*/*")
			if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != 200 {
				t.Errorf("chunked: %v, %v", res, err)
			} else {
				_ = res.Body.Close()
			}
		},
	} {
		send(startUpload(t, url, "name="+strings.ReplaceAll(name, " ", "")))
		if got := read(t, b.Object(strings.ReplaceAll(name, " ", ""))); string(got) != "abcdef" {
			t.Errorf("%s: object = %q", name, got)
		}
	}
	u := startUpload(t, url, "name=bad")
	u.expect("bytes 2-*/6", "cdef", 503, "") // a gap
	u.expect("bytes 0-*/5", "abcdef", 400, "")
	for _, bad := range []string{"bytes x-*/6", "bytes -1-*/6", "bytes *-5/6", "bytes 0-*"} {
		u.expect(bad, "abc", 400, "")
	}
}

func TestResumableEnds(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	startUpload(t, url, "name=whole").expect("", "all at once", 200, "")
	startUpload(t, url, "name=empty").expect("bytes */0", "", 200, "")
	for name, want := range map[string]string{"whole": "all at once", "empty": ""} {
		if got := read(t, b.Object(name)); string(got) != want {
			t.Errorf("object %s = %q, want %q", name, got, want)
		}
	}
	u := startUpload(t, url, "name=cancelled")
	u.expect("bytes 0-2/*", "abc", 308, "bytes=0-2")
	if res := send(t, "DELETE", u.url, "", ""); res.StatusCode != 499 {
		t.Errorf("cancel = %d, want 499", res.StatusCode)
	}
	u.expect("bytes 3-3/4", "d", 404, "")
	rawUpload{t, url + "/upload/storage/v1/b/exports/o?uploadType=resumable&upload_id=nobody"}.expect("bytes */*", "", 404, "")

	// Two uploads race for one name: the one that ends second is refused, and stays refused.
	first, second := startUpload(t, url, "name=race&ifGenerationMatch=0"), startUpload(t, url, "name=race&ifGenerationMatch=0")
	first.expect("bytes 0-0/1", "1", 200, "")
	for range 2 {
		second.expect("bytes 0-0/1", "2", 412, "")
	}
	if got := read(t, b.Object("race")); string(got) != "1" {
		t.Errorf("object = %q, want the first one's", got)
	}

	// The checksum that the client declares with its last chunk decides.
	for _, c := range []struct {
		crc    uint32
		status int
	}{{1, 400}, {crc32.Checksum([]byte("abc"), crc32c.Table), 200}} {
		u := startUpload(t, url, fmt.Sprint("name=crc", c.status))
		hash := "crc32c=" + base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, c.crc))
		if res := send(t, "PUT", u.url, "bytes 0-2/3", "abc", "X-Goog-Hash", hash); res.StatusCode != c.status {
			t.Errorf("last chunk with checksum %s = %d, want %d", hash, res.StatusCode, c.status)
		}
	}
}

// The official client asks not to be answered with 308, which net/http takes for a redirect.
func TestResumableWithout308(t *testing.T) {
	t.Parallel()
	url, _ := newBucket(t)
	u := startUpload(t, url, "name=a")
	res := send(t, "POST", u.url, "bytes 0-2/*", "abc", "X-GUploader-No-308", "yes")
	if res.StatusCode != 200 || res.Header.Get("X-Http-Status-Code-Override") != "308" || res.Header.Get("Range") != "bytes=0-2" {
		t.Errorf("chunk = %d %v", res.StatusCode, res.Header)
	}
}

func TestResumableSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url, stop := start(t, dir)
	if err := connect(t, url).Bucket("exports").Create(t.Context(), "local", nil); err != nil {
		t.Fatal(err)
	}
	open, done := startUpload(t, url, "name=open"), startUpload(t, url, "name=done")
	open.expect("bytes 0-2/*", "abc", 308, "bytes=0-2")
	done.expect("bytes 0-2/3", "xyz", 200, "")
	stop()
	again, _ := start(t, dir)
	open.url, done.url = strings.Replace(open.url, url, again, 1), strings.Replace(done.url, url, again, 1)
	done.expect("bytes 0-2/3", "xyz", 200, "")
	open.expect("bytes */*", "", 308, "bytes=0-2")
	open.expect("bytes 0-5/6", "abcdef", 200, "")
	if got := read(t, connect(t, again).Bucket("exports").Object("open")); string(got) != "abcdef" {
		t.Errorf("object = %q", got)
	}
}

// A request that hangs in the middle of its chunk gives way to the one that the client sends instead.
func TestResumableTakesOverFromDeadConnection(t *testing.T) {
	t.Parallel()
	url, b := newBucket(t)
	u := startUpload(t, url, "name=a")
	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "PUT", u.url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Range", "bytes 0-5/6")
	req.ContentLength = 6
	ended := make(chan struct{})
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		defer close(ended)
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close()
		}
	}()
	if _, err := feed.Write([]byte("abc")); err != nil { // and then nothing more
		t.Fatal(err)
	}
	u.expect("bytes 0-5/6", "abcdef", 200, "")
	_ = feed.Close()
	<-ended
	if got := read(t, b.Object("a")); string(got) != "abcdef" {
		t.Errorf("object = %q", got)
	}
}
