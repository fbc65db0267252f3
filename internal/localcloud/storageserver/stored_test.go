package storageserver

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// FuzzStored has a server read any entry of its index: it is an error, or something to be served.
func FuzzStored(f *testing.F) {
	s, _ := open(f, Options{InMemory: true})
	f.Add(bucketKey("bkt"), []byte(`{"name":"bkt","timeCreated":"x","lifecycle":{"rule":[{"action":{"type":"Delete"},"condition":{"age":1}}]}}`))
	f.Add(objectKey("bkt", "a"), []byte(`{"object":{"name":"a","bucket":"bkt","size":"5","generation":"7","updated":"2026-01-02T03:04:05.000000Z"},"segments":[{"id":9,"size":5},{"id":9,"size":-5,"small":true}]}`))
	f.Add(sessionKey("id"), []byte(`{"bucket":"bkt","object":null,"blob":3,"started":"2026-01-02T03:04:05Z"}`))
	f.Add(sessionKey("id"), []byte(`{"bucket":"bkt","done":true,"refused":{"Status":412}}`))
	f.Add(smallKey(9), []byte("x"))
	f.Add(multipartKey("bkt", "a", "id"), []byte(`{"bucket":"bkt","id":"id","object":{"name":"a"},"started":"2026-01-02T03:04:05Z"}`))
	f.Add(multipartKey("bkt", "a", "id"), []byte(`{"bucket":"other","id":"id2","object":{"name":"b"}}`))
	f.Add(partKey("id", 1), []byte(`{"number":1,"size":5,"crc":7,"md5":"x","segments":[{"id":9,"size":5,"small":true}]}`))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(key) == 0 {
			return
		}
		if err := s.db.DeleteRange([]byte{0}, bytes.Repeat([]byte{255}, 40), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		clear(s.sessions)
		if key[0] != 'b' {
			do(t, s, "POST", "/storage/v1/b", `{"name":"bkt"}`)
		}
		if err := s.db.Set(key, value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if err := s.recover(); err != nil {
			return // as a start would end
		}
		for _, path := range []string{"/storage/v1/b", "/storage/v1/b/bkt", "/storage/v1/b/bkt/o", "/storage/v1/b/bkt/o/a", "/storage/v1/b/bkt/o/a?alt=media"} {
			do(t, s, http.MethodGet, path, "")
		}
		do(t, s, http.MethodPut, "/upload/storage/v1/b/bkt/o?upload_id=id", "hello", "Content-Range", "bytes 0-4/5")
		for _, call := range []string{"GET /bkt?uploads", "GET /bkt/a?uploadId=id", "PUT /bkt/a?uploadId=id&partNumber=1", "DELETE /bkt/a?uploadId=id"} {
			method, target, _ := strings.Cut(call, " ")
			do(t, s, method, target, "hello", "Authorization", "Bearer x")
		}
		if err := s.tidy(time.Now()); err != nil && !strings.Contains(err.Error(), "index entry") {
			t.Fatal(err)
		}
		do(t, s, http.MethodDelete, "/storage/v1/b/bkt/o/a", "")
	})
}
