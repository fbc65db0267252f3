package access

import (
	"net/http"
	"strings"
)

const (
	signedGet = "Storage/signed.get"
	preflight = "Storage/preflight"
	// multipartUploads begins the names of what is done with those of the XML API.
	multipartUploads = "Storage/multipartUploads."
)

// uploads is where the JSON API takes objects.
const uploads = "/upload/storage/v1/b/"

// ofHTTP names a request to the Cloud Storage server as the API's reference does and returns its permissions;
// ok is false for one that the table does not know.
func ofHTTP(r *http.Request) (method string, needed []string, ok bool) {
	method = httpMethod(r)
	needed, ok = needs[method]
	switch method {
	case "Storage/objects.insert", "Storage/objects.compose", "Storage/objects.rewrite", "Storage/multipartUploads.complete":
		if mayOverwrite(r) {
			needed = add(append([]string(nil), needed...), ofOverwrite)
		}
	}
	return method, needed, ok
}

// mayOverwrite says whether nothing in the request forbids it to replace an object. The condition is a
// parameter of the JSON API and a header of the XML API, and neither looks at the other's. The chunks of an
// upload carry no condition; it was given when the upload began.
func mayOverwrite(r *http.Request) bool {
	q, upload := r.URL.Query(), strings.HasPrefix(r.URL.EscapedPath(), uploads)
	switch {
	case upload && q.Get("upload_id") != "":
		return false
	case q.Has("uploadId"): // of the XML API, with no conditions
		return true
	case r.Method == http.MethodPut && !upload: // the XML API: the JSON API inserts by POST
		return r.Header.Get("X-Goog-If-Generation-Match") != "0"
	}
	return q.Get("ifGenerationMatch") != "0"
}

func httpMethod(r *http.Request) string {
	path := r.URL.EscapedPath() // object names are one segment
	if path == "/signBlob" {
		return "Credentials/signBlob"
	}
	if strings.HasPrefix(path, uploads) {
		return "Storage/objects.insert"
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(path, "/download"), "/storage/v1/b")
	if !ok && (path == "/b" || strings.HasPrefix(path, "/b/")) { // Node's root of the JSON API
		rest, ok = strings.TrimPrefix(path, "/b"), true
	}
	if !ok { // the XML API
		if method := multipartMethod(r); method != "" {
			return multipartUploads + method
		}
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			return signedGet
		case http.MethodPut:
			return "Storage/objects.insert"
		case http.MethodDelete:
			return "Storage/objects.delete"
		case http.MethodOptions:
			return preflight
		}
		return "Storage/" + r.Method + " of the XML API"
	}
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	switch {
	case parts[0] == "":
		return "Storage/buckets." + verb(r.Method, "list")
	case len(parts) == 1:
		return "Storage/buckets." + verb(r.Method, "get")
	case len(parts) == 3 && parts[1] == "iam" && parts[2] == "testPermissions":
		return "Storage/buckets.testIamPermissions"
	case parts[1] != "o":
		return "Storage/" + parts[1]
	case len(parts) == 2:
		return "Storage/objects." + verb(r.Method, "list")
	case len(parts) == 4 && parts[3] == "compose":
		return "Storage/objects.compose"
	case len(parts) > 4 && (parts[3] == "rewriteTo" || parts[3] == "copyTo"):
		return "Storage/objects.rewrite"
	case len(parts) == 3:
		return "Storage/objects." + verb(r.Method, "get")
	}
	return "Storage/" + r.Method + " of an object"
}

// multipartMethod names what a request does with a multipart upload, "" for one that is about none.
func multipartMethod(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case q.Has("uploads") && r.Method == http.MethodGet:
		return "list"
	case q.Has("uploads"):
		return "begin"
	case !q.Has("uploadId"):
		return ""
	}
	return map[string]string{http.MethodGet: "listParts", http.MethodPut: "uploadPart", http.MethodPost: "complete", http.MethodDelete: "abort"}[r.Method]
}

// verb is the API's name of what an HTTP method does; that of a GET depends on the resource.
func verb(method, get string) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		return get
	case http.MethodPost:
		return "insert"
	case http.MethodPatch, http.MethodPut:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return strings.ToLower(method)
}
