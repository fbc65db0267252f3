package worker_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/internal/webhook"
	"exportd/internal/webhook/webhooktest"
	"exportd/jobs"
)

// hostileSender is the sender, and one with shorter limits for receivers that would use up all of
// production's: those run on the clock of a bubble in package webhook.
type hostileSender struct{ usual, hasty *webhook.Sender }

func newHostileSender(n *webhooktest.Network, now func() time.Time) hostileSender {
	return hostileSender{n.Sender(webhook.Limits{}, now), n.Sender(webhook.Limits{Headers: time.Second, Total: 2 * time.Second}, now)}
}

func (s hostileSender) to(url string) *webhook.Sender {
	if strings.HasPrefix(url, "http://slow-") {
		return s.hasty
	}
	return s.usual
}

func (s hostileSender) Send(ctx context.Context, d webhook.Delivery) webhook.Attempt {
	return s.to(d.URL).Send(ctx, d)
}

// attack is a receiver, what its callbacks come to, and how it is seen that it failed.
type attack struct {
	name  string
	serve func(c net.Conn) // after one request was read; c is closed when it returns
	// to is what its name is rebound to after the first attempt, or from the start.
	to    string
	start bool
	want  string // class of each attempt but the first of a name that is rebound later
	port  string
	host  string
	cb    string
	round int // tries so far
}

func (a *attack) url() string { return "http://" + a.host + ":" + a.port + "/hook" }

// listen serves an attack on loopback until the test ends.
func (a *attack) listen(t *testing.T, at int) {
	t.Helper()
	a.port = webhooktest.Listen(t, func(c net.Conn) { a.serve(c) })
	a.host = strings.ToLower(strings.ReplaceAll(a.name, " ", "-")) + "-" + strconv.Itoa(at) + ".hooks.example.com"
}

// try waits until the n-th try of an attack's callback has ended.
func (r *rig) try(t *testing.T, id string, n int) jobs.CallbackAttempt {
	t.Helper()
	cb := r.callback(t, strings.Split(id, "_")[1], time.Minute, func(cb *jobs.Callback) bool {
		return len(cb.Attempts) > n || len(cb.Attempts) == n && cb.Lease.Token == ""
	})
	return cb.Attempts[n-1]
}
