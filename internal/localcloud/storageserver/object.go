package storageserver

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
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

// find returns the live object or nil.
func (s *Server) find(bucket, name string) (*record, error) {
	var rec record
	ok, err := load(s.db, objectKey(bucket, name), &rec)
	if err != nil || !ok {
		return nil, err
	}
	return &rec, nil
}

// get returns the live object that the request is about, or the answer that says why not.
func (s *Server) get(bucket, name string, cond *conditions) (*record, error) {
	rec, err := s.find(bucket, name)
	if err != nil {
		return nil, err
	}
	if rec == nil || cond.Generation != nil && *cond.Generation != rec.Object.Generation {
		if err := s.bucketExists(bucket); err != nil {
			return nil, err
		}
		return nil, notFound("No such object: %s/%s", bucket, name)
	}
	return rec, nil
}

// commit makes rec the live object and is the moment it begins to exist: the segments' files are synced
// before, and with the synced write to the index the object is durable. extra may add to the same write.
// The previous object's files are released.
func (s *Server) commit(bucket string, cond *conditions, rec *record, d *digest, extra func(*pebble.Batch) error) error {
	name := rec.Object.Name
	s.buckets.RLock()
	defer s.buckets.RUnlock()
	defer s.lockName(bucket, name).Unlock()
	if err := s.bucketExists(bucket); err != nil {
		return err
	}
	old, err := s.find(bucket, name)
	if err != nil {
		return err
	}
	if err := cond.check(old); err != nil {
		return err
	}
	if err := s.pace.object(bucket, name); err != nil {
		return err
	}
	rec.fill(bucket, s.nextID(), time.Now(), d)
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }() // already committed, or to be dropped
	if err := store(batch, objectKey(bucket, name), rec); err != nil {
		return err
	}
	if extra != nil {
		if err := extra(batch); err != nil {
			return err
		}
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return storageError("commit object", err)
	}
	if old != nil {
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
	writeJSON(w, http.StatusOK, rec.Object)
	return nil
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

// serveMedia sends the bytes. The object's files are pinned, so a delete meanwhile does not cut the answer.
func (s *Server) serveMedia(w http.ResponseWriter, r *http.Request, bucket, name string, cond *conditions) error {
	var rec *record
	err := s.blobs.share(func() (segs []segment, err error) {
		if rec, err = s.get(bucket, name, cond); err == nil {
			if err = readError(cond.check(rec), cond, rec); err == nil {
				segs = rec.Segments
			}
		}
		return segs, err
	})
	if err != nil {
		return err
	}
	defer s.releaseFiles(rec.Segments)
	o, h := rec.Object, w.Header()
	for key, value := range map[string]string{
		"Content-Type": o.ContentType, "Content-Encoding": o.ContentEncoding, "Content-Language": o.ContentLanguage,
		"Content-Disposition": o.ContentDisposition, "Cache-Control": o.CacheControl, "Etag": strconv.Quote(o.Etag),
		"X-Goog-Generation": strconv.FormatInt(o.Generation, 10), "X-Goog-Metageneration": strconv.FormatInt(o.Metageneration, 10),
		"X-Goog-Stored-Content-Length": strconv.FormatUint(o.Size, 10), "X-Goog-Storage-Class": o.StorageClass,
		"X-Goog-Hash": "crc32c=" + o.Crc32c,
	} {
		if value != "" {
			h.Set(key, value)
		}
	}
	if o.Md5Hash != "" {
		h.Add("X-Goog-Hash", "md5="+o.Md5Hash)
	}
	for key, value := range o.Metadata {
		h.Set("X-Goog-Meta-"+key, value)
	}
	// This origin also serves what developers look at in a browser: what somebody stored must not run there. Google
	// serves each bucket's content from an origin that has nothing else.
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	if o.ContentDisposition == "" {
		h.Set("Content-Disposition", "attachment")
	}
	// A signed URL may say what the browser shall make of the file; the signature covers it.
	q := r.URL.Query()
	if v := q.Get("response-content-disposition"); v != "" {
		h.Set("Content-Disposition", v)
	}
	if v := q.Get("response-content-type"); v != "" {
		h.Set("Content-Type", v)
	}
	updated, err := time.Parse(time.RFC3339Nano, o.Updated)
	if err != nil {
		return fmt.Errorf("decode index entry: %w", err)
	}
	body := s.blobs.reader(rec.Segments)
	defer body.closeFile()
	http.ServeContent(w, r, "", updated, body)
	return nil
}

func (s *Server) deleteObject(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	cond, err := parseConditions(r.URL.Query())
	if err != nil {
		return err
	}
	if err := s.remove(bucket, name, &cond); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) remove(bucket, name string, cond *conditions) error {
	defer s.lockName(bucket, name).Unlock()
	rec, err := s.get(bucket, name, cond)
	if err != nil {
		return err
	}
	if err := cond.check(rec); err != nil {
		return err
	}
	if err := s.pace.object(bucket, name); err != nil {
		return err
	}
	if err := s.db.Delete(objectKey(bucket, name), pebble.Sync); err != nil {
		return storageError("delete object", err)
	}
	s.releaseFiles(rec.Segments)
	return nil
}

// maxListPage is Cloud Storage's limit, and default, of objects and prefixes on a page.
const maxListPage = 1000

func (s *Server) listObjects(w http.ResponseWriter, r *http.Request, bucket string) error {
	q := r.URL.Query()
	if err := s.bucketExists(bucket); err != nil {
		return err
	}
	if q.Get("matchGlob") != "" || q.Get("filter") != "" || q.Get("versions") == "true" || q.Get("softDeleted") == "true" {
		return errNotImplemented
	}
	limit := maxListPage
	if v := q.Get("maxResults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return badRequest("Invalid value for maxResults.")
		}
		limit = min(n, maxListPage)
	}
	list, err := s.list(bucket, q, limit)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// list walks one page of the names. The page token is the name, in an escaped form, the page starts at.
func (s *Server) list(bucket string, q url.Values, limit int) (*storage.Objects, error) {
	prefix, delimiter := q.Get("prefix"), q.Get("delimiter")
	token, err := url.PathUnescape(q.Get("pageToken"))
	if err != nil {
		return nil, badRequest("Invalid value for pageToken.")
	}
	upper := objectKey(bucket, "")
	upper[len(upper)-1]++
	if end := q.Get("endOffset"); end != "" {
		upper = objectKey(bucket, end)
	}
	base := len(objectKey(bucket, ""))
	out := &storage.Objects{Kind: "storage#objects"}
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: objectKey(bucket, max(prefix, q.Get("startOffset"), token)), UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	defer func() { _ = iter.Close() }() // reading errors are in iter.Error
	for ok := iter.First(); ok; {
		name := string(iter.Key()[base:])
		if !strings.HasPrefix(name, prefix) {
			break
		}
		if len(out.Items)+len(out.Prefixes) == limit {
			out.NextPageToken = url.PathEscape(name)
			break
		}
		if delimiter != "" {
			if i := strings.Index(name[len(prefix):], delimiter); i >= 0 {
				dir := name[:len(prefix)+i+len(delimiter)]
				out.Prefixes = append(out.Prefixes, dir)
				// Go on behind all names that begin with dir.
				ok = iter.SeekGE(append(slices.Clone(objectKey(bucket, dir)), 0xff))
				continue
			}
		}
		var rec record
		if err := json.Unmarshal(iter.Value(), &rec); err != nil {
			return nil, fmt.Errorf("decode index entry: %w", err)
		}
		out.Items = append(out.Items, rec.Object)
		ok = iter.Next()
	}
	if err := iter.Error(); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return out, nil
}

// drain reads what the client still sends, within a bound, so that it gets the answer and not a reset.
func drain(r *http.Request) {
	const limit = 64 << 20 // several chunks; beyond it, breaking the connection is cheaper
	_, _ = io.CopyN(io.Discard, r.Body, limit)
}
