package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
)

// writeJSON encodes before it writes the status, so a value that cannot be encoded is a
// whole 500 and not half an answer.
func writeJSON(c *gin.Context, status int, v any) {
	body, err := encodeJSON(v)
	if err != nil {
		observe(c).cause = fmt.Errorf("encode answer: %w", err)
		status, body = http.StatusInternalServerError, []byte(`{"message":"`+textInternal+`"}`)
	}
	c.Data(status, "application/json; charset=utf-8", body)
}

// encodeJSON is json.Marshal without its care for HTML: a csvUrl keeps its & as it is, so
// that it can be cut out of the answer with a text tool and used.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
