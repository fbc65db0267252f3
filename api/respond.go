package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"
)

// writeJSON encodes before it writes the status, so a value that cannot be encoded is a whole 500 and not
// half an answer.
func writeJSON(c *gin.Context, status int, v any) {
	body, err := encodeJSON(v)
	if err != nil {
		observe(c).cause = fmt.Errorf("encode answer: %w", err)
		status, body = http.StatusInternalServerError, []byte(`{"message":"`+textInternal+`"}`)
	}
	if status < http.StatusBadRequest && len(body) > packFrom {
		c.Writer.Header().Add("Vary", "Accept-Encoding")
		if acceptsGzip(c.Request.Header) {
			body = pack(body)
			c.Header("Content-Encoding", "gzip")
		}
	}
	c.Data(status, "application/json; charset=utf-8", body)
}

// packFrom is the size above which answers are packed: below, a packet is a packet. Errors are never: they
// are small, and repeat what callers gave.
const packFrom = 1 << 10

// packers keeps the writers, which are about half a megabyte each.
var packers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level there is
	return w
}}

func pack(body []byte) []byte {
	var b bytes.Buffer
	w := packers.Get().(*gzip.Writer)
	defer packers.Put(w)
	w.Reset(&b)
	_, _ = w.Write(body) // to memory
	_ = w.Close()
	return b.Bytes()
}

// encodeJSON is json.Marshal without its care for HTML: a csvUrl keeps its & as it is, so that it can be cut
// out of the answer with a text tool and used.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
