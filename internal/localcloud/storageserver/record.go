package storageserver

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/api/storage/v1"
)

// record is an object as the index holds it: what the API shows, and where the bytes are.
type record struct {
	Object   *storage.Object `json:"object"`
	Segments []segment       `json:"segments,omitempty"`
}

func (r *record) crc() uint32 {
	raw, err := base64.StdEncoding.DecodeString(r.Object.Crc32c)
	if err != nil || len(raw) != 4 {
		return 0 // only this package writes records
	}
	return binary.BigEndian.Uint32(raw)
}

// Keys of the index. Bucket names hold no zero byte, so a bucket's objects lie together, in name order.
func bucketKey(bucket string) []byte       { return []byte("b" + bucket) }
func objectKey(bucket, name string) []byte { return []byte("o" + bucket + "\x00" + name) }
func sessionKey(id string) []byte          { return []byte("s" + id) }
func smallKey(id int64) []byte             { return fmt.Appendf(nil, "d%016x", id) }

// objectSpan is where a bucket's objects lie.
func objectSpan(bucket string) (lower, upper []byte) {
	lower, upper = objectKey(bucket, ""), objectKey(bucket, "")
	upper[len(upper)-1]++
	return lower, upper
}

// load reads the JSON value of key into v and reports whether there is one.
func load(db pebble.Reader, key []byte, v any) (bool, error) {
	raw, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read index: %w", err)
	}
	defer func() { _ = closer.Close() }() // always nil
	if err := decode(raw, v); err != nil {
		return false, err
	}
	return true, nil
}

// loadAll reads the entries of the index from lower to below upper, in order.
func loadAll[T any](db *pebble.DB, lower, upper []byte) (out []T, err error) {
	err = scan(db, lower, upper, func(_, value []byte) error {
		var v T
		if err := decode(value, &v); err != nil {
			return err
		}
		out = append(out, v)
		return nil
	})
	return out, err
}

// decode reads an entry of the index, and refuses one that lacks what this package always writes.
func decode(raw []byte, v any) error {
	if err := unmarshal(raw, v); err != nil {
		return fmt.Errorf("decode index entry: %w", err)
	}
	if e, ok := v.(interface{ whole() bool }); ok && !e.whole() {
		return errors.New("decode index entry: it is not whole")
	}
	return nil
}

// unmarshal is encoding/json's, but for the zeros of lifecycle conditions, which Google's type leaves out.
func unmarshal(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return err
	}
	if b, ok := v.(*storage.Bucket); ok && b.Lifecycle != nil {
		return keepZeros(raw, b.Lifecycle)
	}
	return nil
}

func (r *record) whole() bool {
	return r.Object != nil && !slices.ContainsFunc(r.Segments, func(s segment) bool { return s.Size < 0 })
}

// store puts the JSON of v into the batch.
func store(batch *pebble.Batch, key []byte, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode index entry: %w", err)
	}
	return batch.Set(key, raw, nil)
}

// save writes the JSON of v alone.
func (s *Server) save(what string, key []byte, v any, o *pebble.WriteOptions) error {
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }() // already committed, or to be dropped
	if err := store(batch, key, v); err != nil {
		return err
	}
	if err := batch.Commit(o); err != nil {
		return storageError("commit "+what, err)
	}
	return nil
}

// maxMetadataBytes is Cloud Storage's limit on custom metadata, keys and values together.
const maxMetadataBytes = 8 << 10

// storageClasses: https://cloud.google.com/storage/docs/storage-classes. None of them costs anything here.
var storageClasses = []string{"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"}

// stamp writes a time as the API does: UTC with microseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// shown is an object as it is answered: the size also when it is 0, which Go's JSON leaves out.
func shown(o *storage.Object) *storage.Object {
	out := *o
	out.ForceSendFields = []string{"Size"}
	return &out
}

