package storageserver

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/api/storage/v1"
)

// serveXML is the part of the XML API, path style, that signed URLs and the official clients use: reading,
// writing and deleting one object, and multipart uploads.
func (s *Server) serveXML(w http.ResponseWriter, r *http.Request) error {
	bucket, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	multipart := multipartRequest(r, name)
	if bucket == "" || name == "" && multipart == nil {
		return errNotImplemented
	}
	if r.Method == http.MethodOptions {
		return s.preflight(w, r, bucket)
	}
	if err := s.allowOrigin(w.Header(), r, bucket); err != nil {
		return err
	}
	h, ok := map[string]func(http.ResponseWriter, *http.Request, string, string, *conditions) error{
		http.MethodGet: s.serveMedia, http.MethodHead: s.serveMedia, http.MethodPut: s.putXML, http.MethodDelete: s.deleteXML,
	}[r.Method]
	if !ok && multipart == nil {
		return errNotImplemented
	}
	if err := s.authenticate(r); err != nil {
		return err
	}
	if err := errors.Join(refuseHeaders(r.Header), refuseSubresources(r.URL.Query())); err != nil {
		return err
	}
	if multipart != nil {
		return multipart(s, w, r, bucket, name)
	}
	cond, err := xmlConditions(r)
	if err != nil {
		return err
	}
	return h(w, r, bucket, name, &cond)
}

// authenticate lets a request pass that is signed, or comes from one of Google's clients, which name
// themselves in a header, with or without a token; any token is one, as there are no accounts to hold it
// against. A plain link has neither. A page of another site could send such headers only after a preflight,
// which nothing here answers, and browsers tell where a request comes from.
func (s *Server) authenticate(r *http.Request) error {
	if r.URL.Query().Has("X-Goog-Signature") {
		return s.signer.verify(r)
	}
	client := r.Header.Get("Authorization") != "" || r.Header.Get("X-Goog-Api-Client") != ""
	if !client || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return denied("AccessDenied", "Anonymous caller does not have storage.objects access: sign the URL, or send what Google's clients send (Authorization or x-goog-api-client).")
	}
	return nil
}

// xmlConditions are those of the XML API, which are headers but for the generation.
// https://cloud.google.com/storage/docs/xml-api/reference-headers
func xmlConditions(r *http.Request) (conditions, error) {
	q := url.Values{}
	for header, name := range map[string]string{
		"X-Goog-If-Generation-Match": "ifGenerationMatch", "X-Goog-If-Metageneration-Match": "ifMetagenerationMatch",
	} {
		if v := r.Header.Get(header); v != "" {
			q.Set(name, v)
		}
	}
	if v := r.URL.Query().Get("generation"); v != "" {
		q.Set("generation", v)
	}
	return parseConditions(q)
}

// customPrefix begins the headers that hold custom metadata.
const customPrefix = "X-Goog-Meta-"

// headerObject is the object that the headers of a request describe.
func headerObject(name string, h http.Header) *storage.Object {
	o := &storage.Object{
		Name: name, ContentType: h.Get("Content-Type"), ContentEncoding: h.Get("Content-Encoding"), ContentLanguage: h.Get("Content-Language"),
		ContentDisposition: h.Get("Content-Disposition"), CacheControl: h.Get("Cache-Control"), StorageClass: h.Get("X-Goog-Storage-Class"),
		CustomTime: h.Get("X-Goog-Custom-Time"),
	}
	for key, values := range h {
		if name, ok := strings.CutPrefix(key, customPrefix); ok {
			if o.Metadata == nil {
				o.Metadata = map[string]string{}
			}
			o.Metadata[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	return o
}

func (s *Server) putXML(w http.ResponseWriter, r *http.Request, bucket, name string, cond *conditions) error {
	o := headerObject(name, r.Header)
	o.Md5Hash = r.Header.Get("Content-Md5")
	if err := declare(o, r.Header); err != nil {
		return err
	}
	if err := s.put(bucket, cond, o, r.Body); err != nil {
		return err
	}
	describe(w.Header(), o)
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) deleteXML(w http.ResponseWriter, _ *http.Request, bucket, name string, cond *conditions) error {
	if err := s.remove(bucket, name, cond, s.pace); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// refuseHeaders answers for what is asked in headers and would be left out in silence.
func refuseHeaders(h http.Header) error {
	for _, key := range slices.Sorted(maps.Keys(h)) {
		switch {
		case strings.HasPrefix(key, "X-Goog-Encryption-"), strings.HasPrefix(key, "X-Goog-Copy-Source-Encryption-"):
			return notImplemented("Encryption with keys of the caller's (%s)", strings.ToLower(key))
		case strings.HasPrefix(key, "X-Amz-"):
			return notImplemented("The header %s of another vendor's API", strings.ToLower(key))
		case slices.Contains(refusedHeaders, key):
			return notImplemented("The header %s", strings.ToLower(key))
		}
	}
	return nil
}

var refusedHeaders = []string{
	"X-Goog-Acl", "X-Goog-Content-Length-Range", "X-Goog-Copy-Source", "X-Goog-Metadata-Directive", "X-Goog-Object-Lock-Mode", "X-Goog-Object-Lock-Retain-Until-Date", "X-Goog-Resumable",
}

// subresources of the XML API, each of which makes the request another one, that are not served.
// https://cloud.google.com/storage/docs/xml-api/reference-methods
var subresources = []string{
	"acl", "billing", "compose", "cors", "defaultObjectAcl", "encryption", "encryptionConfig", "legal-hold", "lifecycle", "location", "logging", "object-lock", "retention", "storageClass",
	"tagging", "upload_id", "versioning", "versions", "website", "websiteConfig",
}

func refuseSubresources(q url.Values) error {
	for _, name := range subresources {
		if q.Has(name) {
			return notImplemented("The subresource %s of the XML API", name)
		}
	}
	return nil
}
