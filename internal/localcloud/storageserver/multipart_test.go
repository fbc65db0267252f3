package storageserver

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/objectstore/crc32c"
)

// parts is a multipart upload as a client makes it.
type parts struct {
	s        *Server
	t        *testing.T
	path, id string
}

func beginParts(t *testing.T, s *Server, path string, headers ...string) *parts {
	t.Helper()
	w := do(t, s, "POST", path+"?uploads", "", slices.Concat([]string{"Authorization", "Bearer x"}, headers)...)
	var began struct {
		XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
		Bucket, Key, UploadId string   //nolint:revive // as the API has it
	}
	if err := xml.Unmarshal(w.Body.Bytes(), &began); err != nil || w.Code != 200 || "/"+began.Bucket+"/"+began.Key != path || began.UploadId == "" {
		t.Fatalf("begin = %d %s: %v", w.Code, w.Body, err)
	}
	return &parts{s, t, path, began.UploadId}
}

func (p *parts) do(method, query, body string, headers ...string) *httptest.ResponseRecorder {
	p.t.Helper()
	return do(p.t, p.s, method, p.path+"?uploadId="+p.id+query, body, slices.Concat([]string{"Authorization", "Bearer x"}, headers)...)
}

// put uploads a part and returns its ETag.
func (p *parts) put(number int, body string) string {
	p.t.Helper()
	w := p.do("PUT", fmt.Sprintf("&partNumber=%d", number), body)
	hash := "crc32c=" + encodeCRC(crc32.Checksum([]byte(body), crc32c.Table))
	if w.Code != 200 || w.Header().Get("Etag") == "" || !slices.Contains(w.Header().Values("X-Goog-Hash"), hash) {
		p.t.Fatalf("part %d = %d %s %v", number, w.Code, w.Body, w.Header())
	}
	return w.Header().Get("Etag")
}

// list is the body that completes an upload, of numbers and ETags in turn.
func list(numbersAndTags ...any) string {
	out := "<CompleteMultipartUpload>"
	for i := 0; i < len(numbersAndTags); i += 2 {
		var tag bytes.Buffer
		_ = xml.EscapeText(&tag, []byte(numbersAndTags[i+1].(string))) // into memory
		out += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", numbersAndTags[i], &tag)
	}
	return out + "</CompleteMultipartUpload>"
}

func (p *parts) expect(w *httptest.ResponseRecorder, code int, word string) {
	p.t.Helper()
	if w.Code != code || !strings.Contains(w.Body.String(), word) {
		p.t.Errorf("= %d %s, want %d %s", w.Code, w.Body, code, word)
	}
}

func (p *parts) object() *httptest.ResponseRecorder {
	p.t.Helper()
	return do(p.t, p.s, "GET", p.path, "", "Authorization", "Bearer x")
}

const anyBucket = `{"name":"bkt"}`

