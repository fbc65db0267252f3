package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/loopback"
)

// unthrottled are the routes that the platform asks from one address.
var unthrottled = map[string]bool{"/healthz": true, "/readyz": true}

// atHome refuses requests for other hosts where the API is on its developer's machine.
func (s *Server) atHome(c *gin.Context) {
	if s.loopback && !loopback.IsHost(c.Request.Host) {
		writeError(c, refuse(http.StatusMisdirectedRequest, "in development the service answers to loopback addresses only"))
	}
}

// throttleIP bounds what one address can ask, before anything is read or verified.
func (s *Server) throttleIP(c *gin.Context) {
	o := observe(c)
	o.client = clientAddr(c.Request, s.proxies.get())
	if unthrottled[c.FullPath()] {
		return
	}
	if l := s.byIP.take(network(o.client), s.now()); !l.ok {
		s.delayRefusal(c.Request.Context(), &s.held, heldFor)
		writeError(c, tooMany(l))
	}
}

// throttleKey bounds what one key can ask, and says how much is left. Only requests that the key has signed
// count: nobody can use up another's.
func (s *Server) throttleKey(c *gin.Context, caller *apikey.Key) error {
	l := s.byKey.take(caller.ID, s.now())
	if l.Rate == (Rate{}) {
		return nil
	}
	c.Header("RateLimit-Policy", l.policy())
	c.Header("RateLimit", l.state())
	if !l.ok {
		return tooMany(l)
	}
	return nil
}

// heldFor is how long a refusal to an address is held back: whoever asks on without heed on few connections
// then gets four answers a second on each, and costs as little. heldAtOnce bounds those that are held, since
// each has a connection, which might be one of a proxy's, and a body; others go at once.
const (
	heldFor    = 250 * time.Millisecond
	heldAtOnce = 256
)

// delayRefusal waits, unless as many as may do so already.
func (s *Server) delayRefusal(ctx context.Context, held *atomic.Int64, d time.Duration) {
	defer held.Add(-1)
	if held.Add(1) > heldAtOnce {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.draining.Done():
	}
}

// evenOutTiming has a refusal that depends on what is known of a key wait until it takes as long as others
// do. Of those that find one step over, all wait for the next.
func (s *Server) evenOutTiming(ctx context.Context, begun time.Time, err error) {
	if refused, ok := errors.AsType[*apikey.RefusedError](err); ok && refused.OfKey && s.refuseEvery > 0 {
		s.delayRefusal(ctx, &s.evened, s.refuseEvery-time.Since(begun)%s.refuseEvery)
	}
}

func tooMany(l level) error {
	return &problem{status: http.StatusTooManyRequests, message: "too many requests", retryAfter: l.wait}
}

// maxHops bounds the addresses of X-Forwarded-For that are looked at: proxies in a row, of which there are
// two or three. It is read before any limit.
const maxHops = 16

// clientAddr is the address a request comes from: the peer's, or, where that is a trusted proxy, the last
// address in X-Forwarded-For that is none. What stands before it was written by the caller and proves
// nothing.
func clientAddr(r *http.Request, proxies []netip.Prefix) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr := peer.Addr().Unmap()
	values := r.Header.Values("X-Forwarded-For")
	for hop := 0; hop < maxHops && len(values) > 0 && within(addr, proxies); hop++ {
		last := values[len(values)-1]
		comma := strings.LastIndexByte(last, ',')
		next, err := netip.ParseAddr(strings.TrimSpace(last[comma+1:]))
		if err != nil {
			break
		}
		addr = next.Unmap()
		if values = values[:len(values)-1]; comma >= 0 {
			values = append(values[:len(values):len(values)], last[:comma])
		}
	}
	return addr
}

func within(addr netip.Addr, networks []netip.Prefix) bool {
	for _, n := range networks {
		if n.Contains(addr.WithZone("")) {
			return true
		}
	}
	return false
}

// bucketView is a token bucket as its owner sees it; null where there is no limit.
type bucketView struct {
	PerSecond float64 `json:"perSecond"`
	Burst     int     `json:"burst"`
	Left      int     `json:"left"`
}

func (b *buckets) view(caller string, now time.Time) *bucketView {
	l := b.look(caller, now)
	if l.Rate == (Rate{}) {
		return nil
	}
	return &bucketView{l.PerSecond, l.Burst, l.left}
}

// quotaView is how much of something an org has; Limit is null where there is none.
type quotaView struct {
	Used  int64 `json:"used"`
	Limit *int  `json:"limit"`
}

func quota(used int64, limit int) quotaView {
	if limit == 0 {
		return quotaView{used, nil}
	}
	return quotaView{used, &limit}
}

// limits shows what the caller may do and how much of that is left.
func (s *Server) limits(c *gin.Context, caller *apikey.Key) error {
	if err := noParams(c.Request); err != nil {
		return err
	}
	running, queued, err := s.jobs.Usage(c.Request.Context(), caller.OrgID)
	if err != nil {
		return err
	}
	budget, err := s.budgetsToday(c.Request.Context(), caller)
	if err != nil {
		return err
	}
	now, quotas := s.now(), s.quotas.Of(caller.OrgID)
	writeJSON(c, http.StatusOK, map[string]any{
		"budget": budget[caller.ID],
		"requests": map[string]any{
			"key": s.byKey.view(caller.ID, now), "address": s.byIP.view(network(observe(c).client), now),
		},
		"exports": map[string]any{
			"running": quota(running, quotas.RunningJobs), "queued": quota(queued, quotas.QueuedJobs),
			"maxRows": orNull(quotas.Rows), "maxBytes": orNull(quotas.Bytes),
		},
		"connections":   s.connectionsView(c.Request),
		"testCallbacks": s.pings.view(caller.OrgID, now),
		"signature":     s.signatureView(c, caller),
	})
	return nil
}

// signatureView says by which version the caller signed and must sign, and what is wrong with that where
// something is.
type signatureView struct {
	Version    int     `json:"version"`
	MinVersion int     `json:"minVersion"`
	Warning    *string `json:"warning"`
}

func (s *Server) signatureView(c *gin.Context, caller *apikey.Key) signatureView {
	v := signatureView{Version: apikey.VersionOf(c.Request.Header), MinVersion: s.verifier.MinVersion(caller)}
	if caller.Privileged() && v.MinVersion < 2 {
		text := "version 1 is allowed for this key by EXPORTD_PRIVILEGED_V1: whoever overhears a request can make another one with its headers within a minute"
		v.Warning = &text
	}
	return v
}

func orNull(limit int64) *int64 {
	if limit == 0 {
		return nil
	}
	return &limit
}
