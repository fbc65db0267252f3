package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
)

// receiverView is a destination to which nothing is sent at present.
type receiverView struct {
	OrgID       string    `json:"orgId"`
	Origin      string    `json:"origin"`
	Address     string    `json:"address"` // the origin, or the URL that answered 410, without its query
	SuspendedAt time.Time `json:"suspendedAt"`
	Exhausted   int       `json:"exhausted"`
	Why         string    `json:"why"`
}

// opsReceivers lists suspended receivers.
func (s *Server) opsReceivers(c *gin.Context, _ *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	receivers, err := s.operations.SuspendedReceivers(c.Request.Context())
	if err != nil {
		return err
	}
	views := make([]receiverView, len(receivers))
	for i, r := range receivers {
		address := r.Address
		if address != r.Origin {
			address = withoutQuery(address)
		}
		views[i] = receiverView{r.OrgID, r.Origin, address, r.SuspendedAt.UTC(), r.Exhausted, r.Why}
	}
	writeJSON(c, http.StatusOK, map[string]any{"receivers": views})
	return nil
}

// opsResumeReceiver lets callbacks go to an origin again, and begins those again that ended because of its
// suspension.
func (s *Server) opsResumeReceiver(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	reason, org, origin := b.reason(true), b.text("orgId", true), b.text("origin", true)
	if scheme, host, ok := strings.Cut(origin, "://"); origin != "" && (!ok || scheme == "" || host == "" || strings.ContainsAny(host, "/?#")) {
		b.fault("origin", typeURI, map[string]any{"value": origin}, "must be scheme, host and port, as a receiver's origin is listed")
	}
	if err := b.finish(); err != nil {
		return err
	}
	resumed, err := s.operations.UnsuspendReceiver(c.Request.Context(), org, origin, actor(caller), reason)
	if err != nil {
		return err
	}
	writeJSON(c, http.StatusOK, map[string]any{"orgId": org, "origin": origin, "resumed": resumed})
	return nil
}