// Parts come in any order, one comes twice, one is not asked for; the object has the others' bytes and the
// metadata that the upload began with, and nothing else is left, also of the object that was there before.
func TestMultipartUpload(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{Dir: t.TempDir(), Lax: true})
	do(t, s, "POST", "/storage/v1/b", `{"name":"bkt","storageClass":"NEARLINE"}`)
	big := func(letter string) string { return strings.Repeat(letter, smallBytes+1) }
	do(t, s, "PUT", "/bkt/a/b", big("before"), "Authorization", "Bearer x")
	p := beginParts(t, s, "/bkt/a/b", "Content-Type", "text/csv", "Cache-Control", "no-store", "X-Goog-Meta-K", "v", "X-Goog-Custom-Time", "2026-01-02T03:04:05Z")
	three := p.put(3, "three")
	old := p.put(1, big("old"))
	unused := p.put(7, big("unused"))
	one := p.put(1, big("one"))
	empty := p.put(10_000, "")
	if got := p.object(); !strings.HasPrefix(got.Body.String(), "before") {
		t.Errorf("an unfinished upload is seen: %.20s", got.Body)
	}
	p.expect(p.do("POST", "", list(1, old, 3, three)), 400, "InvalidPart")
	w := p.do("POST", "", list(1, one, 3, strings.Trim(three, `"`), 10_000, empty))
	p.expect(w, 200, "<Location>http://127.0.0.1/bkt/a/b</Location><Bucket>bkt</Bucket><Key>a/b</Key><ETag>")
	got := p.object()
	want := big("one") + "three"
	if got.Body.String() != want {
		t.Errorf("the object has %d bytes, want %d", got.Body.Len(), len(want))
	}
	sum := encodeCRC(crc32.Checksum([]byte(want), crc32c.Table))
	if h := got.Header(); h.Get("Etag") != w.Header().Get("Etag") || !slices.Equal(h.Values("X-Goog-Hash"), []string{"crc32c=" + sum}) || h.Get("Content-Type") != "text/csv" || h.Get("X-Goog-Meta-K") != "v" {
		t.Errorf("headers %v after %v", h, w.Header())
	}
	meta := do(t, s, "GET", "/storage/v1/b/bkt/o/a%2Fb", "").Body.String()
	for _, word := range []string{`"storageClass":"NEARLINE"`, `"cacheControl":"no-store"`, `"customTime":"2026-01-02T03:04:05.000000Z"`, `"crc32c":"` + sum + `"`, `"size":"` + strconv.Itoa(len(want)) + `"`} {
		if !strings.Contains(meta, word) {
			t.Errorf("no %s in %s", word, meta)
		}
	}
	if strings.Contains(meta, "md5Hash") {
		t.Errorf("an MD5 in %s", meta)
	}
	if files, small := stored(t, s); files != 1 || small != 1 {
		t.Errorf("%d files and %d small segments, want one each", files, small)
	}
	for _, again := range []*httptest.ResponseRecorder{p.do("POST", "", list(1, one, 7, unused)), p.do("PUT", "&partNumber=1", "x"), p.do("GET", "", ""), p.do("DELETE", "", "")} {
		p.expect(again, 404, "NoSuchUpload")
	}
	p.expect(do(t, s, "POST", "/none/a?uploads", "", "Authorization", "Bearer x"), 404, "NoSuchBucket")
}

func TestMultipartRefusals(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{InMemory: true, Lax: true})
	do(t, s, "POST", "/storage/v1/b", anyBucket)
	p := beginParts(t, s, "/bkt/a")
	tags := []any{1, p.put(1, "one"), 2, p.put(2, "two")}
	many := "<CompleteMultipartUpload>" + strings.Repeat("<Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>", maxParts+1) + "</CompleteMultipartUpload>"
	for body, word := range map[string]string{
		list(2, tags[3], 1, tags[1]):   "InvalidPartOrder",
		list(1, tags[1], 1, tags[1]):   "InvalidPartOrder",
		list(1, tags[3]):               "InvalidPart",
		list(1, tags[1], 3, tags[3]):   "InvalidPart",
		list(0, tags[1]):               "InvalidArgument",
		list(10_001, tags[1]):          "InvalidArgument",
		list():                         "there is no part",
		"":                             "MalformedXML",
		"x":                            "MalformedXML",
		"{}":                           "MalformedXML",
		list(tags...) + list(tags...):  "MalformedXML",
		list(tags...)[:60]:             "MalformedXML",
		"<!DOCTYPE x>" + list(tags...): "document type",
		`<?xml version="1.0" encoding="x"?>` + list(tags...):                                      "MalformedXML",
		strings.ReplaceAll(list(tags...), "Complete", "Other"):                                    "OtherMultipartUpload",
		strings.ReplaceAll(list(tags...), "Part>", "Piece>"):                                      "Piece",
		strings.ReplaceAll(list(tags...), "</Part>", "<ChecksumCRC32C>x</ChecksumCRC32C></Part>"): "ChecksumCRC32C",
		strings.ReplaceAll(list(tags...), "<ETag>", "<ETag>x</ETag><ETag>"):                       "one ETag",
		strings.ReplaceAll(list(tags...), "<Part>", "text<Part>"):                                 "text between",
		many: "more than 10000 parts",
		"<CompleteMultipartUpload>" + strings.Repeat(" ", maxCompleteBytes) + list(tags...): "more than 4194304 bytes",
	} {
		if w := p.do("POST", "", body); w.Code != 400 || !strings.Contains(w.Body.String(), word) || strings.Contains(w.Body.String(), "xml:") {
			t.Errorf("%.200s = %d %s, want %s", body, w.Code, w.Body, word)
		}
	}
	p.expect(p.do("POST", "", list(tags...), "X-Goog-Hash", "crc32c=AAAAAA=="), 400, "CRC32C")
	p.expect(p.do("PUT", "&partNumber=1", "x", "X-Goog-Hash", "crc32c=AAAAAA=="), 400, "CRC32C")
	p.expect(p.do("PUT", "&partNumber=1", "x", "Content-Md5", "AAAAAAAAAAAAAAAAAAAAAA=="), 400, "MD5")
	for _, number := range []string{"", "&partNumber=", "&partNumber=0", "&partNumber=10001", "&partNumber=x"} {
		p.expect(p.do("PUT", number, "x"), 400, "InvalidArgument")
	}
	for _, c := range []struct{ method, query, header, word string }{
		{"POST", "", "X-Goog-If-Generation-Match", "Preconditions"}, {"PUT", "&partNumber=3", "X-Goog-If-Metageneration-Match", "Preconditions"}, {"GET", "&generation=1", "X-Y", "Preconditions"},
		{"PUT", "&partNumber=3", "X-Goog-Copy-Source", "notImplemented"}, {"PUT", "&partNumber=3", "X-Goog-Encryption-Key", "notImplemented"}, {"PUT", "&partNumber=3", "X-Amz-Content-Sha256", "notImplemented"},
		{"PATCH", "", "X-Y", "notImplemented"}, {"GET", "&acl", "X-Y", "notImplemented"}, {"GET", "&max-parts=x", "X-Y", "InvalidArgument"}, {"GET", "&max-parts=0", "X-Y", "InvalidArgument"}, {"GET", "&part-number-marker=-1", "X-Y", "InvalidArgument"},
	} {
		p.expect(p.do(c.method, c.query, list(tags...), c.header, "0"), 400, c.word)
	}
	for target, code := range map[string]int{"/bkt?uploads&encoding-type=x": 400, "/bkt?uploads&max-uploads=x": 400, "/none?uploads": 404, "/bkt": 400, "/bkt/": 400, "/bkt/a?partNumber=1": 400} {
		p.expect(do(t, s, "GET", target, "", "Authorization", "Bearer x"), code, "Error")
	}
	p.expect(do(t, s, "POST", "/bkt/a?uploads", ""), 403, "AccessDenied")
	p.expect(do(t, s, "POST", "/bkt/a?uploads", "", "Authorization", "Bearer x", "X-Goog-Acl", "private"), 400, "x-goog-acl")
	p.expect(do(t, s, "POST", "/bkt/a?uploads", "", "Authorization", "Bearer x", "X-Goog-Storage-Class", "COLD"), 400, "storage class")
	p.expect(p.do("POST", "", list(tags...)), 200, "CompleteMultipartUploadResult") // nothing of all this has changed it
}

