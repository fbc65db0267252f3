package storageserver

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"exportd/internal/loopback"
)

// Handler serves the API. It can be mounted at the root of a listener on loopback only.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(s.serve)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	writeError := writeXMLError
	route := s.serveXML
	if isAPI(r.URL.Path) {
		writeError, route = writeJSONError, s.serveJSON
	}
	err := checkCaller(r)
	if err == nil {
		err = route(w, r)
	}
	if err == nil {
		return
	}
	var refusal *apiError
	if !errors.As(err, &refusal) {
		s.log.Error("storage request failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
		refusal = &apiError{http.StatusInternalServerError, "internalError", "Internal error; the server's log has the cause."}
	}
	drain(r)
	writeError(w, refusal)
}

func isAPI(path string) bool {
	for _, prefix := range []string{"/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/", "/signBlob", nodeRoot + "/"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return path == nodeRoot
}

// nodeRoot is where Node's client, which leaves /storage/v1 out for an emulator, asks for buckets. No bucket
// of the XML API is called that: a name has three characters.
const nodeRoot = "/b"

// checkCaller refuses what only a web page sends: another site's request to this machine (it carries Origin),
// and a name that was pointed at loopback (DNS rebinding). There are no credentials to stop them.
func checkCaller(r *http.Request) error {
	if !loopback.IsHost(r.Host) {
		return &apiError{http.StatusForbidden, "forbidden", "This server answers to loopback addresses only."}
	}
	if isAPI(r.URL.Path) && (r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") == "cross-site") {
		return &apiError{http.StatusForbidden, "forbidden", "This API is not for web pages."}
	}
	return nil
}

// serveJSON finds the operation. Object names are single escaped segments here, so the escaped path is what
// is split; http.ServeMux would clean "a//b" and "../a" away.
func (s *Server) serveJSON(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path == "/signBlob" {
		return s.signBlob(w, r)
	}
	path := r.URL.EscapedPath()
	path, upload := strings.CutPrefix(path, "/upload")
	path = strings.TrimPrefix(path, "/download")
	parts := strings.Split(strings.TrimPrefix(strings.TrimPrefix(path, "/storage/v1"), "/"), "/")
	for i, p := range parts {
		var err error
		if parts[i], err = url.PathUnescape(p); err != nil {
			return badRequest("Malformed path.")
		}
	}
	if parts[0] != "b" {
		return errNotImplemented
	}
	if err := errors.Join(refuseHeaders(r.Header), refuseParameters(r.URL.Query())); err != nil {
		return err
	}
	if upload {
		if len(parts) == 3 && parts[2] == "o" {
			return s.upload(w, r, parts[1])
		}
		return errNotImplemented
	}
	switch {
	case len(parts) == 1:
		return pick(r.Method, verbs{"GET": s.listBuckets, "POST": s.insertBucket})(w, r)
	case len(parts) == 2:
		bucket := parts[1]
		return pick(r.Method, verbs{"GET": with(s.getBucket, bucket), "PATCH": with(s.patchBucket, bucket), "DELETE": with(s.deleteBucket, bucket)})(w, r)
	case len(parts) == 4 && parts[2] == "iam" && parts[3] == "testPermissions":
		return pick(r.Method, verbs{"GET": with(s.testPermissions, parts[1])})(w, r)
	case len(parts) == 3 && parts[2] == "o":
		return pick(r.Method, verbs{"GET": with(s.listObjects, parts[1])})(w, r)
	case len(parts) == 4 && parts[2] == "o":
		return pick(r.Method, verbs{
			"GET": with2(s.getObject, parts), "DELETE": with2(s.deleteObject, parts), "PATCH": with2(s.patchObject, parts), "PUT": with2(s.updateObject, parts),
		})(w, r)
	case len(parts) == 9 && parts[2] == "o" && parts[5] == "b" && parts[7] == "o":
		move := map[string]func(http.ResponseWriter, *http.Request, []string) error{"copyTo": s.copyTo, "rewriteTo": s.rewriteTo}[parts[4]]
		if move == nil {
			return errNotImplemented
		}
		return pick(r.Method, verbs{"POST": func(w http.ResponseWriter, r *http.Request) error { return move(w, r, parts) }})(w, r)
	case len(parts) == 5 && parts[2] == "o" && parts[4] == "compose":
		return pick(r.Method, verbs{"POST": with2(s.compose, parts)})(w, r)
	}
	return errNotImplemented
}

type (
	handler = func(http.ResponseWriter, *http.Request) error
	verbs   map[string]handler
)

func pick(method string, v verbs) handler {
	if h, ok := v[method]; ok {
		return h
	}
	return func(http.ResponseWriter, *http.Request) error { return errNotImplemented }
}

func with(h func(http.ResponseWriter, *http.Request, string) error, bucket string) handler {
	return func(w http.ResponseWriter, r *http.Request) error { return h(w, r, bucket) }
}

// with2 binds the bucket and the object of the path b/{bucket}/o/{object}.
func with2(h func(http.ResponseWriter, *http.Request, string, string) error, parts []string) handler {
	return func(w http.ResponseWriter, r *http.Request) error { return h(w, r, parts[1], parts[3]) }
}