// checkObject holds the documented rules for names and custom metadata.
// https://cloud.google.com/storage/docs/objects#naming
func checkObject(o *storage.Object) error {
	name := o.Name
	switch {
	case name == "":
		return &apiError{400, "required", "Required"}
	case len(name) > 1024:
		return badRequest("The maximum object name length is 1024 bytes.")
	case !utf8.ValidString(name), strings.ContainsAny(name, "\r\n\x00"), name == ".", name == "..",
		strings.HasPrefix(name, ".well-known/acme-challenge/"):
		return badRequest("Disallowed object name.")
	}
	size := 0
	for k, v := range o.Metadata {
		size += len(k) + len(v)
	}
	if o.StorageClass != "" && !slices.Contains(storageClasses, o.StorageClass) {
		return badRequest("Invalid storage class: %q", o.StorageClass)
	}
	if o.CustomTime != "" {
		t, err := time.Parse(time.RFC3339Nano, o.CustomTime)
		if err != nil {
			return badRequest("Invalid value for: customTime is not an RFC 3339 time.")
		}
		o.CustomTime = stamp(t)
	}
	if size > maxMetadataBytes {
		return badRequest("Custom metadata is %d bytes, the maximum is %d.", size, maxMetadataBytes)
	}
	return nil
}

// fill sets what the server decides about an object. Times are UTC with microseconds, as the API has them.
func (r *record) fill(bucket string, generation int64, now time.Time, d *digest) {
	o, at := r.Object, stamp(now)
	o.Kind, o.Bucket = "storage#object", bucket
	o.Generation, o.Metageneration = generation, 1
	o.Id = fmt.Sprintf("%s/%s/%d", bucket, o.Name, generation)
	o.SelfLink = "/storage/v1/b/" + bucket + "/o/" + url.PathEscape(o.Name)
	o.MediaLink = "/download" + o.SelfLink + "?alt=media&generation=" + strconv.FormatInt(generation, 10)
	o.Etag = base64.StdEncoding.EncodeToString(strconv.AppendInt(nil, generation, 36))
	o.TimeCreated, o.Updated, o.TimeFinalized, o.TimeStorageClassUpdated = at, at, at, at
	if o.StorageClass == "" {
		o.StorageClass = "STANDARD"
	}
	if o.ContentType == "" {
		o.ContentType = "application/octet-stream"
	}
	o.Size, o.Crc32c, o.Md5Hash = uint64(d.size), encodeCRC(d.crc), d.sum()
}

// conditions are the preconditions of a request. A nil field was not sent.
type conditions struct {
	Generation            *int64 // the version asked for; another one is "not found"
	GenerationMatch       *int64
	GenerationNotMatch    *int64
	MetagenerationMatch   *int64
	MetagenerationNotMach *int64
}

func parseConditions(q url.Values) (c conditions, err error) {
	for name, field := range map[string]**int64{
		"generation": &c.Generation, "ifGenerationMatch": &c.GenerationMatch, "ifGenerationNotMatch": &c.GenerationNotMatch,
		"ifMetagenerationMatch": &c.MetagenerationMatch, "ifMetagenerationNotMatch": &c.MetagenerationNotMach,
	} {
		if !q.Has(name) {
			continue
		}
		n, err := strconv.ParseInt(q.Get(name), 10, 64)
		if err != nil {
			return c, badRequest("Invalid value for %s.", name)
		}
		*field = &n
	}
	return c, nil
}

// check compares with the live object, nil for none. Generation 0 stands for "there is none".
func (c *conditions) check(r *record) error {
	var generation, metageneration int64
	if r != nil {
		generation, metageneration = r.Object.Generation, r.Object.Metageneration
	}
	return c.checkVersion(generation, metageneration)
}

func (c *conditions) checkVersion(generation, metageneration int64) error {
	if c.GenerationMatch != nil && *c.GenerationMatch != generation ||
		c.GenerationNotMatch != nil && *c.GenerationNotMatch == generation ||
		c.MetagenerationMatch != nil && *c.MetagenerationMatch != metageneration ||
		c.MetagenerationNotMach != nil && *c.MetagenerationNotMach == metageneration {
		return errConditionNotMet
	}
	return nil
}
