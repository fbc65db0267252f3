package api

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/webhook"
	"exportd/internal/webhook/webhooktest"
	"exportd/jobs"
)

// pingAttack is a receiver of test callbacks and what the caller is told of it.
type pingAttack struct {
	name  string
	serve func(net.Conn)
	to    string // what its name resolves to; "" is a public address, which leads to the receiver
	want  webhook.Class
}

func pingAttacks(forbidden string) []pingAttack {
	const ok = "HTTP/1.1 200 OK\r\n"
	const slow = 100 * time.Millisecond
	long := strings.Repeat("a", 64<<10)
	answer, again, redirect := webhooktest.Answer, webhooktest.Again, webhooktest.Redirect
	nothing := func(net.Conn) {}
	return []pingAttack{
		{name: "redirect", serve: redirect(302, "http://127.0.0.1:"+forbidden+"/"), want: "http_302"},
		{name: "kept-redirect", serve: redirect(307, "http://localhost:"+forbidden+"/"), want: "http_307"},
		{name: "metadata", serve: redirect(301, "http://169.254.169.254/"), want: "http_301"},
		{name: "huge", serve: again(ok+"Content-Length: 10737418240\r\n\r\n", long, 0), want: "http_200"},
		{name: "endless", serve: again(ok+"Transfer-Encoding: chunked\r\n\r\n", "10000\r\n"+long+"\r\n", 0), want: "http_200"},
		{name: "headers", serve: again(ok, "X: "+strings.Repeat("a", 1000)+"\r\n", 0), want: "bad_response"},
		{name: "slow-headers", serve: again(ok+"X: ", "a", slow), want: "timeout"},
		{name: "slow-body", serve: again(ok+"Content-Length: 100000\r\n\r\n", "a", slow), want: "timeout"},
		{name: "garbage", serve: answer("\x00\xff\x01garbage\r\n\r\n"), want: "bad_response"},
		{name: "other-protocol", serve: answer("SSH-2.0-OpenSSH_9.9\r\n"), want: "bad_response"},
		{name: "escapes", serve: answer(ok + "Content-Length: 40\r\n\r\n\x1b[2J\x1b]0;x\x07<script>\u202e\x00\xff\xfe" + strings.Repeat("b", 30)), want: "http_200"},
		{name: "closes", serve: nothing, want: "bad_response"},
		{name: "rebound", serve: nothing, to: "A 127.0.0.1", want: webhook.ClassBlocked},
		{name: "rebound-metadata", serve: nothing, to: "A 169.254.169.254", want: webhook.ClassBlocked},
		{name: "rebound-mixed", serve: nothing, to: "A " + webhooktest.PublicAddr + ", A 127.0.0.1", want: webhook.ClassBlocked},
		{name: "other-host", serve: nothing, want: webhook.ClassBlocked}, // which the key does not allow any more
	}
}

// TestPingAttacks asks for test callbacks over HTTP at receivers that lead elsewhere, send too much or
// nothing sensible, are slow, or whose names resolve to forbidden addresses: each is answered by 200 with
// what became of it and nothing else of the receiver than 2 KiB of harmless text, and the places of all are
// given back. The same receivers of live callbacks are worker's.
func TestPingAttacks(t *testing.T) {
	t.Parallel()
	n := webhooktest.NewNetwork(t)
	list := pingAttacks(n.Forbidden)
	urls := map[string]string{}
	for _, a := range list {
		host := a.name + ".hooks.example.com"
		urls[a.name] = "http://" + host + ":" + webhooktest.Listen(t, a.serve) + "/hook?token=secret-of-the-url"
		if a.to != "" {
			n.Rebind(host, a.to)
		}
	}
	b := newBench(t, func(c *Config) {
		c.CallbackRules = webhooktest.Rules
		c.Sender = n.Sender(webhook.Limits{Headers: time.Second, Total: 2 * time.Second}, nil)
	})
	ping := func(a pingAttack) {
		org := "org-" + a.name
		j := succeeded()
		j.ID, j.OrgID, j.KeyID = jobs.NewID(), org, "key_"+strings.ReplaceAll(a.name, "-", "_")
		j.CallbackURL = urls[a.name]
		b.jobs.set(j)
		w := b.do(request(t, j.KeyID, http.MethodPost, "/exports/"+j.ID+"/callback/test"))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", a.name, w.Code, w.Body)
			return
		}
		v := decode(t, w)
		text, _ := v["response"].(string)
		if v["class"] != string(a.want) || v["delivered"] != (a.want == "http_200") || len(text) > 2<<10 || strings.ContainsAny(text, "\x1b\x07\x00\u202e") {
			t.Errorf("%s: %v, want class %s and at most 2 KiB of harmless text", a.name, v, a.want)
		}
		if a.want == webhook.ClassBlocked && (text != "" || v["status"] != nil) || strings.Contains(w.Body.String(), "secret-of") || strings.Contains(w.Body.String(), "127.0.0.1") {
			t.Errorf("%s: tells of addresses or of the query: %s", a.name, w.Body)
		}
	}
	for name := range urls {
		key := &apikey.Key{ID: "key_" + strings.ReplaceAll(name, "-", "_"), OrgID: "org-" + name, State: apikey.Active, Scopes: []apikey.Scope{apikey.ScopeExport, apikey.ScopeRead},
			Secrets: []apikey.SigningSecret{{Secret: apikey.NewSecret(testSecret)}}}
		if name == "other-host" {
			key.CallbackHosts = []string{"hooks.customer.com"}
		}
		b.keys.keys = append(b.keys.keys, key)
	}
	var all sync.WaitGroup
	for _, a := range list {
		all.Go(func() { ping(a) })
	}
	all.Wait()
	for range pingRate.Burst - 1 { // places of an org are two: none was lost
		ping(list[slices.IndexFunc(list, func(a pingAttack) bool { return a.name == "garbage" })])
	}
	if got, addresses := n.Through(); got != 0 {
		t.Errorf("%d connections to forbidden addresses, and to %q", got, addresses)
	}
	if strings.Contains(b.log.String(), "secret-of-the-url") || strings.Contains(b.log.String(), testSecret) {
		t.Error("the log has a secret")
	}
}