// All parts but the last have 5 MiB or more, where wear is counted.
func TestMultipartPartSizes(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{InMemory: true})
	do(t, s, "POST", "/storage/v1/b", anyBucket)
	p := beginParts(t, s, "/bkt/a")
	small, enough, end := p.put(1, strings.Repeat("s", minPartBytes-1)), p.put(2, strings.Repeat("e", minPartBytes)), p.put(3, "x")
	p.expect(p.do("POST", "", list(1, small, 3, end)), 400, "EntityTooSmall")
	p.expect(p.do("POST", "", list(2, enough, 3, end)), 200, "Result")
	if got := p.object().Body.Len(); got != minPartBytes+1 {
		t.Errorf("%d bytes", got)
	}
	p = beginParts(t, s, "/bkt/b")
	req := httptest.NewRequestWithContext(t.Context(), "PUT", "http://127.0.0.1/bkt/b?partNumber=1&uploadId="+p.id, strings.NewReader("x"))
	req.ContentLength = maxPartBytes + 1
	req.Header.Set("Authorization", "Bearer x")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, req)
	p.expect(w, 400, "EntityTooLarge")
}

// pages is what a list has, over pages of so many.
func pages(t *testing.T, s *Server, target string, items, next map[string]string) (out []string, count int) {
	t.Helper()
	for query := ""; ; {
		w := do(t, s, "GET", target+query, "", "Authorization", "Bearer x")
		if w.Code != 200 {
			t.Fatalf("%s%s = %d %s", target, query, w.Code, w.Body)
		}
		count++
		more := map[string]string{}
		truncated := ""
		d, path, text := xml.NewDecoder(w.Body), []string{}, ""
		for tok, err := d.Token(); err == nil; tok, err = d.Token() {
			switch e := tok.(type) {
			case xml.StartElement:
				path = append(path, e.Name.Local)
			case xml.CharData:
				text = string(e)
			case xml.EndElement:
				at := strings.Join(path[1:], ".")
				if items[at] != "" {
					out = append(out, items[at]+text)
				}
				if next[at] != "" {
					more[next[at]] = text
				}
				if at == "IsTruncated" {
					truncated = text
				}
				path, text = path[:len(path)-1], ""
			}
		}
		if truncated != "true" {
			return out, count
		}
		query = ""
		for name, value := range more {
			query += "&" + name + "=" + value
		}
	}
}

