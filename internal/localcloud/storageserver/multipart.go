package storageserver

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/api/storage/v1"
)

// A multipart upload of the XML API has parts that come in any order, side by side, and are made an object by
// a last request, which moves no bytes: the object has the parts' files. Each part that was acknowledged is
// on the disk, and so is the upload, so that both outlive a restart and a power failure.
// https://cloud.google.com/storage/docs/multipart-uploads

// Limits of production: https://cloud.google.com/storage/quotas#multipart
const (
	minPartBytes   = 5 << 20 // but for the last one
	maxPartBytes   = 5 << 30
	maxParts       = 10_000
	maxObjectBytes = 5 << 40
)

// multipartLife is how long an upload may rest. Production keeps one until it is aborted, by a caller or by a
// rule of its bucket; here abandoned parts take the user's own disk.
const multipartLife = 7 * 24 * time.Hour

// multipartUpload is what the index keeps of one.
type multipartUpload struct {
	Bucket  string          `json:"bucket"`
	ID      string          `json:"id"`
	Object  *storage.Object `json:"object"` // its metadata
	Started time.Time       `json:"started"`
}

func (u *multipartUpload) whole() bool { return u.Object != nil && u.ID != "" && u.Bucket != "" }

func (u *multipartUpload) key() []byte { return multipartKey(u.Bucket, u.Object.Name, u.ID) }

// part is what the index keeps of one. It has one segment, or none if it has no bytes.
type part struct {
	Number   int       `json:"number"`
	Size     int64     `json:"size"`
	CRC      uint32    `json:"crc"`
	MD5      string    `json:"md5"` // in hex: the ETag
	At       time.Time `json:"at"`
	Segments []segment `json:"segments,omitempty"`
}

func (p *part) whole() bool {
	size := int64(0)
	for _, s := range p.Segments {
		size += s.Size
	}
	return p.Number >= 1 && p.Number <= maxParts && p.Size == size && size >= 0 && len(p.Segments) <= 1
}

func (p *part) etag() string { return strconv.Quote(p.MD5) }

// Keys of uploads lie in the order of their names, those of parts in the order of their numbers.
func multipartKey(bucket, name, id string) []byte {
	return []byte("u" + bucket + "\x00" + name + "\x00" + id)
}
func partKey(id string, number int) []byte { return fmt.Appendf(nil, "p%s%05d", id, number) }

// multipartSpan is where a bucket's uploads lie, partSpan where an upload's parts do.
func multipartSpan(bucket string) (lower, upper []byte) {
	return []byte("u" + bucket + "\x00"), []byte("u" + bucket + "\x01")
}
func partSpan(id string) (lower, upper []byte) { return partKey(id, 0), []byte("p" + id + "~") }

var errNoSuchUpload error = &apiError{http.StatusNotFound, "NoSuchUpload", "The requested upload was not found: it was completed or aborted, or never begun."}

type multipartHandler = func(s *Server, w http.ResponseWriter, r *http.Request, bucket, name string) error

// multipartRequest returns what serves a request that is about multipart uploads, or nil.
func multipartRequest(r *http.Request, name string) multipartHandler {
	q := r.URL.Query()
	of := map[string]multipartHandler{}
	switch {
	case q.Has("uploads") && name == "":
		of = map[string]multipartHandler{http.MethodGet: (*Server).listMultipart}
	case name == "":
		return nil
	case q.Has("uploads"):
		of = map[string]multipartHandler{http.MethodPost: (*Server).beginMultipart}
	case q.Has("uploadId"):
		of = map[string]multipartHandler{
			http.MethodPut: (*Server).putPart, http.MethodGet: (*Server).listParts, http.MethodPost: (*Server).completeMultipart, http.MethodDelete: (*Server).abortMultipart,
		}
	case q.Has("partNumber"):
	default:
		return nil
	}
	h := of[r.Method]
	return func(s *Server, w http.ResponseWriter, r *http.Request, bucket, name string) error {
		if h == nil {
			return errNotImplemented
		}
		if err := refuseConditions(r); err != nil {
			return err
		}
		return h(s, w, r, bucket, name)
	}
}

// refuseConditions: as documented, these requests have no preconditions.
func refuseConditions(r *http.Request) error {
	cond, err := xmlConditions(r)
	if err == nil && cond != (conditions{}) {
		err = invalidArgument("Preconditions and generations are not supported in multipart uploads.")
	}
	return err
}

