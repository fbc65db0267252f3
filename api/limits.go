package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// Limits of a request. Real ones have a URL of 500 bytes, headers of 2 KiB and a body of nothing or a few
// hundred bytes.
const (
	maxURLBytes    = 8 << 10
	maxHeaderBytes = 32 << 10
	maxBodyBytes   = 64 << 10
	// maxHeadBytes is what net/http reads of request line and headers before it cuts the connection with a
	// plain 431; above our own limits, so that those answer in JSON, and not by much, since whoever sends it
	// has shown no key.
	maxHeadBytes = 64 << 10
)

// limit refuses requests that are too large and reads the body of the others.
func limit(c *gin.Context) {
	r := c.Request
	size := 0
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v) + len(": \r\n")
		}
	}
	switch {
	case len(r.RequestURI) > maxURLBytes || len(r.URL.RawQuery) > maxURLBytes:
		writeError(c, refuse(http.StatusRequestURITooLong, fmt.Sprintf("the URL must be at most 8 KiB (%d bytes), and has %d", maxURLBytes, len(r.RequestURI))))
		return
	case size > maxHeaderBytes:
		writeError(c, refuse(http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("headers must be at most 32 KiB (%d bytes) together, and have %d", maxHeaderBytes, size)))
		return
	case r.ContentLength > maxBodyBytes:
		writeError(c, refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body must be at most 64 KiB (%d bytes), and has %d", maxBodyBytes, r.ContentLength)))
		return
	}
	if r.ContentLength == 0 {
		hasEnded(r)
		liftReadDeadline(c)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, r.Body, maxBodyBytes))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		writeError(c, refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body must be at most 64 KiB (%d bytes), and has more", maxBodyBytes)))
		return
	}
	if err != nil {
		writeError(c, refuse(http.StatusBadRequest, "the body could not be read"))
		return
	}
	hasEnded(r)
	liftReadDeadline(c)
	r.Body = io.NopCloser(bytes.NewReader(body))
}

// liftReadDeadline ends the server's deadline for reading, which has served once headers and body are here;
// left in place, it would cancel requests that wait. It must stay for a body that was not read: net/http
// reads what is left of it before it takes the next request.
func liftReadDeadline(c *gin.Context) {
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Time{})
}

// bodyOf returns the body, which limit has read and bounded, and leaves it to be read again.
func bodyOf(r *http.Request) ([]byte, error) {
	if r.ContentLength == 0 {
		return nil, nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the body could not be read")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}
