package storageserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/api/storage/v1"
)

// bucketName is the rule for names without dots, which need a verified domain.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$`)

// maxJSONBytes bounds a metadata body: 8 KiB of custom metadata, or 32 source names of 1 KiB, fit well.
const maxJSONBytes = 256 << 10

func decodeJSON(w http.ResponseWriter, r *http.Request, v any) error {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJSONBytes)).Decode(v); err != nil {
		return badRequest("Parse error: %v", err)
	}
	return nil
}

func (s *Server) insertBucket(w http.ResponseWriter, r *http.Request) error {
	b := &storage.Bucket{}
	if err := decodeJSON(w, r, b); err != nil {
		return err
	}
	if !bucketName.MatchString(b.Name) {
		return badRequest("Invalid bucket name: %q", b.Name)
	}
	s.buckets.Lock()
	defer s.buckets.Unlock()
	if s.bucketExists(b.Name) == nil {
		return conflict("Your previous request to create the named bucket succeeded and you already own it.")
	}
	if err := s.pace.bucket(); err != nil {
		return err
	}
	b.Kind, b.Id, b.SelfLink = "storage#bucket", b.Name, "/storage/v1/b/"+b.Name
	b.TimeCreated = time.Now().UTC().Format(time.RFC3339Nano)
	if b.Location == "" {
		b.Location = "US"
	}
	if b.StorageClass == "" {
		b.StorageClass = "STANDARD"
	}
	return s.putBucket(w, b)
}

// putBucket stores b as its next metageneration and answers with it.
func (s *Server) putBucket(w http.ResponseWriter, b *storage.Bucket) error {
	b.Metageneration++
	b.Updated = time.Now().UTC().Format(time.RFC3339Nano)
	b.Etag = strconv.FormatInt(b.Metageneration, 36)
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }() // already committed, or to be dropped
	if err := store(batch, bucketKey(b.Name), b); err != nil {
		return err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return storageError("commit bucket", err)
	}
	writeJSON(w, http.StatusOK, b)
	return nil
}

// findBucket returns the bucket when the request's metageneration conditions hold.
func (s *Server) findBucket(r *http.Request, bucket string) (*storage.Bucket, error) {
	cond, err := parseConditions(r.URL.Query())
	if err != nil {
		return nil, err
	}
	b := &storage.Bucket{}
	ok, err := load(s.db, bucketKey(bucket), b)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errBucketNotFound
	}
	return b, cond.checkVersion(0, b.Metageneration)
}

func (s *Server) getBucket(w http.ResponseWriter, r *http.Request, bucket string) error {
	b, err := s.findBucket(r, bucket)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, b)
	return nil
}

func (s *Server) listBuckets(w http.ResponseWriter, _ *http.Request) error {
	list := &storage.Buckets{Kind: "storage#buckets"}
	err := scan(s.db, []byte("b"), []byte("c"), func(_, value []byte) error {
		b := &storage.Bucket{}
		list.Items = append(list.Items, b)
		return json.Unmarshal(value, b)
	})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// patchBucket merges the fields that were sent. Lifecycle rules are replaced as a whole and applied by the
// janitor; other settings are stored and shown, no more.
func (s *Server) patchBucket(w http.ResponseWriter, r *http.Request, bucket string) error {
	var patch map[string]json.RawMessage
	if err := decodeJSON(w, r, &patch); err != nil {
		return err
	}
	s.buckets.Lock()
	defer s.buckets.Unlock()
	b, err := s.findBucket(r, bucket)
	if err != nil {
		return err
	}
	name, created, metageneration := b.Name, b.TimeCreated, b.Metageneration
	if patch["lifecycle"] != nil {
		b.Lifecycle = nil
	}
	raw, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	if err := json.Unmarshal(raw, b); err != nil {
		return badRequest("Parse error: %v", err)
	}
	b.Name, b.TimeCreated, b.Metageneration = name, created, metageneration
	return s.putBucket(w, b)
}

func (s *Server) deleteBucket(w http.ResponseWriter, r *http.Request, bucket string) error {
	s.buckets.Lock()
	defer s.buckets.Unlock()
	if _, err := s.findBucket(r, bucket); err != nil {
		return err
	}
	lower := objectKey(bucket, "")
	upper := append([]byte(nil), lower...)
	upper[len(upper)-1]++
	err := scan(s.db, lower, upper, func([]byte, []byte) error {
		return conflict("The bucket you tried to delete is not empty.")
	})
	if err != nil {
		return err
	}
	if err := s.pace.bucket(); err != nil {
		return err
	}
	if err := s.db.Delete(bucketKey(bucket), pebble.Sync); err != nil {
		return storageError("delete bucket", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
