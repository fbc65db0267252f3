package fuzz

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/fault"
)

// ports is a cloud that is emptied before each input.
type ports struct {
	*watch
	cloud  *localcloud.Cloud
	client *http.Client
}

func startPorts(f *testing.F) *ports {
	f.Helper()
	p := &ports{watch: &watch{}, client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	var err error
	p.cloud, err = localcloud.Start(f.Context(), localcloud.Config{InMemory: true, Lax: true, ControlAddr: "127.0.0.1:0", IndexesJSON: []byte(someIndexes), Log: p.zap()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		p.client.CloseIdleConnections()
		if err := p.cloud.Close(context.WithoutCancel(f.Context())); err != nil {
			f.Error(err)
		}
	})
	return p
}

// fill brings the cloud to what it is at the start of each input: a bucket with an object and an upload under
// way, whose id it returns, documents, a topic and a subscription.
func (p *ports) fill(t *testing.T) (upload string) {
	t.Helper()
	if err := p.cloud.Faults().Set(fault.Config{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.cloud.Reset(t.Context(), localcloud.Scope{}); err != nil {
		t.Fatal(err)
	}
	e := p.cloud.Endpoints()
	for _, c := range []struct{ verb, url, body string }{
		{"POST", e.Firestore + "/v1/" + database + "/documents:commit", strings.ReplaceAll(someDocuments, "$DB", database)},
		{"PUT", e.PubSub + "/v1/" + project + "/topics/numbers", `{}`},
		{"PUT", e.PubSub + "/v1/" + project + "/subscriptions/numbers", `{"topic":"` + project + `/topics/numbers"}`},
		// Something to pull, or a pull would wait for 20 s.
		{"POST", e.PubSub + "/v1/" + project + "/topics/numbers:publish", `{"messages":[{"data":"AAE="}]}`},
		{"POST", e.Storage + "/storage/v1/b?project=p", `{"name":"numbers"}`},
		{"POST", e.Storage + "/upload/storage/v1/b/numbers/o?uploadType=media&name=a", "hello"},
		{"POST", e.Storage + "/upload/storage/v1/b/numbers/o?uploadType=resumable&name=r", "{}"},
	} {
		code, h, err := p.ask(t.Context(), c.verb, c.url, nil, []byte(c.body))
		if err != nil || code != http.StatusOK {
			t.Fatalf("%s %s: %d, %v", c.verb, c.url, code, err)
		}
		upload = h.Get("X-Guploader-Uploadid")
	}
	return upload
}

// ask sends a request whose target and headers are any bytes that HTTP can carry; others are no request.
func (p *ports) ask(ctx context.Context, verb, target string, header http.Header, body []byte) (int, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, verb, "http://"+target, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header, errors.Join(err, resp.Body.Close())
}

// try is ask, where 500 and what is like it are the server's fault. No answer is as well, unless the request
// was none.
func (p *ports) try(t *testing.T, host, verb, path string, header http.Header, body []byte) {
	t.Helper()
	if _, err := url.ParseRequestURI(path); err != nil || !strings.HasPrefix(path, "/") || strings.Contains(path, "#") {
		return
	}
	p.call(t, len(path)+len(body), func(ctx context.Context) {
		code, _, err := p.ask(ctx, verb, host+path, header, body)
		var broken *net.OpError
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &broken) {
			t.Errorf("%s %q: %v", verb, path, err)
		}
		if code == http.StatusInternalServerError {
			t.Errorf("%s %q: %d", verb, path, code)
		}
	})
}

var verbs = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"}

func verb(name string) uint8 {
	for i, v := range verbs {
		if v == name {
			return uint8(i)
		}
	}
	return 0
}

// FuzzREST sends any path and body to the REST forms of Firestore and Pub/Sub, and to the data browser.
func FuzzREST(f *testing.F) {
	f.Add(false, uint8(0), "/", []byte{})
	docs := "/v1/" + database + "/documents"
	for _, path := range []string{docs + "/items/a", docs + "/items?pageSize=1&pageToken=AAEC&orderBy=n", docs + "/items/a?mask.fieldPaths=n&readTime=2026-01-02T03:04:05Z"} {
		f.Add(false, uint8(0), path, []byte{})
	}
	for _, path := range []string{":runQuery", ":runAggregationQuery", ":batchGet", ":commit", ":listCollectionIds", ":partitionQuery", "/items?documentId=z"} {
		f.Add(false, verb("POST"), docs+path, []byte(`{"structuredQuery":{"from":[{"collectionId":"items"}],"where":{"fieldFilter":{"field":{"fieldPath":"n"},"op":"EQUAL","value":{"integerValue":"1"}}}}}`))
	}
	f.Add(false, verb("PATCH"), docs+"/items/a?updateMask.fieldPaths=n&currentDocument.exists=true", []byte(`{"fields":{"n":{"integerValue":"1"}}}`))
	f.Add(false, verb("DELETE"), "/emulator/v1/"+database+"/documents", []byte{})
	for _, path := range []string{"/browse/", "/browse/pubsub", "/browse/storage", "/browse/storage/numbers?page=YQ", "/browse/" + database + "/documents/items?field=n&op=%3D%3D&value=1&order=n", "/browse/" + database + "/documents/items/a"} {
		f.Add(false, uint8(0), path, []byte{})
	}
	for _, r := range rows(f, "pubsub") {
		f.Add(true, verb("POST"), "/v1/"+project+"/subscriptions/numbers:"+strings.ToLower(r.Call[:1])+r.Call[1:], []byte(r.Request))
		f.Add(true, verb("PUT"), "/v1/"+project+"/topics/numbers2", []byte(r.Request))
		f.Add(true, uint8(0), "/v1/"+project+"/topics?pageSize=1&pageToken=cHJv", []byte{})
	}
	p := startPorts(f)
	f.Fuzz(func(t *testing.T, pubsub bool, which uint8, path string, body []byte) {
		p.fill(t)
		e := p.cloud.Endpoints()
		host := e.Firestore
		if pubsub {
			host = e.PubSub
		}
		p.try(t, host, verbs[int(which)%len(verbs)], path, nil, body)
	})
}

// FuzzStorage sends any path, headers and body to Cloud Storage. $ID in a path is an upload under way.
func FuzzStorage(f *testing.F) {
	for _, r := range rows(f, "storage") {
		v, path, _ := strings.Cut(r.Call, " ")
		f.Add(verb(v), path, "", []byte(r.Request))
	}
	const upload = "/upload/storage/v1/b/numbers/o?upload_id=$ID"
	for _, h := range []string{"Content-Range: bytes 0-4/5", "Content-Range: bytes */*", "Content-Range: bytes 0-*/*\nX-Goog-Hash: crc32c=AAAAAA==", ""} {
		f.Add(verb("PUT"), upload, h, []byte("hello"))
	}
	f.Add(verb("DELETE"), upload, "", []byte{})
	f.Add(verb("POST"), "/upload/storage/v1/b/numbers/o?uploadType=multipart", "Content-Type: multipart/related; boundary=x", []byte("--x\r\n\r\n{\"name\":\"m\"}\r\n--x\r\nContent-Type: text/plain\r\n\r\nhi\r\n--x--"))
	f.Add(verb("GET"), "/numbers/a?generation=1", "Authorization: Bearer x\nRange: bytes=1-2,3-\nX-Goog-If-Generation-Match: 0", []byte{})
	f.Add(verb("PUT"), "/numbers/x%2F..%2Fy", "Authorization: Bearer x\nX-Goog-Meta-A: b\nContent-Encoding: gzip", []byte("\x1f\x8b"))
	for _, path := range []string{"/numbers/p?uploads", "/numbers/p?uploadId=x", "/numbers/p?uploadId=x&partNumber=1", "/numbers?uploads&prefix=p&delimiter=/&max-uploads=1&key-marker=a&encoding-type=url"} {
		for _, v := range verbs {
			f.Add(verb(v), path, "Authorization: Bearer x", []byte("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"))
		}
	}
	f.Add(verb("GET"), "/numbers/a?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=a%2F20260102%2Fauto%2Fstorage%2Fgoog4_request&X-Goog-Date=20260102T030405Z&X-Goog-Expires=60&X-Goog-SignedHeaders=host&X-Goog-Signature=00", "", []byte{})
	f.Add(verb("GET"), "/storage/v1/b/numbers/o?pageToken=YQ&maxResults=1&matchGlob=%7Ba,b%7D*%5Bc%5D&fields=items(name,size),nextPageToken", "", []byte{})
	f.Add(verb("POST"), "/signBlob", "", []byte(`{"payload":"YQ=="}`))
	p := startPorts(f)
	f.Fuzz(func(t *testing.T, which uint8, path, headers string, body []byte) {
		id := p.fill(t)
		header := http.Header{}
		for _, line := range strings.Split(headers, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok && !strings.EqualFold(name, "Host") {
				header.Add(name, value)
			}
		}
		p.try(t, p.cloud.Endpoints().Storage, verbs[int(which)%len(verbs)], strings.ReplaceAll(path, "$ID", id), header, body)
	})
}

// FuzzPorts sends any bytes to each port, and nothing more: the connection must end.
func FuzzPorts(f *testing.F) {
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for port := range uint8(4) {
		for _, s := range []string{
			"", "P", "PR", "PRI", preface, preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
			preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x04\x01\x04\x00\x00\x00\x01\x82\x86\x84\x41", preface + "\xff\xff\xff\x00\x00\x00\x00\x00\x01",
			"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "GET /browse/ HTTP/1.0\r\n\r\n", "POST /upload/storage/v1/b/numbers/o?uploadType=media&name=b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc",
			"POST /v1/projects/p/topics/numbers:publish HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "PUT /faults HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
			"GET /wear HTTP/1.1\r\nHost: [::1]\r\n\r\nGET /counters HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST /reset?service=x HTTP/1.1\r\nHost: localhost\r\n\r\n",
		} {
			f.Add(port, []byte(s))
		}
	}
	p := startPorts(f)
	f.Fuzz(func(t *testing.T, port uint8, data []byte) {
		p.fill(t)
		e := p.cloud.Endpoints()
		p.call(t, len(data), func(ctx context.Context) {
			if err := bytesTo(ctx, []string{e.Firestore, e.PubSub, e.Storage, e.Control}[port%4], data); err != nil {
				t.Error(err)
			}
		})
		// Whatever came, everybody else is served.
		if code, _, err := p.ask(t.Context(), "GET", e.Firestore+"/v1/"+database+"/documents/items/none", nil, nil); err != nil || code != http.StatusNotFound && len(p.cloud.Faults().Config().Rules) == 0 {
			t.Errorf("the next caller gets %d, %v", code, err)
		}
	})
}

// bytesTo writes to a port, closes its side, and reads to the end.
func bytesTo(ctx context.Context, addr string, data []byte) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // read to the end, or broken by the server
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := c.Write(data); err == nil {
		_ = c.(*net.TCPConn).CloseWrite() // the server may have closed it
	}
	_, err = io.Copy(io.Discard, bufio.NewReader(c))
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return fmt.Errorf("the connection does not end: %w", err)
	}
	return nil // a reset is an end
}
