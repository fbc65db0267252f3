package storageserver

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/api/storage/v1"
)

func (s *Server) upload(w http.ResponseWriter, r *http.Request, bucket string) error {
	q := r.URL.Query()
	if id := q.Get("upload_id"); id != "" {
		return s.resume(w, r, id)
	}
	if r.Method != http.MethodPost {
		return errNotImplemented
	}
	cond, err := parseConditions(q)
	if err != nil {
		return err
	}
	o := &storage.Object{}
	body := io.Reader(r.Body)
	switch q.Get("uploadType") {
	case "resumable":
		return s.startSession(w, r, bucket, &cond)
	case "media":
		o.ContentType = r.Header.Get("Content-Type")
	case "multipart":
		if o, body, err = splitMultipart(r); err != nil {
			return err
		}
	default:
		return badRequest("Upload type is missing or not known.")
	}
	fromQuery(o, q)
	if err := declare(o, r.Header); err != nil {
		return err
	}
	if err := s.put(bucket, &cond, o, body); err != nil {
		return err
	}
	return s.reply(w, r, shown(o))
}

// fromQuery takes what may stand in the query instead of the metadata.
func fromQuery(o *storage.Object, q url.Values) {
	o.Name = cmp.Or(q.Get("name"), o.Name)
	o.ContentEncoding = cmp.Or(q.Get("contentEncoding"), o.ContentEncoding)
}

// splitMultipart returns the metadata of a multipart/related body and the reader of its media part.
func splitMultipart(r *http.Request) (*storage.Object, io.Reader, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/related" || params["boundary"] == "" {
		return nil, nil, badRequest("A multipart/related body is needed.")
	}
	parts := multipart.NewReader(r.Body, params["boundary"])
	head, err := parts.NextPart()
	if err != nil {
		return nil, nil, errBrokenBody
	}
	o := &storage.Object{}
	if err := decodeFields(io.LimitReader(head, maxJSONBytes), objectFields, o); err != nil {
		return nil, nil, err
	}
	media, err := parts.NextPart()
	if err != nil {
		return nil, nil, errBrokenBody
	}
	if o.ContentType == "" {
		o.ContentType = media.Header.Get("Content-Type")
	}
	return o, &lastPart{Reader: media, parts: parts}, nil
}

// lastPart is the media part; its end counts only when the closing boundary has come as well, so that a body
// cut between them is not taken for whole.
type lastPart struct {
	io.Reader
	parts *multipart.Reader
	end   error
}

func (p *lastPart) Read(b []byte) (n int, err error) {
	if p.end != nil {
		return 0, p.end
	}
	n, err = p.Reader.Read(b)
	if err == io.EOF {
		if _, next := p.parts.NextPart(); next != io.EOF {
			err = io.ErrUnexpectedEOF
		}
	}
	p.end = err
	return n, err
}

// declare takes checksums from X-Goog-Hash into the metadata, where declared ones are looked up later.
func declare(o *storage.Object, h http.Header) error {
	for _, line := range h.Values("X-Goog-Hash") {
		for item := range strings.SplitSeq(line, ",") {
			kind, value, ok := strings.Cut(strings.TrimSpace(item), "=")
			field := map[string]*string{"crc32c": &o.Crc32c, "md5": &o.Md5Hash}[kind]
			switch {
			case !ok || field == nil:
				return badRequest("Invalid X-Goog-Hash header.")
			case *field != "" && *field != value:
				return badRequest("Two different %s values are declared.", kind)
			}
			*field = value
		}
	}
	return nil
}

func newDigest() *digest { return &digest{md5: md5.New()} }

// put stores body as the object o and completes o.
func (s *Server) put(bucket string, cond *conditions, o *storage.Object, body io.Reader) error {
	if err := checkObject(o); err != nil {
		return err
	}
	if err := s.bucketExists(bucket); err != nil {
		return err
	}
	d := newDigest()
	kept, err := s.keep(body, d)
	if err != nil {
		return err
	}
	if err = d.check(o.Crc32c, o.Md5Hash); err == nil {
		err = s.commit(bucket, cond, &record{Object: o, Segments: kept.segments}, d, kept.store)
	}
	if err != nil {
		s.dropKept(kept)
	}
	return err
}

// kept is a body that nothing in the index refers to yet: on the disk in a file, or to go into the index with
// what refers to it, or neither, if it has no bytes.
type kept struct {
	segments []segment
	small    []byte
}

// keep takes a body, and adds it to d.
func (s *Server) keep(body io.Reader, d *digest) (kept, error) {
	blob := s.nextID()
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	head := (*buf)[:smallBytes+1]
	n, err := fill(head, body)
	switch {
	case errors.Is(err, io.EOF) && n <= smallBytes:
		d.add(head[:n])
		if n == 0 {
			return kept{}, s.blobs.checkFree()
		}
		return kept{segments: []segment{{ID: blob, Size: int64(n), Small: true}}, small: bytes.Clone(head[:n])}, s.blobs.checkFree()
	case err != nil && !errors.Is(err, io.EOF):
		return kept{}, errBrokenBody
	}
	err = s.blobs.appendTo(blob, d, io.MultiReader(bytes.NewReader(head[:n]), body))
	if err == nil {
		err = s.blobs.sync(blob)
	}
	if err != nil {
		s.dropFile(blob)
		return kept{}, err
	}
	return kept{segments: []segment{{ID: blob, Size: d.size}}}, nil
}

// store puts into the batch what goes into the index.
func (k kept) store(b *pebble.Batch) error {
	if k.small == nil {
		return nil
	}
	return b.Set(smallKey(k.segments[0].ID), k.small, nil)
}

// dropKept removes the file of a body that nothing refers to.
func (s *Server) dropKept(k kept) {
	if k.small == nil && len(k.segments) > 0 {
		s.dropFile(k.segments[0].ID)
	}
}
