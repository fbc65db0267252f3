package fault

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
)

// HTTP wraps a Cloud Storage server.
func (in *Injector) HTTP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := in.begin("Storage/" + StorageMethod(r))
		if c.rule == nil {
			next.ServeHTTP(w, r)
			return
		}
		if c.roll(c.DelayRate) && pause(r.Context(), c.delay()) != nil {
			return
		}
		if c.roll(c.ErrorRate) {
			refuse(w, c.status)
			return
		}
		lost, cut := c.roll(c.LostRate), c.roll(c.CutRate)
		switch {
		case lost:
			next.ServeHTTP(discard{http.Header{}}, r)
			panic(http.ErrAbortHandler) // closes the connection without an answer
		case cut && r.Method != http.MethodGet && r.Method != http.MethodHead:
			r.Body = &cutBody{ReadCloser: r.Body, left: int64(c.CutAfter)}
			next.ServeHTTP(discard{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		case cut:
			w = &cutWriter{ResponseWriter: w, left: c.CutAfter}
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, code codes.Code) {
	status, body := http.StatusServiceUnavailable, `{"error":{"code":503,"message":"injected fault","errors":[{"reason":"backendError"}]}}`
	if code == codes.ResourceExhausted {
		status, body = http.StatusTooManyRequests, `{"error":{"code":429,"message":"injected fault","errors":[{"reason":"rateLimitExceeded"}]}}`
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// discard is a response writer for an answer that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

var errCut = errors.New("injected fault: body cut")

// cutBody is a request body whose sender goes away.
type cutBody struct {
	io.ReadCloser
	left int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errCut
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// cutWriter breaks the connection after some bytes of the answer.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) <= w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	_, _ = w.ResponseWriter.Write(p[:w.left])
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// multipartMethod names a request about a multipart upload, or about all of them.
func multipartMethod(verb string, all bool) string {
	switch {
	case verb == http.MethodPost && all:
		return "StartUpload"
	case verb == http.MethodPost:
		return "CompleteUpload"
	case verb == http.MethodPut:
		return "UploadChunk"
	case verb == http.MethodDelete:
		return "AbortUpload"
	}
	return "ListUploads"
}

// StorageMethod names a Cloud Storage request: Upload (one request), StartUpload and UploadChunk (resumable,
// or of a multipart upload, which has CompleteUpload, AbortUpload and ListUploads besides), Download,
// GetObject, ListObjects, UpdateObject, DeleteObject, ComposeObject, RewriteObject, SignBlob, or Bucket for
// anything on buckets.
func StorageMethod(r *http.Request) string {
	path := r.URL.EscapedPath() // object names are one segment
	switch {
	case strings.HasPrefix(path, "/upload/") || strings.HasPrefix(path, "/resumable/"):
		switch {
		case r.Method != http.MethodPost || r.URL.Query().Has("upload_id"):
			return "UploadChunk"
		case r.URL.Query().Get("uploadType") == "resumable":
			return "StartUpload"
		}
		return "Upload"
	case path == "/signBlob":
		return "SignBlob"
	case strings.HasPrefix(path, "/storage/v1/"):
		return jsonMethod(r, strings.TrimPrefix(path, "/storage/v1/"))
	case path == "/b" || strings.HasPrefix(path, "/b/"): // Node's root of the JSON API
		return jsonMethod(r, strings.TrimPrefix(path, "/"))
	case !strings.HasPrefix(path, "/download/") && (r.URL.Query().Has("uploads") || r.URL.Query().Has("uploadId")): // the XML API, as those below
		return multipartMethod(r.Method, r.URL.Query().Has("uploads"))
	case r.Method == http.MethodPut && !strings.HasPrefix(path, "/download/"):
		return "Upload"
	case r.Method == http.MethodDelete:
		return "DeleteObject"
	}
	return "Download" // /download/... or the XML API, as signed URLs use it
}

// jsonMethod names a request for b/BUCKET/o/OBJECT.
func jsonMethod(r *http.Request, path string) string {
	parts := strings.SplitN(path, "/", 4)
	switch {
	case len(parts) < 3 || parts[2] != "o":
		return "Bucket"
	case len(parts) == 3 || parts[3] == "":
		return "ListObjects"
	case strings.HasSuffix(path, "/compose"):
		return "ComposeObject"
	case strings.Contains(parts[3], "/rewriteTo/"), strings.Contains(parts[3], "/copyTo/"):
		return "RewriteObject"
	case r.Method == http.MethodDelete:
		return "DeleteObject"
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return "UpdateObject"
	case r.URL.Query().Get("alt") == "media":
		return "Download"
	}
	return "GetObject"
}