func invalidArgument(format string, args ...any) error {
	return &apiError{http.StatusBadRequest, "InvalidArgument", fmt.Sprintf(format, args...)}
}

// changeMultipart has f change an upload, or its parts, while nobody else does, and its bucket stays. f gets
// the upload as it is.
func (s *Server) changeMultipart(bucket, name, id string, f func(u *multipartUpload) error) error {
	defer s.lockUpload(id).Unlock()
	s.buckets.RLock()
	defer s.buckets.RUnlock()
	u, err := s.findMultipart(bucket, name, id)
	if err != nil {
		return err
	}
	return f(u)
}

func (s *Server) findMultipart(bucket, name, id string) (*multipartUpload, error) {
	u := &multipartUpload{}
	ok, err := load(s.db, multipartKey(bucket, name, id), u)
	if err == nil && !ok {
		err = cmp.Or(s.bucketExists(bucket), errNoSuchUpload)
	}
	return u, err
}

func (s *Server) beginMultipart(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	u := &multipartUpload{Bucket: bucket, ID: rand.Text(), Object: headerObject(name, r.Header), Started: time.Now()}
	if err := errors.Join(checkObject(u.Object), s.blobs.checkFree()); err != nil {
		return err
	}
	s.buckets.RLock()
	defer s.buckets.RUnlock()
	var home storage.Bucket
	if ok, err := load(s.db, bucketKey(bucket), &home); err != nil || !ok {
		return cmp.Or(err, errBucketNotFound)
	}
	u.Object.StorageClass = cmp.Or(u.Object.StorageClass, home.StorageClass)
	if err := s.save("multipart upload", u.key(), u, pebble.Sync); err != nil {
		return err
	}
	writeXML(w, struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
		Bucket   string
		Key      string
		UploadID string `xml:"UploadId"`
	}{Bucket: bucket, Key: name, UploadID: u.ID})
	return nil
}

// putPart takes a part, which replaces one of the same number.
func (s *Server) putPart(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	q := r.URL.Query()
	id := q.Get("uploadId")
	number, err := strconv.Atoi(q.Get("partNumber"))
	if err != nil || number < 1 || number > maxParts {
		return invalidArgument("Part number must be an integer between 1 and %d, inclusive.", maxParts)
	}
	if r.ContentLength > maxPartBytes {
		return errPartTooLarge
	}
	declared := &storage.Object{Md5Hash: r.Header.Get("Content-Md5")}
	if err := declare(declared, r.Header); err != nil {
		return err
	}
	if _, err := s.findMultipart(bucket, name, id); err != nil { // again at the end; here it saves the transfer
		return err
	}
	d := newDigest()
	body, err := s.keep(io.LimitReader(r.Body, maxPartBytes+1), d)
	if err != nil {
		return err
	}
	err = d.check(declared.Crc32c, declared.Md5Hash)
	if err == nil && d.size > maxPartBytes {
		err = errPartTooLarge
	}
	p := &part{Number: number, Size: d.size, CRC: d.crc, MD5: hex.EncodeToString(d.md5.Sum(nil)), At: time.Now(), Segments: body.segments}
	var before part
	if err == nil {
		err = s.changeMultipart(bucket, name, id, func(u *multipartUpload) error { return s.storePart(u, p, body, &before) })
	}
	if err != nil {
		s.dropKept(body)
		return err
	}
	s.releaseFiles(before.Segments)
	h := w.Header()
	h.Set("Etag", p.etag())
	h.Set("X-Goog-Hash", "crc32c="+encodeCRC(p.CRC))
	h.Add("X-Goog-Hash", "md5="+d.sum())
	w.WriteHeader(http.StatusOK)
	return nil
}

var errPartTooLarge = &apiError{http.StatusBadRequest, "EntityTooLarge", fmt.Sprintf("A part has at most %d bytes.", int64(maxPartBytes))}

// storePart makes p a part of the upload, and says which one it has replaced.
func (s *Server) storePart(u *multipartUpload, p *part, body kept, before *part) error {
	key := partKey(u.ID, p.Number)
	if _, err := load(s.db, key, before); err != nil {
		return err
	}
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }() // already committed, or to be dropped
	if err := errors.Join(store(batch, key, p), body.store(batch)); err != nil {
		return err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return storageError("commit part", err)
	}
	return nil
}

