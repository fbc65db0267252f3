package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/webhook"
	"exportd/jobs"
)

// pingRate is how often an org may have test callbacks sent, and pingPlaces how many are under way in one
// process: each takes up to 15 s and must not be a weapon, nor keep those of other orgs from being sent.
var (
	pingRate   = Rate{PerSecond: 5.0 / 60, Burst: 5}
	pingPlaces = webhook.Concurrency{PerReceiver: 2, PerTenant: 2, PerOrigin: 8, Total: 32}
)

// pingView says how a test callback ended.
type pingView struct {
	URL        string        `json:"url"`
	Delivered  bool          `json:"delivered"`
	Class      webhook.Class `json:"class"`
	Status     *int          `json:"status"`
	DurationMs int64         `json:"durationMs"`
	// Response is what the receiver wrote: harmless text, of at most 2 KiB.
	Response string `json:"response"`
}

// ping sends a signed test event to the callback URL of a job, by the same rules and with the same secret as
// the real ones, and says how that went.
func (s *Server) ping(c *gin.Context, caller *apikey.Key) error {
	b, err := readBody(c.Request)
	if err != nil {
		return err
	}
	if err := b.finish(); err != nil {
		return err
	}
	j, err := s.callersJob(c, caller)
	if err != nil {
		return err
	}
	if j.CallbackURL == "" {
		return refuse(http.StatusConflict, "the export has no callbackUrl")
	}
	d, err := s.pingDelivery(c, j)
	if err != nil {
		return err
	}
	a, err := s.sendPing(c, j, d)
	if err != nil {
		return err
	}
	v := pingView{URL: withoutQuery(j.CallbackURL), Delivered: a.Delivered(), Class: a.Class, DurationMs: a.Duration.Milliseconds(), Response: a.Response}
	if a.Status != 0 {
		v.Status = &a.Status
	}
	writeJSON(c, http.StatusOK, v)
	return nil
}

// sendPing sends the test event of a job, if its org may have one more sent, whoever asks for it, and there
// is a place for it.
func (s *Server) sendPing(c *gin.Context, j *jobs.Job, d webhook.Delivery) (webhook.Attempt, error) {
	if l := s.pings.take(j.OrgID, s.now()); !l.ok {
		return webhook.Attempt{}, &problem{status: http.StatusTooManyRequests, message: "at most 5 test callbacks a minute", retryAfter: l.wait}
	}
	place := s.pinging.TryAcquire(jobs.OriginOf(j.CallbackURL), j.OrgID)
	if place == nil {
		return webhook.Attempt{}, &problem{status: http.StatusTooManyRequests, message: "too many test callbacks are under way", retryAfter: 15 * time.Second}
	}
	defer place.Release(true)
	a := webhook.Ping(c.Request.Context(), s.sender, d)
	observe(c).warning = a.Err
	return a, nil
}

// pingDelivery is what a callback of the job would be sent with.
func (s *Server) pingDelivery(c *gin.Context, j *jobs.Job) (webhook.Delivery, error) {
	d := webhook.Delivery{URL: j.CallbackURL}
	key, err := s.freshKeys.InForce(c.Request.Context(), j.KeyID)
	if errors.Is(err, jobs.ErrNotFound) {
		return d, refuse(http.StatusConflict, "the API key that asked for the callback was revoked: nothing is sent in its name")
	}
	if err != nil {
		return d, err
	}
	if d.AllowedHosts, err = webhook.ParseHostList(key.CallbackHosts); err != nil {
		return d, err // the key's record is at fault, not the caller
	}
	own, api := key.CallbackSecrets(s.now())
	d.Secrets, err = webhook.KeySecrets(own, api)
	return d, err
}
