package storageserver

import (
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/api/storage/v1"
)

// serveXML is the part of the XML API, path style, that signed URLs and the official clients use: reading,
// writing and deleting one object.
func (s *Server) serveXML(w http.ResponseWriter, r *http.Request) error {
	bucket, name, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if !ok || bucket == "" || name == "" {
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
	if !ok {
		return errNotImplemented
	}
	if err := s.authenticate(r); err != nil {
		return err
	}
	if err := refuseHeaders(r.Header); err != nil {
		return err
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

func (s *Server) putXML(w http.ResponseWriter, r *http.Request, bucket, name string, cond *conditions) error {
	o := &storage.Object{
		Name: name, ContentType: r.Header.Get("Content-Type"), ContentEncoding: r.Header.Get("Content-Encoding"), ContentLanguage: r.Header.Get("Content-Language"),
		ContentDisposition: r.Header.Get("Content-Disposition"), CacheControl: r.Header.Get("Cache-Control"), StorageClass: r.Header.Get("X-Goog-Storage-Class"),
		Md5Hash: r.Header.Get("Content-Md5"),
	}
	for key, values := range r.Header {
		if name, ok := strings.CutPrefix(key, customPrefix); ok {
			if o.Metadata == nil {
				o.Metadata = map[string]string{}
			}
			o.Metadata[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
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
	for key := range h {
		switch {
		case strings.HasPrefix(key, "X-Goog-Encryption-"), strings.HasPrefix(key, "X-Goog-Copy-Source-Encryption-"):
			return notImplemented("Encryption with keys of the caller's (%s)", strings.ToLower(key))
		case key == "X-Goog-Acl", key == "X-Goog-Copy-Source", key == "X-Goog-Resumable", key == "X-Goog-Object-Lock-Mode", key == "X-Goog-Object-Lock-Retain-Until-Date":
			return notImplemented("The header %s", strings.ToLower(key))
		}
	}
	return nil
}
