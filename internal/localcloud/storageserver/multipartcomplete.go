package storageserver

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/api/storage/v1"

	"exportd/internal/objectstore/crc32c"
)

// maxCompleteBytes bounds the list of parts: 10,000 of some 100 bytes, with room for spaces and long words.
const maxCompleteBytes = 4 << 20

// listedPart is a part that the object is to have.
type listedPart struct {
	number int
	etag   string
}

func malformed(format string, args ...any) error {
	return &apiError{http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed or did not validate: " + fmt.Sprintf(format, args...)}
}

// readParts reads the body of the request that completes an upload, and takes no element that it does not
// know.
func readParts(r io.Reader) (out []listedPart, err error) {
	d := xml.NewDecoder(r)
	inside, ended := false, false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && ended {
			break
		}
		if err != nil {
			return nil, bodyError(err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			switch {
			case !inside && !ended && t.Name.Local == "CompleteMultipartUpload":
				inside = true
			case inside && t.Name.Local == "Part" && len(out) < maxParts:
				p, err := readPart(d, t)
				if err != nil {
					return nil, err
				}
				out = append(out, p)
			case inside && t.Name.Local == "Part":
				return nil, malformed("there are more than %d parts.", maxParts)
			default:
				return nil, malformed("the element %q is not expected.", t.Name.Local)
			}
		case xml.EndElement:
			inside, ended = false, true
		case xml.CharData:
			if strings.TrimSpace(string(t)) != "" {
				return nil, malformed("there is text between elements.")
			}
		case xml.Directive:
			return nil, malformed("a document type is not expected.")
		}
	}
	if len(out) == 0 {
		return nil, malformed("there is no part.")
	}
	return out, nil
}

// unknownElement is one that a part may not have.
type unknownElement struct{}

func (*unknownElement) UnmarshalXML(_ *xml.Decoder, start xml.StartElement) error {
	return malformed("the element %q of a part is not served.", start.Name.Local)
}

func readPart(d *xml.Decoder, start xml.StartElement) (p listedPart, err error) {
	var element struct {
		Number []string        `xml:"PartNumber"`
		ETag   []string        `xml:"ETag"`
		Other  *unknownElement `xml:",any"`
	}
	if err := d.DecodeElement(&element, &start); err != nil {
		return p, bodyError(err)
	}
	if len(element.Number) != 1 || len(element.ETag) != 1 {
		return p, malformed("a part needs one PartNumber and one ETag.")
	}
	if p.number, err = strconv.Atoi(strings.TrimSpace(element.Number[0])); err != nil || p.number < 1 || p.number > maxParts {
		return p, invalidArgument("Part number must be an integer between 1 and %d, inclusive.", maxParts)
	}
	p.etag = strings.Trim(strings.TrimSpace(element.ETag[0]), `"`)
	return p, nil
}

// bodyError is what a body that cannot be read as XML is answered with.
func bodyError(err error) error {
	if refusal, ok := errors.AsType[*apiError](err); ok {
		return refusal
	}
	if big, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return malformed("the request has more than %d bytes.", big.Limit)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errBrokenBody
	}
	return malformed("it is not XML.")
}

// completeMultipart makes an object of the parts that are listed, and ends the upload; parts that are not
// listed are removed.
func (s *Server) completeMultipart(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	listed, err := readParts(http.MaxBytesReader(w, r.Body, maxCompleteBytes))
	if err != nil {
		return err
	}
	declared := &storage.Object{}
	if err := declare(declared, r.Header); err != nil {
		return err
	}
	id := r.URL.Query().Get("uploadId")
	defer s.lockUpload(id).Unlock()
	u, err := s.findMultipart(bucket, name, id)
	if err != nil {
		return err
	}
	parts, err := s.parts(id, 0)
	if err != nil {
		return err
	}
	rec, d := &record{Object: u.Object}, &digest{}
	unused, err := s.assemble(parts, listed, rec, d)
	if err != nil {
		return err
	}
	if err := d.check(declared.Crc32c, declared.Md5Hash); err != nil {
		return err
	}
	err = s.commit(bucket, &conditions{}, rec, d, func(b *pebble.Batch) error {
		// Until here the bucket may have been deleted, with the upload, and made again.
		if _, err := s.findMultipart(bucket, name, id); err != nil {
			return err
		}
		return u.forget(b)
	})
	if err != nil {
		return err
	}
	s.releaseFiles(unused)
	describe(w.Header(), rec.Object)
	writeXML(w, struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
		Location string
		Bucket   string
		Key      string
		ETag     string
	}{Location: "http://" + r.Host + canonicalPath("/"+bucket+"/"+name), Bucket: bucket, Key: name, ETag: w.Header().Get("Etag")})
	return nil
}

// assemble adds the parts that are listed to rec and d, and returns the segments of the others.
func (s *Server) assemble(parts []part, listed []listedPart, rec *record, d *digest) (unused []segment, err error) {
	last := 0
	for i, l := range listed {
		if l.number <= last {
			return nil, &apiError{http.StatusBadRequest, "InvalidPartOrder", fmt.Sprintf("The list of parts was not in ascending order: part %d comes after part %d.", l.number, last)}
		}
		last = l.number
		at, ok := slices.BinarySearchFunc(parts, l.number, func(p part, number int) int { return p.Number - number })
		if !ok || parts[at].MD5 != l.etag {
			return nil, &apiError{http.StatusBadRequest, "InvalidPart", fmt.Sprintf("Part %d was not uploaded, or its ETag is not %q.", l.number, l.etag)}
		}
		p := &parts[at]
		if p.Size < minPartBytes && i < len(listed)-1 && !s.lax {
			return nil, &apiError{http.StatusBadRequest, "EntityTooSmall", fmt.Sprintf("Part %d has %d bytes; all but the last one need at least %d.", p.Number, p.Size, minPartBytes)}
		}
		d.crc = crc32c.Combine(d.crc, p.CRC, p.Size)
		if d.size += p.Size; d.size > maxObjectBytes {
			return nil, &apiError{http.StatusBadRequest, "EntityTooLarge", fmt.Sprintf("An object has at most %d bytes.", int64(maxObjectBytes))}
		}
		rec.Segments = append(rec.Segments, p.Segments...)
		p.Segments = nil
	}
	for _, p := range parts {
		unused = append(unused, p.Segments...)
	}
	return unused, nil
}
