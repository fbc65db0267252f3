package storageserver

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/api/storage/v1"
)

// Versions that are not the live one lie right behind it, oldest first, in the same span of the index: what
// looks after files, or whether a bucket is empty, need not know of them. Names hold no zero byte. Version
// 0.1.0, which knows none, keeps their bytes, and lists them as objects.
// https://cloud.google.com/storage/docs/object-versioning
func versionKey(bucket, name string, generation int64) []byte {
	return objectKey(bucket, name+"\x00"+fmt.Sprintf("%016x", generation))
}

// key is where the index has the record.
func (r *record) key() []byte {
	if r.noncurrent() {
		return versionKey(r.Object.Bucket, r.Object.Name, r.Object.Generation)
	}
	return objectKey(r.Object.Bucket, r.Object.Name)
}

func (r *record) noncurrent() bool { return r.Object.TimeDeleted != "" }

// retire has r, which is live, be a noncurrent version, in the batch that makes another one live, or none.
func (r *record) retire(batch *pebble.Batch, at string) error {
	r.Object.TimeDeleted = at
	return store(batch, r.key(), r)
}

func keepsVersions(b *storage.Bucket) bool { return b.Versioning != nil && b.Versioning.Enabled }

// find returns the live object or nil.
func (s *Server) find(bucket, name string) (*record, error) {
	if strings.Contains(name, "\x00") { // no name of an object, but one that would lead to a version
		return nil, nil
	}
	return readRecord(s.db, objectKey(bucket, name))
}

// findVersion returns the version of that generation, live or not, or nil. The live one is looked at first:
// what is not live any more is found where versions are.
func (s *Server) findVersion(bucket, name string, generation int64) (*record, error) {
	rec, err := s.find(bucket, name)
	if err != nil || rec != nil && rec.Object.Generation == generation {
		return rec, err
	}
	return readRecord(s.db, versionKey(bucket, name, generation))
}

// readRecord returns nil if there is none.
func readRecord(db pebble.Reader, key []byte) (*record, error) {
	var rec record
	ok, err := load(db, key, &rec)
	if err != nil || !ok {
		return nil, err
	}
	return &rec, nil
}

// split reads the name from a key behind the bucket, and whether it is of a version that is not live.
func split(key string) (name string, noncurrent bool) {
	name, _, noncurrent = strings.Cut(key, "\x00")
	return name, noncurrent
}

// offset is where a list begins or ends that is asked to at a text: no name holds a zero byte, and where one
// would stand in order is behind the versions of the name before it.
func offset(text string) string {
	if before, _, ok := strings.Cut(text, "\x00"); ok {
		return before + "\x01"
	}
	return text
}
