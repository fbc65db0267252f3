package storageserver

import (
	"hash/fnv"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/api/storage/v1"
)

// projectNumber stands for the number that Google gives a project: always the same, and of twelve digits. 0
// is for a bucket of no project, which every project lists.
func projectNumber(project string) uint64 {
	if project == "" {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(project))
	return 100_000_000_000 + uint64(h.Sum32())
}

// ofProject says whether a bucket is listed for a project, "" for all.
func ofProject(b *storage.Bucket, project string) bool {
	return project == "" || b.ProjectNumber == 0 || b.ProjectNumber == projectNumber(project)
}

// Reset deletes the buckets of a project, "" for all projects, with what is in them, whatever holds it. It
// says how many objects there were. An upload under way ends with an error.
func (s *Server) Reset(project string) (buckets, objects int, err error) {
	s.buckets.Lock()
	defer s.buckets.Unlock()
	var names []string
	err = scan(s.db, []byte("b"), []byte("c"), func(_, value []byte) error {
		var b storage.Bucket
		if err := decode(value, &b); err != nil {
			return err
		}
		if ofProject(&b, project) {
			names = append(names, b.Name)
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		n, err := s.dropBucket(name)
		if err != nil {
			return buckets, objects, err
		}
		buckets, objects = buckets+1, objects+n
	}
	return buckets, objects, s.dropSessions(func(u *sessionState) bool { return slices.Contains(names, u.Bucket) })
}

// dropBucket removes a bucket and its objects in one write. The caller holds s.buckets.
func (s *Server) dropBucket(name string) (objects int, err error) {
	if err := s.eachMultipart(name, s.dropMultipart); err != nil {
		return 0, err
	}
	lower, upper := objectSpan(name)
	var segments []segment
	err = scan(s.db, lower, upper, func(_, value []byte) error {
		var rec record
		if err := decode(value, &rec); err != nil {
			return err
		}
		segments = append(segments, rec.Segments...)
		objects++
		return nil
	})
	if err != nil {
		return 0, err
	}
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }() // already committed, or to be dropped
	if err := batch.DeleteRange(lower, upper, nil); err != nil {
		return 0, err
	}
	if err := batch.Delete(bucketKey(name), nil); err != nil {
		return 0, err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return 0, storageError("delete bucket", err)
	}
	s.releaseFiles(segments)
	return objects, nil
}
