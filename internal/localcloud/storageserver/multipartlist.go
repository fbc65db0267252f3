package storageserver

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// listLimit reads how many results are wanted: at most, and by default, as many as are on a page.
func listLimit(q url.Values, name string) (int, error) {
	if !q.Has(name) {
		return maxListPage, nil
	}
	n, err := strconv.Atoi(q.Get(name))
	if err != nil || n < 1 {
		return 0, invalidArgument("Invalid value for %s.", name)
	}
	return min(n, maxListPage), nil
}

// partsPage is a page of an upload's parts:
// https://cloud.google.com/storage/docs/xml-api/get-object-multipart
type partsPage struct {
	XMLName              xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
	Bucket               string
	Key                  string
	UploadID             string `xml:"UploadId"`
	StorageClass         string
	PartNumberMarker     int
	NextPartNumberMarker int `xml:",omitempty"`
	MaxParts             int
	IsTruncated          bool
	Part                 []partItem
}

type partItem struct {
	PartNumber   int
	LastModified string
	ETag         string
	Size         int64
}

func (s *Server) listParts(w http.ResponseWriter, r *http.Request, bucket, name string) error {
	q := r.URL.Query()
	limit, err := listLimit(q, "max-parts")
	if err != nil {
		return err
	}
	after := 0
	if v := q.Get("part-number-marker"); v != "" {
		if after, err = strconv.Atoi(v); err != nil || after < 0 {
			return invalidArgument("Invalid value for part-number-marker.")
		}
	}
	u, err := s.findMultipart(bucket, name, q.Get("uploadId"))
	if err != nil {
		return err
	}
	parts, err := s.parts(u.ID, min(after, maxParts))
	if err != nil {
		return err
	}
	page := partsPage{Bucket: bucket, Key: name, UploadID: u.ID, StorageClass: u.Object.StorageClass, PartNumberMarker: after, MaxParts: limit}
	for _, p := range parts {
		if len(page.Part) == limit {
			page.IsTruncated, page.NextPartNumberMarker = true, page.Part[limit-1].PartNumber
			break
		}
		page.Part = append(page.Part, partItem{p.Number, stampXML(p.At), p.etag(), p.Size})
	}
	writeXML(w, page)
	return nil
}

// uploadsPage is a page of a bucket's uploads:
// https://cloud.google.com/storage/docs/xml-api/get-bucket-uploads
type uploadsPage struct {
	XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
	Bucket             string
	KeyMarker          string
	UploadIDMarker     string `xml:"UploadIdMarker"`
	NextKeyMarker      string `xml:",omitempty"`
	NextUploadIDMarker string `xml:"NextUploadIdMarker,omitempty"`
	Delimiter          string `xml:",omitempty"`
	Prefix             string `xml:",omitempty"`
	EncodingType       string `xml:",omitempty"`
	MaxUploads         int
	IsTruncated        bool
	Upload             []uploadItem
	CommonPrefixes     []commonPrefix
}

type uploadItem struct {
	Key          string
	UploadID     string `xml:"UploadId"`
	StorageClass string
	Initiated    string
}

type commonPrefix struct{ Prefix string }

func (s *Server) listMultipart(w http.ResponseWriter, r *http.Request, bucket, _ string) error {
	q := r.URL.Query()
	limit, err := listLimit(q, "max-uploads")
	if err != nil {
		return err
	}
	written, encoding := func(name string) string { return name }, q.Get("encoding-type")
	switch encoding {
	case "":
	case "url":
		written = canonicalPath
	default:
		return invalidArgument("Invalid value for encoding-type: %q", encoding)
	}
	if err := s.bucketExists(bucket); err != nil {
		return err
	}
	page := &uploadsPage{
		Bucket: bucket, KeyMarker: written(q.Get("key-marker")), UploadIDMarker: q.Get("upload-id-marker"), Delimiter: written(q.Get("delimiter")), Prefix: written(q.Get("prefix")),
		EncodingType: encoding, MaxUploads: limit,
	}
	if err := s.fillUploads(page, bucket, q, written); err != nil {
		return err
	}
	writeXML(w, page)
	return nil
}

// fillUploads reads as many uploads as there is room for on the page, and one more.
func (s *Server) fillUploads(page *uploadsPage, bucket string, q url.Values, written func(string) string) error {
	prefix, delimiter, key, id := q.Get("prefix"), q.Get("delimiter"), q.Get("key-marker"), q.Get("upload-id-marker")
	lower, upper := multipartSpan(bucket)
	at := func(rest string) []byte { return append(slices.Clone(lower), rest...) }
	folder := func(name string) (dir string, in bool) {
		before, _, in := strings.Cut(name[len(prefix):], delimiter)
		return prefix + before + delimiter, in && delimiter != ""
	}
	behind := func(dir string) []byte { return at(dir + "\xff") } // all names that begin with dir
	first := at(prefix)
	if key >= prefix && key != "" {
		dir, in := "", false
		if strings.HasPrefix(key, prefix) {
			dir, in = folder(key)
		}
		switch {
		case in && dir == key: // the page before has ended with that folder
			first = behind(dir)
		case id != "":
			first = at(key + "\x00" + id + "\x00")
		default:
			first = at(key + "\x01") // behind all uploads of that name
		}
	}
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: first, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	defer func() { _ = iter.Close() }() // reading errors are in iter.Error
	for ok := iter.First(); ok; {
		name, uploadID, _ := strings.Cut(string(iter.Key()[len(lower):]), "\x00")
		if !strings.HasPrefix(name, prefix) {
			break
		}
		if len(page.Upload)+len(page.CommonPrefixes) == page.MaxUploads {
			page.IsTruncated, page.NextKeyMarker, page.NextUploadIDMarker = true, written(key), id
			break
		}
		if dir, in := folder(name); in {
			page.CommonPrefixes = append(page.CommonPrefixes, commonPrefix{written(dir)})
			key, id = dir, ""
			ok = iter.SeekGE(behind(dir))
			continue
		}
		var u multipartUpload
		if err := decode(iter.Value(), &u); err != nil {
			return err
		}
		page.Upload = append(page.Upload, uploadItem{written(name), uploadID, u.Object.StorageClass, stampXML(u.Started)})
		key, id = name, uploadID
		ok = iter.Next()
	}
	if err := iter.Error(); err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	return nil
}

// stampXML is a time as the XML API has it.
func stampXML(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