func TestMultipartLists(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{InMemory: true, Lax: true})
	do(t, s, "POST", "/storage/v1/b", anyBucket)
	do(t, s, "POST", "/storage/v1/b", `{"name":"bkt2"}`)
	p := beginParts(t, s, "/bkt/dir/a")
	for _, n := range []int{5, 1, 10_000, 2, 30} {
		p.put(n, strings.Repeat("x", n%7))
	}
	want := []string{"1", "size 1", "2", "size 2", "5", "size 5", "30", "size 2", "10000", "size 4"}
	items := map[string]string{"Part.PartNumber": " ", "Part.Size": "size "}
	for limit, calls := range map[int]int{1: 5, 2: 3, 5: 1, 1000: 1} {
		got, n := pages(t, s, fmt.Sprintf("/bkt/dir/a?uploadId=%s&max-parts=%d", p.id, limit), items, map[string]string{"NextPartNumberMarker": "part-number-marker"})
		for i := range got {
			got[i] = strings.TrimSpace(got[i])
		}
		if !slices.Equal(got, want) || n != calls {
			t.Errorf("pages of %d: %q in %d", limit, got, n)
		}
	}
	for _, name := range []string{"dir/a", "dir/b", "z", "dir/sub/c", "ä", "dir2/a", "dir/b"} {
		beginParts(t, s, "/bkt/"+name)
	}
	beginParts(t, s, "/bkt2/other")
	items, next := map[string]string{"Upload.Key": " ", "CommonPrefixes.Prefix": "dir "}, map[string]string{"NextKeyMarker": "key-marker", "NextUploadIdMarker": "upload-id-marker"}
	for query, want := range map[string][]string{
		"":                         {" dir/a", " dir/a", " dir/b", " dir/b", " dir/sub/c", " dir2/a", " z", " ä"},
		"&prefix=dir/":             {" dir/a", " dir/a", " dir/b", " dir/b", " dir/sub/c"},
		"&delimiter=/":             {"dir dir/", "dir dir2/", " z", " ä"},
		"&delimiter=/&prefix=dir/": {" dir/a", " dir/a", " dir/b", " dir/b", "dir dir/sub/"},
		"&prefix=none":             nil,
	} {
		for limit := range 9 {
			if limit == 0 {
				continue
			}
			got, n := pages(t, s, fmt.Sprintf("/bkt?uploads&max-uploads=%d%s", limit, query), items, next)
			slices.Sort(got) // folders come behind the uploads of a page
			if want := slices.Sorted(slices.Values(want)); !slices.Equal(got, want) || n != max(1, (len(want)+limit-1)/limit) {
				t.Errorf("%s in pages of %d: %q in %d", query, limit, got, n)
			}
		}
	}
	for query, want := range map[string][]string{
		"&key-marker=dir/b":                            {" dir/sub/c", " dir2/a", " z", " ä"},
		"&key-marker=dir":                              {" dir/a", " dir/a", " dir/b", " dir/b", " dir/sub/c", " dir2/a", " z", " ä"},
		"&key-marker=dir/a&upload-id-marker=~":         {" dir/b", " dir/b", " dir/sub/c", " dir2/a", " z", " ä"},
		"&key-marker=dir/a&upload-id-marker=0":         {" dir/a", " dir/a", " dir/b", " dir/b", " dir/sub/c", " dir2/a", " z", " ä"},
		"&upload-id-marker=~&prefix=z":                 {" z"},
		"&key-marker=dir/&delimiter=/":                 {"dir dir2/", " z", " ä"},
		"&key-marker=dir/&delimiter=/&prefix=dir/":     {" dir/a", " dir/a", " dir/b", " dir/b", "dir dir/sub/"},
		"&key-marker=dir/sub/&delimiter=/&prefix=dir/": nil,
		"&key-marker=a&prefix=dir2":                    {" dir2/a"},
		"&key-marker=e&prefix=dir2":                    nil,
	} {
		got, _ := pages(t, s, "/bkt?uploads"+query, items, next)
		slices.Sort(got)
		if want := slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	if got := do(t, s, "GET", "/bkt?uploads&encoding-type=url&prefix=%C3%A4", "", "Authorization", "Bearer x").Body.String(); !strings.Contains(got, "<Key>%C3%A4</Key>") {
		t.Errorf("encoded: %s", got)
	}
}

