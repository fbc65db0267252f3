package storageserver

import (
	"net/http"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/api/storage/v1"

	"exportd/internal/objectstore/crc32c"
)

// maxComposeSources is Cloud Storage's limit for one request.
const maxComposeSources = 32

// composeRequest is storage.ComposeRequest, but that it tells a condition of 0 from none.
type composeRequest struct {
	Destination   *storage.Object `json:"destination"`
	SourceObjects []composeSource `json:"sourceObjects"`
}

type composeSource struct {
	Name                string `json:"name"`
	Generation          int64  `json:"generation,string"`
	ObjectPreconditions struct {
		IfGenerationMatch *int64 `json:"ifGenerationMatch,string"`
	} `json:"objectPreconditions"`
}

// compose makes an object of the sources' files, without reading or copying them.
func (s *Server) compose(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	cond, err := parseConditions(r.URL.Query())
	if err != nil {
		return err
	}
	var req composeRequest
	if err := decodeFields(http.MaxBytesReader(w, r.Body, maxJSONBytes), composeFields, &req); err != nil {
		return err
	}
	if n := len(req.SourceObjects); n == 0 || n > maxComposeSources {
		return badRequest("The number of source components provided (%d) must be between 1 and %d.", n, maxComposeSources)
	}
	if req.Destination == nil {
		req.Destination = &storage.Object{}
	}
	o := req.Destination
	o.Name = name
	if err := checkObject(o); err != nil {
		return err
	}
	rec, d := &record{Object: o}, &digest{}
	err = s.blobs.share(func() ([]segment, error) {
		if err := s.gather(bucket, req.SourceObjects, rec, d); err != nil {
			return nil, err
		}
		return rec.Segments, nil
	})
	if err != nil {
		return err
	}
	if err = d.check(o.Crc32c, ""); err == nil {
		err = s.commit(bucket, &cond, rec, d, nil)
	}
	if err != nil {
		s.releaseFiles(rec.Segments)
		return err
	}
	return s.reply(w, r, shown(o))
}

// gather adds the sources, in order, to rec and d.
func (s *Server) gather(bucket string, sources []composeSource, rec *record, d *digest) error {
	for _, src := range sources {
		cond := conditions{GenerationMatch: src.ObjectPreconditions.IfGenerationMatch}
		if src.Generation != 0 {
			cond.Generation = &src.Generation
		}
		source, err := s.get(bucket, src.Name, &cond)
		if err != nil {
			return err
		}
		if err := cond.check(source); err != nil {
			return err
		}
		rec.Segments = append(rec.Segments, source.Segments...)
		rec.Object.ComponentCount += max(source.Object.ComponentCount, 1)
		d.crc = crc32c.Combine(d.crc, source.crc(), int64(source.Object.Size))
		d.size += int64(source.Object.Size)
	}
	return nil
}

// publish makes the object of an uploaded file once its bytes are known to be the declared ones and are on
// the disk. An object without bytes has no file; the caller removes it.
func (s *Server) publish(bucket string, cond *conditions, o *storage.Object, blob int64, d *digest, extra func(*pebble.Batch) error) error {
	if err := d.check(o.Crc32c, o.Md5Hash); err != nil {
		return err
	}
	rec := &record{Object: o}
	if d.size > 0 {
		if err := s.blobs.sync(blob); err != nil {
			return err
		}
		rec.Segments = []segment{{ID: blob, Size: d.size}}
	}
	return s.commit(bucket, cond, rec, d, extra)
}