func (s *Server) abortMultipart(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	if err := s.changeMultipart(bucket, name, r.URL.Query().Get("uploadId"), s.dropMultipart); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// dropMultipart removes an upload and its parts.
func (s *Server) dropMultipart(u *multipartUpload) error {
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }() // already committed, or to be dropped
	parts, err := s.parts(u.ID, 0)
	if err != nil {
		return err
	}
	if err := u.forget(batch); err != nil {
		return err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return storageError("delete multipart upload", err)
	}
	for _, p := range parts {
		s.releaseFiles(p.Segments)
	}
	return nil
}

// forget removes what the index keeps of an upload, in the batch; the parts' bytes are not touched.
func (u *multipartUpload) forget(batch *pebble.Batch) error {
	lower, upper := partSpan(u.ID)
	return errors.Join(batch.Delete(u.key(), nil), batch.DeleteRange(lower, upper, nil))
}

// parts returns an upload's parts behind a number, in order: at most maxParts.
func (s *Server) parts(id string, after int) ([]part, error) {
	_, upper := partSpan(id)
	return loadAll[part](s.db, partKey(id, after+1), upper)
}

// eachMultipart calls visit for a bucket's uploads, "" for those of all buckets, in the order of their names.
// They are those of one instant: visit may end them.
func (s *Server) eachMultipart(bucket string, visit func(u *multipartUpload) error) error {
	lower, upper := []byte("u"), []byte("v")
	if bucket != "" {
		lower, upper = multipartSpan(bucket)
	}
	return scan(s.db, lower, upper, func(_, value []byte) error {
		u := &multipartUpload{}
		if err := decode(value, u); err != nil {
			return err
		}
		return visit(u)
	})
}

// abandon ends the uploads that have rested for too long, or that a rule of their bucket has end.
func (s *Server) abandon(now time.Time) error {
	return s.eachMultipart("", func(u *multipartUpload) error {
		// Looked at again while nobody adds a part to it.
		err := s.changeMultipart(u.Bucket, u.Object.Name, u.ID, func(u *multipartUpload) error {
			over, err := s.overdue(u, now)
			if err != nil || !over {
				return err
			}
			return s.dropMultipart(u)
		})
		if errors.Is(err, errNoSuchUpload) || errors.Is(err, errBucketNotFound) {
			return nil
		}
		return err
	})
}

func (s *Server) overdue(u *multipartUpload, now time.Time) (bool, error) {
	parts, err := s.parts(u.ID, 0)
	if err != nil {
		return false, err
	}
	last := u.Started
	for _, p := range parts {
		if p.At.After(last) {
			last = p.At
		}
	}
	if now.Sub(last) >= multipartLife {
		return true, nil
	}
	var home storage.Bucket
	if _, err := load(s.db, bucketKey(u.Bucket), &home); err != nil {
		return false, err
	}
	return slices.ContainsFunc(conditionsOf(&home, abortMultipartAction), func(c *storage.BucketLifecycleRuleCondition) bool {
		return (c.Age == nil || !u.Started.After(now.AddDate(0, 0, -int(*c.Age)))) && namedBy(c, u.Object.Name)
	}), nil
}

// recoverMultiparts marks the segments of all parts as known, and removes parts without an upload, and those
// whose bytes a build before this one has removed, as it knows of no parts.
func (s *Server) recoverMultiparts(known map[int64]bool) error {
	open := map[string]bool{}
	err := s.eachMultipart("", func(u *multipartUpload) error {
		open[u.ID] = true
		return nil
	})
	if err != nil {
		return err
	}
	return scan(s.db, []byte("p"), []byte("q"), func(key, value []byte) error {
		var p part
		if err := decode(value, &p); err != nil {
			return err
		}
		id := strings.TrimSuffix(string(key[1:]), fmt.Sprintf("%05d", p.Number))
		there := open[id]
		for _, seg := range p.Segments {
			s.last.Store(max(s.last.Load(), seg.ID))
			there = there && s.blobs.has(seg)
		}
		if !there {
			return s.db.Delete(slices.Clone(key), pebble.NoSync)
		}
		for _, seg := range p.Segments {
			known[seg.ID] = true
		}
		return nil
	})
}
