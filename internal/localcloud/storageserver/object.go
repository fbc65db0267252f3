package storageserver

import (
	"cmp"
	"io"
	"net/http"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"
	"google.golang.org/api/storage/v1"
)

// bucketExists must be called under s.buckets when the answer decides about a change.
func (s *Server) bucketExists(bucket string) error {
	var b storage.Bucket
	ok, err := load(s.db, bucketKey(bucket), &b)
	if err == nil && !ok {
		err = errBucketNotFound
	}
	return err
}

// get returns the object that the request is about, the live one if it names no generation, or the answer
// that says why not.
func (s *Server) get(bucket, name string, cond *conditions) (rec *record, err error) {
	if cond.Generation == nil {
		rec, err = s.find(bucket, name)
	} else {
		rec, err = s.findVersion(bucket, name, *cond.Generation)
	}
	if rec == nil && err == nil {
		err = cmp.Or(s.bucketExists(bucket), notFound("No such object: %s/%s", bucket, name))
	}
	return rec, err
}

// commit makes rec the live object and is the moment it begins to exist: the segments' files are synced
// before, and with the synced write to the index the object is durable. extra may add to the same write. The
// previous object becomes a noncurrent version by it, or its files are released.
func (s *Server) commit(bucket string, cond *conditions, rec *record, d *digest, extra func(*pebble.Batch) error) error {
	name := rec.Object.Name
	s.buckets.RLock()
	defer s.buckets.RUnlock()
	defer s.lockName(bucket, name).Unlock()
	var home storage.Bucket
	if ok, err := load(s.db, bucketKey(bucket), &home); err != nil || !ok {
		return cmp.Or(err, errBucketNotFound)
	}
	rec.Object.StorageClass = cmp.Or(rec.Object.StorageClass, home.StorageClass)
	old, err := s.find(bucket, name)
	if err != nil {
		return err
	}
	if err := cmp.Or(cond.check(old), old.held()); err != nil {
		return err
	}
	if err := s.pace.object(bucket, name); err != nil {
		return err
	}
	rec.fill(bucket, s.nextID(), time.Now(), d)
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }() // already committed, or to be dropped
	if err := store(batch, rec.key(), rec); err != nil {
		return err
	}
	retires := old != nil && keepsVersions(&home)
	if retires {
		if err := old.retire(batch, rec.Object.TimeCreated); err != nil {
			return err
		}
	}
	if extra != nil {
		if err := extra(batch); err != nil {
			return err
		}
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return storageError("commit object", err)
	}
	if old != nil && !retires {
		s.releaseFiles(old.Segments)
	}
	return nil
}

// releaseFiles gives files up. A file that cannot be removed only takes space until the next start.
func (s *Server) releaseFiles(segs []segment) {
	if err := s.blobs.release(segs); err != nil {
		s.log.Warn("remove object file", zap.Error(err))
	}
}

func (s *Server) getObject(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	q := r.URL.Query()
	cond, err := parseConditions(q)
	if err != nil {
		return err
	}
	if q.Get("alt") == "media" {
		return s.serveMedia(w, r, bucket, name, &cond)
	}
	rec, err := s.get(bucket, name, &cond)
	if err != nil {
		return err
	}
	if err := readError(cond.check(rec), &cond, rec); err != nil {
		return err
	}
	return s.reply(w, r, shown(rec.Object))
}

// readError is 304 where a "not match" condition failed on a read, and err otherwise.
func readError(err error, cond *conditions, rec *record) error {
	if err == nil {
		return nil
	}
	only := conditions{GenerationMatch: cond.GenerationMatch, MetagenerationMatch: cond.MetagenerationMatch}
	if only.check(rec) == nil {
		return errNotModified
	}
	return err
}

func (s *Server) deleteObject(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	cond, err := parseConditions(r.URL.Query())
	if err != nil {
		return err
	}
	if err := s.remove(bucket, name, &cond, s.pace); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// remove deletes an object for good, but for the live one of a bucket with versions when no generation is
// named: that becomes a noncurrent version. It counts for the pace, if there is one.
func (s *Server) remove(bucket, name string, cond *conditions, p *pace) error {
	s.buckets.RLock()
	defer s.buckets.RUnlock()
	defer s.lockName(bucket, name).Unlock()
	rec, err := s.get(bucket, name, cond)
	if err != nil {
		return err
	}
	if err := cmp.Or(cond.check(rec), rec.held()); err != nil {
		return err
	}
	if err := p.object(bucket, name); err != nil {
		return err
	}
	var home storage.Bucket
	if _, err := load(s.db, bucketKey(bucket), &home); err != nil {
		return err
	}
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }() // already committed, or to be dropped
	if err := batch.Delete(rec.key(), nil); err != nil {
		return err
	}
	retires := cond.Generation == nil && keepsVersions(&home)
	if retires {
		if err := rec.retire(batch, stamp(time.Now())); err != nil {
			return err
		}
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return storageError("delete object", err)
	}
	if !retires {
		s.releaseFiles(rec.Segments)
	}
	return nil
}

// drain reads what the client still sends, within a bound, so that it gets the answer and not a reset.
func drain(r *http.Request) {
	const limit = 64 << 20 // several chunks; beyond it, breaking the connection is cheaper
	_, _ = io.CopyN(io.Discard, r.Body, limit)
}
