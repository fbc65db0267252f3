package storageserver

import (
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/api/storage/v1"
)

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
	describe(h, o)
	for key, value := range map[string]string{
		"Content-Type": o.ContentType, "Content-Encoding": o.ContentEncoding, "Content-Language": o.ContentLanguage,
		"Content-Disposition": o.ContentDisposition, "Cache-Control": o.CacheControl, "X-Goog-Storage-Class": o.StorageClass,
	} {
		if value != "" {
			h.Set(key, value)
		}
	}
	for key, value := range o.Metadata {
		h.Set(customPrefix+key, value)
	}
	// This origin also serves what developers look at in a browser: what somebody stored must not run there.
	// Google serves each bucket's content from an origin that has nothing else.
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
	if unpacks(r, o) {
		return sendUnpacked(w, r, updated, body)
	}
	http.ServeContent(w, r, "", updated, body)
	return nil
}

// describe sets the headers that tell which object, and which bytes, an answer is about.
func describe(h http.Header, o *storage.Object) {
	h.Set("Etag", strconv.Quote(o.Etag))
	h.Set("X-Goog-Generation", strconv.FormatInt(o.Generation, 10))
	h.Set("X-Goog-Metageneration", strconv.FormatInt(o.Metageneration, 10))
	h.Set("X-Goog-Stored-Content-Length", strconv.FormatUint(o.Size, 10))
	h.Set("X-Goog-Stored-Content-Encoding", cmp.Or(o.ContentEncoding, "identity"))
	h.Set("X-Goog-Hash", "crc32c="+o.Crc32c)
	if o.Md5Hash != "" {
		h.Add("X-Goog-Hash", "md5="+o.Md5Hash)
	}
}

// unpacks says whether the caller gets what is in a gzip: who does not say that it takes gzip, unless the
// object says no-transform. https://cloud.google.com/storage/docs/transcoding
func unpacks(r *http.Request, o *storage.Object) bool {
	return o.ContentEncoding == "gzip" && !strings.Contains(o.CacheControl, "no-transform") && !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
}

// sendUnpacked sends all of it: as documented, a Range is not looked at, and there is no length. What is no
// gzip is sent as it is.
func sendUnpacked(w http.ResponseWriter, r *http.Request, updated time.Time, body *reader) error {
	unpacked, err := gzip.NewReader(body)
	if err != nil {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return err
		}
		http.ServeContent(w, r, "", updated, body)
		return nil
	}
	h := w.Header()
	h.Del("Content-Encoding")
	h.Set("Warning", "214 UploadServer gunzipped")
	h.Set("Last-Modified", updated.UTC().Format(http.TimeFormat))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(w, unpacked); err != nil {
		panic(http.ErrAbortHandler) // the caller must not take what it has for whole
	}
	return nil
}
