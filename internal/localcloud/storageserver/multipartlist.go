package storageserver

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
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
	parts, err := s.parts(u.ID)
	if err != nil {
		return err
	}
	page := partsPage{Bucket: bucket, Key: name, UploadID: u.ID, StorageClass: u.Object.StorageClass, PartNumberMarker: after, MaxParts: limit}
	for _, p := range parts {
		if p.Number <= after {
			continue
		}
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
	uploads, err := s.multiparts(bucket)
	if err != nil {
		return err
	}
	page := uploadsPage{
		Bucket: bucket, KeyMarker: written(q.Get("key-marker")), UploadIDMarker: q.Get("upload-id-marker"), Delimiter: written(q.Get("delimiter")), Prefix: written(q.Get("prefix")),
		EncodingType: encoding, MaxUploads: limit,
	}
	dir, key, id := "", q.Get("key-marker"), q.Get("upload-id-marker")
	for _, u := range uploads {
		name := u.Object.Name
		rest, in := strings.CutPrefix(name, q.Get("prefix"))
		if !in || !behind(&u, q) || dir != "" && strings.HasPrefix(name, dir) {
			continue
		}
		if len(page.Upload)+len(page.CommonPrefixes) == limit {
			page.IsTruncated, page.NextKeyMarker, page.NextUploadIDMarker = true, written(key), id
			break
		}
		if before, _, deep := strings.Cut(rest, q.Get("delimiter")); deep && q.Get("delimiter") != "" {
			dir = q.Get("prefix") + before + q.Get("delimiter")
			page.CommonPrefixes = append(page.CommonPrefixes, commonPrefix{written(dir)})
			key, id = dir, ""
			continue
		}
		page.Upload = append(page.Upload, uploadItem{written(name), u.ID, u.Object.StorageClass, stampXML(u.Started)})
		key, id = name, u.ID
	}
	writeXML(w, page)
	return nil
}

// behind says whether an upload comes after the markers. A key marker that a page of folders ends with has
// all that is in the last one before it.
func behind(u *multipartUpload, q url.Values) bool {
	key, id := q.Get("key-marker"), q.Get("upload-id-marker")
	delimiter := q.Get("delimiter")
	switch name := u.Object.Name; {
	case key == "":
		return true
	case delimiter != "" && strings.HasSuffix(key, delimiter) && strings.HasPrefix(name, key):
		return false
	case name == key && id != "":
		return u.ID > id
	default:
		return name > key
	}
}

// stampXML is a time as the XML API has it.
func stampXML(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