// A page reads no more than is on it: not what is behind it, nor what is in a folder.
func TestMultipartListReadsPages(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{InMemory: true, Lax: true})
	do(t, s, "POST", "/storage/v1/b", anyBucket)
	for _, name := range []string{"a", "b", "dir/a", "e", "z"} {
		beginParts(t, s, "/bkt/"+name)
	}
	p := beginParts(t, s, "/bkt/a")
	for n := range 4 {
		p.put(n+1, "x")
	}
	for _, key := range [][]byte{multipartKey("bkt", "dir/b", "x"), multipartKey("bkt", "y", "x"), partKey(p.id, 2)} {
		if err := s.db.Set(key, []byte("what cannot be read"), nil); err != nil {
			t.Fatal(err)
		}
	}
	for target, code := range map[string]int{
		"/bkt?uploads&max-uploads=2": 200, "/bkt?uploads&delimiter=/&key-marker=a&max-uploads=3": 200, "/bkt?uploads&key-marker=y": 200, "/bkt/a?part-number-marker=2&uploadId=" + p.id: 200,
		"/bkt?uploads&prefix=dir": 500, "/bkt?uploads&key-marker=e": 500, "/bkt/a?part-number-marker=1&uploadId=" + p.id: 500, // so that it is known what reading them comes to
	} {
		if w := do(t, s, "GET", target, "", "Authorization", "Bearer x"); w.Code != code {
			t.Errorf("%s = %d %s, want %d", target, w.Code, w.Body, code)
		}
	}
}

// What was acknowledged of an upload is there after a restart; what a build has removed that knows of no
// parts is no part any more, and can be sent again.
func TestMultipartRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, stop := open(t, Options{Dir: dir, Lax: true})
	do(t, s, "POST", "/storage/v1/b", anyBucket)
	p := beginParts(t, s, "/bkt/a", "Content-Type", "text/x")
	large := strings.Repeat("l", smallBytes+1)
	one, two := p.put(1, large), p.put(2, "small")
	stop()
	p.s, stop = open(t, Options{Dir: dir, Lax: true})
	three := p.put(3, large)
	if _, err := p.s.blobs.sweep(nil); err != nil { // as a start of version 0.1.0 does
		t.Fatal(err)
	}
	stop()
	p.s, _ = open(t, Options{Dir: dir, Lax: true})
	p.expect(p.do("POST", "", list(1, one, 2, two, 3, three)), 400, "InvalidPart")
	one, two, three = p.put(1, large), p.put(2, "small"), p.put(3, large)
	p.expect(p.do("POST", "", list(1, one, 2, two, 3, three)), 200, "Result")
	if got := p.object(); got.Body.String() != large+"small"+large || got.Header().Get("Content-Type") != "text/x" {
		t.Errorf("%d bytes, %v", got.Body.Len(), got.Header())
	}
}

