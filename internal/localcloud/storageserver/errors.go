package storageserver

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"google.golang.org/api/storage/v1"
)

// apiError is a refusal that the caller may read. Anything else that a handler returns is answered as a plain
// 500, logged, and not shown.
type apiError struct {
	Status  int    `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Reason, e.Message) }

func badRequest(format string, args ...any) error {
	return &apiError{http.StatusBadRequest, "invalid", fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &apiError{http.StatusNotFound, "notFound", fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) error {
	return &apiError{http.StatusConflict, "conflict", fmt.Sprintf(format, args...)}
}

// errNotImplemented is a 400, since the client would send a 501 again and again.
var (
	errBucketNotFound  = notFound("The specified bucket does not exist.")
	errConditionNotMet = &apiError{http.StatusPreconditionFailed, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."}
	errNotModified     = &apiError{http.StatusNotModified, "notModified", "The object has not changed."}
	errNotImplemented  = &apiError{http.StatusBadRequest, "notImplemented", "This method of the Cloud Storage API, or this form of it, is not served here."}
	errBrokenBody      = &apiError{http.StatusServiceUnavailable, "backendError", "The request body ended early."}
)

// notImplemented says what it is that this server does not do.
func notImplemented(format string, args ...any) error {
	return &apiError{http.StatusBadRequest, "notImplemented", fmt.Sprintf(format, args...) + " is not served here, and leaving it out in silence would look like success."}
}

// storageError turns the answer of the file system into one the client can act on: a full disk is a quota
// that is used up (507, as no Cloud Storage code says it better), not a fault of this server.
func storageError(op string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return diskFull("The disk that holds the objects is full.")
	}
	return fmt.Errorf("%s: %w", op, err)
}

func diskFull(message string) *apiError {
	return &apiError{http.StatusInsufficientStorage, "quotaExceeded", message}
}

// writeJSONError answers in the shape that googleapi.CheckResponse reads.
func writeJSONError(w http.ResponseWriter, e *apiError) {
	type item struct {
		Message string `json:"message"`
		Domain  string `json:"domain"`
		Reason  string `json:"reason"`
	}
	var body struct {
		Error struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
			Errors  []item `json:"errors"`
		} `json:"error"`
	}
	body.Error.Code, body.Error.Message = e.Status, e.Message
	body.Error.Errors = []item{{e.Message, "global", e.Reason}}
	writeJSON(w, e.Status, body)
}

// writeXMLError answers in the shape of the XML API, whose codes are words.
func writeXMLError(w http.ResponseWriter, e *apiError) {
	type xmlError struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	code := e.Reason
	switch {
	case e == errBucketNotFound:
		code = "NoSuchBucket"
	case e.Reason == "notFound":
		code = "NoSuchKey"
	}
	w.Header().Set("Content-Type", "application/xml; charset=UTF-8")
	w.WriteHeader(e.Status)
	_, _ = w.Write([]byte(xml.Header))
	_ = xml.NewEncoder(w).Encode(xmlError{Code: code, Message: e.Message}) // the client is gone if this fails
}

// writeXML answers with the body, as the XML API does. Node's client parses what is called a text alone.
func writeXML(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "text/xml; charset=UTF-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(xml.Header))
	_ = xml.NewEncoder(w).Encode(body) // the client is gone if this fails
}

// reply answers with what the request selects of the body, whose links lead to this server.
func (s *Server) reply(w http.ResponseWriter, r *http.Request, body any) error {
	setLinks("http://"+r.Host, body)
	if fields := r.URL.Query().Get("fields"); fields != "" {
		m, err := parseMask(fields)
		if err != nil {
			return err
		}
		if body, err = m.part(body); err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	if status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails
}

// setLinks has the links of an answer begin with the server's address, as in production.
func setLinks(base string, body any) {
	link := func(to *string) {
		if strings.HasPrefix(*to, "/") {
			*to = base + *to
		}
	}
	switch b := body.(type) {
	case *storage.Bucket:
		link(&b.SelfLink)
	case *storage.Buckets:
		for _, item := range b.Items {
			link(&item.SelfLink)
		}
	case *storage.Object:
		link(&b.SelfLink)
		link(&b.MediaLink)
	case *storage.Objects:
		for _, item := range b.Items {
			setLinks(base, item)
		}
	case *storage.RewriteResponse:
		setLinks(base, b.Resource)
	}
}
