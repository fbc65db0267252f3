package localcloud_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// partsUpload is a multipart upload of the XML API: what was acknowledged of it.
type partsUpload struct {
	number int
	id     string
	parts  []int  // their numbers
	etag   string // the object's; empty before it was completed
	asked  bool   // to complete it: it may be complete without an answer
}

func (u *partsUpload) name() string { return fmt.Sprintf("parts-%d", u.number) }

// part is the content of a part: each of another size and of bytes of its own.
func (u *partsUpload) part(n int) []byte { return numbered(u.number*10 + n) }

func partTag(data []byte) string {
	sum := md5.Sum(data)
	return strconv.Quote(hex.EncodeToString(sum[:]))
}

// xmlCall asks the XML API, and reads the answer into out if there is one.
func (v *victim) xmlCall(ctx context.Context, method, name string, query url.Values, body []byte, out any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, method, v.xml+"/numbers/"+name+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer x")
	req.Close = true // the next cloud has another address
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s = %d %s", method, req.URL, resp.StatusCode, data)
	}
	if err == nil && out != nil {
		err = xml.Unmarshal(data, out)
	}
	return resp.Header, err
}

// uploadParts begins an upload, sends three parts, and completes it, but one upload of three.
func (v *victim) uploadParts(ctx context.Context, a *acked) error {
	u := &partsUpload{number: a.number()}
	var began struct{ UploadId string } //nolint:revive // as the API has it
	if _, err := v.xmlCall(ctx, http.MethodPost, u.name(), url.Values{"uploads": {""}}, nil, &began); err != nil {
		return err
	}
	u.id = began.UploadId
	a.note(ctx, func() { a.parts = append(a.parts, u) })
	id := url.Values{"uploadId": {u.id}}
	list := "<CompleteMultipartUpload>"
	for n := 1; n <= 3; n++ {
		query := url.Values{"uploadId": {u.id}, "partNumber": {strconv.Itoa(n)}}
		if _, err := v.xmlCall(ctx, http.MethodPut, u.name(), query, u.part(n), nil); err != nil {
			return err
		}
		a.note(ctx, func() { u.parts = append(u.parts, n) })
		list += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", n, partTag(u.part(n)))
	}
	if u.number%3 == 0 {
		return nil
	}
	u.asked = true
	var made struct{ ETag string }
	_, err := v.xmlCall(ctx, http.MethodPost, u.name(), id, []byte(list+"</CompleteMultipartUpload>"), &made)
	if err == nil {
		a.note(ctx, func() { u.etag = made.ETag })
	}
	return err
}

// verifyParts looks for each upload: an object with the bytes of its parts and its ETag, or the parts that
// were acknowledged. What was asked to be completed is one or the other.
func (v *victim) verifyParts(t *testing.T, uploads []*partsUpload) {
	t.Helper()
	for _, u := range uploads {
		var listed struct {
			Part []struct {
				PartNumber int
				ETag       string
			}
		}
		_, err := v.xmlCall(t.Context(), http.MethodGet, u.name(), url.Values{"uploadId": {u.id}}, nil, &listed)
		if err == nil && u.etag == "" {
			for _, n := range u.parts {
				if !slices.ContainsFunc(listed.Part, func(p struct {
					PartNumber int
					ETag       string
				},
				) bool {
					return p.PartNumber == n && p.ETag == partTag(u.part(n))
				}) {
					t.Errorf("acknowledged part %d of %s is not in %+v", n, u.name(), listed.Part)
				}
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "NoSuchUpload") || !u.asked {
			t.Errorf("upload %+v: %v", u, err)
			continue
		}
		r, err := v.storage.Bucket("numbers").Object(u.name()).NewReader(t.Context())
		if err != nil {
			t.Errorf("completed %s: %v", u.name(), err)
			continue
		}
		want := slices.Concat(u.part(1), u.part(2), u.part(3))
		got, err := io.ReadAll(r)
		_ = r.Close() // read to its end
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("completed %s has %d bytes, %v, want %d", u.name(), len(got), err, len(want))
		}
		attrs, err := v.xmlCall(t.Context(), http.MethodHead, u.name(), nil, nil, nil)
		if tag := attrs.Get("Etag"); err != nil || tag == "" || u.etag != "" && tag != u.etag {
			t.Errorf("completed %s has the ETag %q, %v, want %q", u.name(), tag, err, u.etag)
		}
	}
}