// An upload that nobody goes on with ends after a week without a part, before that by a rule of its bucket,
// by being aborted, and with its bucket, which it does not keep from being deleted.
func TestMultipartAbandoned(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{Dir: t.TempDir(), Lax: true})
	do(t, s, "POST", "/storage/v1/b", `{"name":"bkt","lifecycle":{"rule":[{"action":{"type":"AbortIncompleteMultipartUpload"},"condition":{"age":3,"matchesPrefix":["tmp/"]}}]}}`)
	do(t, s, "POST", "/storage/v1/b", `{"name":"bkt2"}`)
	large := strings.Repeat("l", smallBytes+1)
	begin := func(path string) *parts {
		p := beginParts(t, s, path)
		p.put(1, large)
		p.put(2, "small")
		return p
	}
	ruled, rests, aborted, other := begin("/bkt/tmp/a"), begin("/bkt/a"), begin("/bkt/b"), begin("/bkt2/a")
	check := func(when string, want ...*parts) {
		t.Helper()
		for _, p := range []*parts{ruled, rests, aborted, other} {
			if got := p.do("GET", "", "").Code == 200; got != slices.Contains(want, p) {
				t.Errorf("%s: %s is there: %v", when, p.path, got)
			}
		}
		if files, small := stored(t, s); files != len(want) || small != len(want) {
			t.Errorf("%s: %d files and %d small segments, want %d each", when, files, small, len(want))
		}
	}
	tidy := func(days float64) {
		t.Helper()
		if err := s.tidy(time.Now().Add(time.Duration(days * 24 * float64(time.Hour)))); err != nil {
			t.Fatal(err)
		}
	}
	check("begun", ruled, rests, aborted, other)
	aborted.expect(aborted.do("DELETE", "", ""), 204, "")
	check("aborted", ruled, rests, other)
	tidy(2.9)
	check("before three days", ruled, rests, other)
	tidy(3.1)
	check("after three days", rests, other)
	if w := do(t, s, "DELETE", "/storage/v1/b/bkt2", ""); w.Code != http.StatusNoContent {
		t.Errorf("a bucket with an upload alone = %d %s", w.Code, w.Body)
	}
	do(t, s, "POST", "/storage/v1/b", `{"name":"bkt2"}`)
	check("its bucket deleted, and made again", rests)
	tidy(6.9)
	check("before a week", rests)
	tidy(7.1)
	check("after a week")
	begin("/bkt/c")
	if _, _, err := s.Reset(""); err != nil {
		t.Fatal(err)
	}
	left := 0
	err := s.eachMultipart("", func(*multipartUpload) error { left++; return nil })
	if files, small := stored(t, s); err != nil || left+files+small > 0 {
		t.Errorf("after a reset: %d, %v, %d files and %d small segments", left, err, files, small)
	}
}

// Parts of one number that come side by side, with requests that complete and abort the upload, leave one
// object of parts that were whole, or none, and no bytes besides.
func TestMultipartRaces(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{Dir: t.TempDir(), Lax: true})
	do(t, s, "POST", "/storage/v1/b", anyBucket)
	for round := range 10 {
		p := beginParts(t, s, fmt.Sprintf("/bkt/%d", round))
		first := p.put(1, strings.Repeat("0", smallBytes+1))
		var all sync.WaitGroup
		codes := make([]int, 6)
		for i := range 4 {
			all.Go(func() { codes[i] = p.do("PUT", "&partNumber=1", strings.Repeat(strconv.Itoa(i), smallBytes+1)).Code })
		}
		all.Go(func() { codes[4] = p.do("POST", "", list(1, first)).Code })
		all.Go(func() { codes[5] = p.do("DELETE", "", "").Code })
		all.Wait()
		made, aborted := codes[4] == 200, codes[5] == 204
		got := p.object()
		if made == aborted || made != (got.Code == 200) || made && got.Body.Len() != smallBytes+1 {
			t.Errorf("codes %v, then %d with %d bytes", codes, got.Code, got.Body.Len())
		}
		if files, _ := stored(t, s); made && files != 1 || !made && files != 0 {
			t.Errorf("%d files with codes %v", files, codes)
		}
		do(t, s, "DELETE", fmt.Sprintf("/bkt/%d", round), "", "Authorization", "Bearer x")
	}
}

// FuzzParts has any bytes be the list of parts: it is an error for the caller, or parts as they may be.
func FuzzParts(f *testing.F) {
	for _, s := range []string{
		list(1, `"x"`, 2, "y"), list(), `<?xml version="1.0"?><!-- c --><CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/"> <Part><ETag>&quot;x&quot;</ETag><PartNumber> 1 </PartNumber></Part></CompleteMultipartUpload>`,
		"<CompleteMultipartUpload><Part><PartNumber>1<x/></PartNumber><ETag/></Part></CompleteMultipartUpload>", "<!DOCTYPE a [<!ENTITY b \"c\">]><CompleteMultipartUpload>&b;</CompleteMultipartUpload>", "<a><a><a>", "\xff\xfe<",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := readParts(bytes.NewReader(body))
		if err != nil {
			if refusal, ok := errors.AsType[*apiError](err); !ok || refusal.Status != 400 {
				t.Fatalf("readParts(%q) = %v", body, err)
			}
			return
		}
		var again []any
		for _, p := range got {
			if p.number < 1 || p.number > maxParts {
				t.Fatalf("readParts(%q) = %+v", body, p)
			}
			again = append(again, p.number, `"`+p.etag+`"`)
		}
		if same, err := readParts(strings.NewReader(list(again...))); len(got) == 0 || err != nil || !slices.Equal(same, got) {
			t.Fatalf("readParts(%q) = %v, and written again %v, %v", body, got, same, err)
		}
	})
}
