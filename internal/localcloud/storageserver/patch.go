package storageserver

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/api/storage/v1"
)

// patchObject sets the fields that were sent: null empties one, and members of the custom metadata are set
// or, with null, removed one by one.
func (s *Server) patchObject(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	return s.changeObject(w, r, bucket, name, func(o *storage.Object, raw map[string]any) error {
		takeNulls(raw["metadata"], o.Metadata)
		for field, set := range map[string]*string{
			"cacheControl": &o.CacheControl, "contentDisposition": &o.ContentDisposition, "contentEncoding": &o.ContentEncoding,
			"contentLanguage": &o.ContentLanguage, "contentType": &o.ContentType, "customTime": &o.CustomTime,
		} {
			if v, sent := raw[field]; sent && v == nil {
				*set = ""
			}
		}
		for field, set := range map[string]*bool{"temporaryHold": &o.TemporaryHold, "eventBasedHold": &o.EventBasedHold} {
			if v, sent := raw[field]; sent && v == nil {
				*set = false
			}
		}
		if v, sent := raw["metadata"]; sent && v == nil {
			o.Metadata = nil
		}
		return setFields(raw, o)
	})
}

// updateObject replaces all that a caller may set.
func (s *Server) updateObject(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	return s.changeObject(w, r, bucket, name, func(o *storage.Object, raw map[string]any) error {
		o.CacheControl, o.ContentDisposition, o.ContentEncoding, o.ContentLanguage, o.ContentType = "", "", "", "", ""
		o.Metadata, o.EventBasedHold, o.TemporaryHold = nil, false, false
		return setFields(raw, o)
	})
}

func (s *Server) changeObject(w http.ResponseWriter, r *http.Request, bucket, name string, set func(*storage.Object, map[string]any) error) error {
	cond, err := parseConditions(r.URL.Query())
	if err != nil {
		return err
	}
	raw, err := readFields(http.MaxBytesReader(w, r.Body, maxJSONBytes), objectFields)
	if err != nil {
		return err
	}
	for _, fixed := range []string{"name", "crc32c", "md5Hash"} { // a client may send back what it got
		delete(raw, fixed)
	}
	o, err := s.change(bucket, name, &cond, func(o *storage.Object) error { return set(o, raw) })
	if err != nil {
		return err
	}
	return s.reply(w, r, shown(o))
}

// change gives an object its next metageneration.
func (s *Server) change(bucket, name string, cond *conditions, set func(*storage.Object) error) (*storage.Object, error) {
	s.buckets.RLock()
	defer s.buckets.RUnlock()
	defer s.lockName(bucket, name).Unlock()
	rec, err := s.get(bucket, name, cond)
	if err != nil {
		return nil, err
	}
	if err := cond.check(rec); err != nil {
		return nil, err
	}
	o := rec.Object
	class, custom := o.StorageClass, o.CustomTime
	if err := set(o); err != nil {
		return nil, err
	}
	if err := checkObject(o); err != nil {
		return nil, err
	}
	switch {
	case o.StorageClass != class:
		return nil, badRequest("The storage class of an object is changed by a rewrite, not by an update.")
	case custom != "" && o.CustomTime < custom: // both in one form
		return nil, badRequest("Custom time cannot be removed or set to an earlier time.")
	}
	if err := s.pace.object(bucket, name); err != nil {
		return nil, err
	}
	o.Metageneration++
	o.Updated = stamp(time.Now())
	o.Etag = base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%x/%x", o.Generation, o.Metageneration))
	return o, s.save("object", rec.key(), rec, pebble.Sync)
}

// held refuses what a hold forbids. https://cloud.google.com/storage/docs/object-holds
func (r *record) held() error {
	if r == nil || !r.Object.TemporaryHold && !r.Object.EventBasedHold {
		return nil
	}
	kind := "Temporary"
	if r.Object.EventBasedHold {
		kind = "Event-Based"
	}
	return denied("forbidden", "Object '%s/%s' is under active %s hold and cannot be deleted, overwritten or archived until hold is removed.", r.Object.Bucket, r.Object.Name, kind)
}
