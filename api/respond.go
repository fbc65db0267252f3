package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
)

// writeJSON encodes before it writes the status, so a value that cannot be encoded is a
// whole 500 and not half an answer.
func writeJSON(c *gin.Context, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		observe(c).cause = fmt.Errorf("encode answer: %w", err)
		status, body = http.StatusInternalServerError, []byte(`{"message":"`+textInternal+`"}`)
	}
	c.Data(status, "application/json; charset=utf-8", body)
}
