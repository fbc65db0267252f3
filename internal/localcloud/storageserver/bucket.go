package storageserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
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
	if err := decodeFields(http.MaxBytesReader(w, r.Body, maxJSONBytes), bucketFields, b); err != nil {
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
	b.ProjectNumber = projectNumber(r.URL.Query().Get("project"))
	if b.StorageClass == "" {
		b.StorageClass = "STANDARD"
	}
	if err := errors.Join(completeBucket(b), checkBucket(b)); err != nil {
		return err
	}
	return s.putBucket(w, r, b)
}

// locationName is the form of regions, dual-regions and multi-regions; whether there is such a place is not
// known here.
var locationName = regexp.MustCompile(`^[A-Z]+(-[A-Z]+)*[0-9]*$`)

// Soft delete is off, or 7 (the default) to 90 days: https://cloud.google.com/storage/docs/soft-delete
const minSoftDelete, maxSoftDelete = 7 * 24 * 3600, 90 * 24 * 3600

// completeBucket checks a bucket as a caller wrote it and fills in what the service does. Without access
// control there is nobody that uniform access or the prevention of public access would have to stop;
// soft-deleted objects are gone here, and asking for them is refused.
func completeBucket(b *storage.Bucket) error {
	if b.Location == "" {
		b.Location = "US"
	}
	if b.Location = strings.ToUpper(b.Location); !locationName.MatchString(b.Location) {
		return badRequest("The specified location constraint is not valid: %q", b.Location)
	}
	if b.IamConfiguration == nil {
		b.IamConfiguration = &storage.BucketIamConfiguration{}
	}
	c := b.IamConfiguration
	if c.UniformBucketLevelAccess == nil {
		c.UniformBucketLevelAccess = &storage.BucketIamConfigurationUniformBucketLevelAccess{}
	}
	switch c.PublicAccessPrevention {
	case "", "unspecified":
		c.PublicAccessPrevention = "inherited"
	case "inherited", "enforced":
	default:
		return badRequest("Invalid value for publicAccessPrevention: %q", c.PublicAccessPrevention)
	}
	if b.SoftDeletePolicy == nil {
		b.SoftDeletePolicy = &storage.BucketSoftDeletePolicy{RetentionDurationSeconds: minSoftDelete}
	}
	p := b.SoftDeletePolicy
	if d := p.RetentionDurationSeconds; d != 0 && (d < minSoftDelete || d > maxSoftDelete) {
		return badRequest("The soft delete retention duration must be 0 or from 7 to 90 days, not %d s", d)
	}
	p.ForceSendFields = []string{"RetentionDurationSeconds"}
	if b.Versioning != nil {
		b.Versioning.ForceSendFields = []string{"Enabled"}
	}
	return nil
}

// checkBucket refuses what is kept, and would not be followed.
func checkBucket(b *storage.Bucket) error {
	if !slices.Contains(storageClasses, b.StorageClass) {
		return badRequest("Invalid storage class: %q", b.StorageClass)
	}
	return errors.Join(checkCORS(b.Cors), checkLifecycle(b.Lifecycle))
}

// putBucket stores b as its next metageneration and answers with it.
func (s *Server) putBucket(w http.ResponseWriter, r *http.Request, b *storage.Bucket) error {
	b.Metageneration++
	b.Updated = time.Now().UTC().Format(time.RFC3339Nano)
	if b.Metageneration == 1 {
		b.TimeCreated = b.Updated
	}
	b.Etag = strconv.FormatInt(b.Metageneration, 36)
	if err := s.save("bucket", bucketKey(b.Name), b, pebble.Sync); err != nil {
		return err
	}
	return s.reply(w, r, b)
}

// findBucket returns the bucket when the request's metageneration conditions hold.
func (s *Server) findBucket(r *http.Request, bucket string) (*storage.Bucket, error) {
	cond, err := parseConditions(r.URL.Query())
	if err != nil {
		return nil, err
	}
	if cond.Generation != nil {
		return nil, notImplemented("A bucket of a generation")
	}
	b := &storage.Bucket{}
	ok, err := load(s.db, bucketKey(bucket), b)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errBucketNotFound
	}
	if err := completeBucket(b); err != nil { // stored before there were these settings
		return nil, err
	}
	return b, cond.checkVersion(0, b.Metageneration)
}

func (s *Server) getBucket(w http.ResponseWriter, r *http.Request, bucket string) error {
	b, err := s.findBucket(r, bucket)
	if err != nil {
		return err
	}
	return s.reply(w, r, b)
}

// patchBucket merges the fields that were sent. Lifecycle rules are replaced as a whole and applied by the
// janitor; for the other settings see completeBucket.
func (s *Server) patchBucket(w http.ResponseWriter, r *http.Request, bucket string) error {
	patch, err := readFields(http.MaxBytesReader(w, r.Body, maxJSONBytes), bucketFields)
	if err != nil {
		return err
	}
	s.buckets.Lock()
	defer s.buckets.Unlock()
	b, err := s.findBucket(r, bucket)
	if err != nil {
		return err
	}
	name, created, metageneration, location := b.Name, b.TimeCreated, b.Metageneration, b.Location
	if _, sent := patch["lifecycle"]; sent {
		b.Lifecycle = nil
	}
	if _, sent := patch["cors"]; sent {
		b.Cors = nil
	}
	takeNulls(patch["labels"], b.Labels)
	if err := setFields(patch, b); err != nil {
		return err
	}
	b.Name, b.TimeCreated, b.Metageneration = name, created, metageneration
	if !strings.EqualFold(b.Location, location) {
		return badRequest("The location of a bucket cannot be changed.")
	}
	if err := errors.Join(completeBucket(b), checkBucket(b)); err != nil {
		return err
	}
	return s.putBucket(w, r, b)
}

func (s *Server) deleteBucket(w http.ResponseWriter, r *http.Request, bucket string) error {
	s.buckets.Lock()
	defer s.buckets.Unlock()
	if _, err := s.findBucket(r, bucket); err != nil {
		return err
	}
	lower, upper := objectSpan(bucket)
	err := scan(s.db, lower, upper, func([]byte, []byte) error {
		return conflict("The bucket you tried to delete is not empty.")
	})
	if err != nil {
		return err
	}
	if err := s.pace.bucket(); err != nil {
		return err
	}
	if err := s.eachMultipart(bucket, s.dropMultipart); err != nil {
		return err
	}
	if err := s.db.Delete(bucketKey(bucket), pebble.Sync); err != nil {
		return storageError("delete bucket", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
