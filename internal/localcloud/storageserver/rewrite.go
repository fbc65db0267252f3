package storageserver

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/api/storage/v1"
)

// copyObject makes an object of another one's bytes, which are shared and not copied. Without metadata in the
// body the source's is taken.
func (s *Server) copyObject(w http.ResponseWriter, r *http.Request, parts []string) (*storage.Object, error) {
	q := r.URL.Query()
	cond, err := parseConditions(q)
	if err != nil {
		return nil, err
	}
	from, err := sourceConditions(q)
	if err != nil {
		return nil, err
	}
	o, err := readObject(w, r)
	if err != nil {
		return nil, err
	}
	cond.Generation = nil
	rec, d := &record{Object: o}, &digest{}
	err = s.blobs.share(func() ([]segment, error) {
		source, err := s.get(parts[1], parts[3], &from)
		if err != nil {
			return nil, err
		}
		if err := from.check(source); err != nil {
			return nil, err
		}
		rec.copyFrom(source, d)
		return rec.Segments, nil
	})
	if err != nil {
		return nil, err
	}
	o.Name = parts[len(parts)-1]
	if err = checkObject(o); err == nil {
		err = d.check(o.Crc32c, o.Md5Hash)
	}
	if err == nil {
		err = s.commit(parts[6], &cond, rec, d, nil)
	}
	if err != nil {
		s.releaseFiles(rec.Segments)
		return nil, err
	}
	return o, nil
}

// readObject reads an object's metadata, for which there need be no body.
func readObject(w http.ResponseWriter, r *http.Request) (*storage.Object, error) {
	o := &storage.Object{}
	if r.ContentLength == 0 {
		return o, nil
	}
	return o, decodeFields(http.MaxBytesReader(w, r.Body, maxJSONBytes), objectFields, o)
}

func (r *record) copyFrom(source *record, d *digest) {
	o, from := r.Object, source.Object
	if bare(o) {
		o.CacheControl, o.ContentDisposition, o.ContentEncoding, o.ContentLanguage = from.CacheControl, from.ContentDisposition, from.ContentEncoding, from.ContentLanguage
		o.ContentType, o.CustomTime, o.Metadata = from.ContentType, from.CustomTime, from.Metadata
		o.StorageClass = cmp.Or(o.StorageClass, from.StorageClass)
	}
	o.ComponentCount = from.ComponentCount
	r.Segments = source.Segments
	d.size, d.crc = int64(from.Size), source.crc()
	d.known, _ = base64.StdEncoding.DecodeString(from.Md5Hash) // only this package writes records
}

// bare says that no metadata was sent. The storage class alone is none: that is how a class is changed.
func bare(o *storage.Object) bool {
	return o.CacheControl == "" && o.ContentDisposition == "" && o.ContentEncoding == "" && o.ContentLanguage == "" && o.ContentType == "" && o.CustomTime == "" && o.Metadata == nil
}

// sourceConditions are those on the source of a copy.
func sourceConditions(q url.Values) (conditions, error) {
	source := url.Values{}
	for name := range q {
		if rest, ok := strings.CutPrefix(name, "ifSource"); ok {
			source.Set("if"+rest, q.Get(name))
		}
	}
	if v := q.Get("sourceGeneration"); v != "" {
		source.Set("generation", v)
	}
	return parseConditions(source)
}

func (s *Server) copyTo(w http.ResponseWriter, r *http.Request, parts []string) error {
	o, err := s.copyObject(w, r, parts)
	if err != nil {
		return err
	}
	return s.reply(w, r, shown(o))
}

// rewriteTo is a copy that production may take several calls for; here one does.
func (s *Server) rewriteTo(w http.ResponseWriter, r *http.Request, parts []string) error {
	o, err := s.copyObject(w, r, parts)
	if err != nil {
		return err
	}
	return s.reply(w, r, &storage.RewriteResponse{
		Kind: "storage#rewriteResponse", Done: true, ObjectSize: int64(o.Size), TotalBytesRewritten: int64(o.Size), Resource: shown(o),
		ForceSendFields: []string{"ObjectSize", "TotalBytesRewritten"},
	})
}
