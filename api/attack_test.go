package api

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// attack is a thing that somebody tries. The numbers are those of the rows of the list of attacks that the
// API was built against: 3 is signing, 4 is abuse.
type attack struct {
	row, name string
	r         *http.Request
	// refused judges the answer; a status of 400 or more if nil.
	refused func(*httptest.ResponseRecorder) bool
}

func withHeader(r *http.Request, pairs ...string) *http.Request {
	for i := 0; i < len(pairs); i += 2 {
		r.Header[http.CanonicalHeaderKey(pairs[i])] = []string{pairs[i+1]}
	}
	return r
}

func withBody(r *http.Request, body string) *http.Request {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return r
}

// signingAttacks forge, replay, bend and confuse signatures.
func signingAttacks(t *testing.T) (list []attack) {
	add := func(row, name string, r *http.Request, refused func(*httptest.ResponseRecorder) bool) {
		if refused == nil {
			refused = func(w *httptest.ResponseRecorder) bool { return w.Code == http.StatusUnauthorized }
		}
		list = append(list, attack{row, name, r, refused})
	}
	v1 := func() *http.Request { return request(t, "key_one1", "GET", "/workspaces") }
	v2 := func() *http.Request { return requestV2(t, "key_one1", "GET", "/exports?pageSize=1", "") }
	moved := func(target string) *http.Request { // a captured signature of version 2, for another call
		r := request(t, "key_one1", "GET", target)
		r.Header = v2().Header
		return r
	}
	for _, target := range []string{"/exports?pageSize=2", "/exports", "/workspaces", "/vip-users/export?workspaceId=ws1&mediumId=ch1&callbackUrl=https://evil.example/"} {
		add("3.1", "captured v2 signature for "+target, moved(target), nil)
	}
	other := v2()
	other.Host = "other.example"
	add("3.1", "captured v2 signature for another host", other, nil)
	add("3.1", "a key bound to callback hosts, evil callback", request(t, "key_hook", "GET", usersExport+"&callbackUrl=https://evil.example/"),
		func(w *httptest.ResponseRecorder) bool { return w.Code == http.StatusUnprocessableEntity })
	for _, date := range []string{"2026-06-15T11:58:59.999Z", "2026-06-15T12:00:05.001Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z"} {
		add("3.2-5", "outside the window: "+date, withHeader(v1(), "x-date", date, "x-signature", apikey.Sign(testSecret, date)), nil)
	}
	for _, name := range []string{"X-Api-Key", "X-Date", "X-Signature"} {
		twice := v1()
		twice.Header.Add(name, twice.Header.Get(name))
		add("3.6", "two of "+name, twice, nil)
		joined := v1()
		joined.Header.Set(name, joined.Header.Get(name)+","+joined.Header.Get(name))
		add("3.7", "joined "+name, joined, nil)
		none := v1()
		none.Header.Del(name)
		add("3.6", "no "+name, none, nil)
		for what, suffix := range map[string]string{"NBSP": "\u00a0", "U+2028": "\u2028", "space": " ", "NUL": "\x00"} {
			add("3.8", what+" in "+name, withHeader(v1(), name, v1().Header.Get(name)+suffix), nil)
		}
	}
	add("3.8", "upper-case signature", withHeader(v1(), "x-signature", strings.ToUpper(apikey.Sign(testSecret, testDate))), nil)
	for _, date := range []string{"2026-06-15T12:00:00,0Z", "2026-06-15T12:00:00+24:00", "2026-06-15t12:00:00z", "20260615T120000Z", "2026-06-15T12:00:00", "1781524800", "2026-06-15T12:00:00.0000000000Z"} {
		add("3.9", "spelt otherwise: "+date, withHeader(v1(), "x-date", date, "x-signature", apikey.Sign(testSecret, date)), nil)
	}
	alias := v1()
	alias.Header["X_api_key"] = alias.Header["X-Api-Key"]
	alias.Header.Del("X-Api-Key")
	add("3.10", "header alias with underscores", alias, nil)
	for _, id := range []string{"key_one1/x/y", "..", ".", "../key_one1", "__key_one__", strings.Repeat("k", 1500), "key_one1%2Fx", ""} {
		add("3.13", fmt.Sprintf("key id %.20q", id), withHeader(v1(), "x-api-key", id), nil)
	}
	same := func(w *httptest.ResponseRecorder) bool {
		return w.Code == http.StatusUnauthorized && w.Body.String() == `{"message":"unknown API key or wrong signature"}`
	}
	add("3.12", "unknown key", withHeader(v1(), "x-api-key", "key_nobody"), same)
	add("3.12", "disabled key, rightly signed", withHeader(v1(), "x-api-key", "key_dead"), same)
	add("3.12", "wrong signature", withHeader(v1(), "x-signature", strings.Repeat("0", 64)), same)
	add("3.18", "disabled key, stale date: the date is told first", withHeader(v1(), "x-api-key", "key_dead", "x-date", "2020-01-01T00:00:00Z"), nil)
	add("3.16", "signed by the callback secret", withHeader(v1(), "x-signature", apikey.Sign("whsec_test", testDate)), same)
	add("3.19", "v1 by a key that requires v2", withHeader(v1(), "x-api-key", "key_made"), nil)
	downgrade := v2()
	downgrade.Header.Del("X-Signature-Version")
	add("3.19", "v2 signature as v1", downgrade, same)
	add("3.19", "v1 signature as v2", withHeader(v2(), "x-signature", apikey.Sign(testSecret, testDate)), same)
	for _, version := range []string{"", "0", "3", "2,2", "two"} {
		add("3.19", "version "+version, withHeader(v2(), "x-signature-version", version), nil)
	}
	for _, nonce := range []string{"", "short", strings.Repeat("n", 65), strings.Repeat("n", 22) + "\n"} {
		add("3 v2", fmt.Sprintf("nonce %.10q", nonce), withHeader(v2(), "x-nonce", nonce), nil)
	}
	return list
}

// abuseAttacks reach for what is another org's, or for more than there is.
func abuseAttacks(t *testing.T, b *bench) (list []attack) {
	foreign := succeeded()
	foreign.OrgID, foreign.CallbackURL, foreign.KeyID = "org2", "https://hooks.example.com/x", "key_two2"
	b.jobs.set(foreign)
	add := func(row, name string, r *http.Request, status int) {
		list = append(list, attack{row, name, r, func(w *httptest.ResponseRecorder) bool { return w.Code == status }})
	}
	for _, r := range b.routes() {
		if r.scopes == nil {
			continue
		}
		path := strings.ReplaceAll(pathOf(r), strings.Repeat("a", 26), foreign.ID)
		if strings.Contains(r.path, ":jobId") && strings.HasPrefix(r.path, "/exports") {
			add("4.1", "another org's job: "+r.method+" "+r.path, request(t, "key_one1", r.method, path), http.StatusNotFound)
		}
		if strings.HasPrefix(r.path, "/ops") || strings.HasPrefix(r.path, "/admin") {
			add("4.1", "a caller as operator: "+r.method+" "+r.path, request(t, "key_one1", r.method, path), http.StatusForbidden)
		}
		if strings.HasPrefix(r.path, "/admin") {
			add("4.17", "an operator as admin: "+r.method+" "+r.path, request(t, "key_ops1", r.method, path), http.StatusForbidden)
		}
		if strings.HasPrefix(r.path, "/vip-") || strings.HasPrefix(r.path, "/workspaces") || strings.HasPrefix(r.path, "/channels") {
			add("4.1", "an operator at the data: "+r.method+" "+r.path, request(t, "key_ops1", r.method, path), http.StatusForbidden)
		}
		for _, name := range []string{"orgId", "org_id", "tenantId"} {
			if r.path != "/ops/jobs" && !strings.HasPrefix(r.path, "/admin") && !strings.HasPrefix(r.path, "/ops") && !strings.Contains(r.path, ":") {
				add("4.3", name+" in the query of "+r.path, request(t, "key_one1", r.method, r.path+"?"+name+"=org2"), http.StatusUnprocessableEntity)
			}
		}
	}
	for _, body := range []string{`{"orgId":"org2"}`, `{"callbackUrl":"https://evil.example/"}`, `{"state":"succeeded"}`} {
		add("4.3", "in the body: "+body, withBody(request(t, "key_one1", "POST", "/exports/"+foreign.ID+"/cancel"), body), http.StatusUnprocessableEntity)
	}
	for _, body := range []string{`[`, `[]`, `"x"`, `{"reason":`, "\xff\xfe", strings.Repeat(`{"reason":`, 3000), `{"a":1}{"b":2}`} {
		add("4.9", fmt.Sprintf("body %.12q", body), withBody(request(t, "key_ops1", "POST", "/ops/jobs/"+foreign.ID+"/cancel"), body), http.StatusBadRequest)
	}
	add("4.9", "body over 64 KiB", withBody(request(t, "key_ops1", "POST", "/ops/jobs/"+foreign.ID+"/cancel"), strings.Repeat(" ", maxBodyBytes+1)), http.StatusRequestEntityTooLarge)
	add("4.9", "URL over 8 KiB", request(t, "key_one1", "GET", "/vip-users?x="+strings.Repeat("y", maxURLBytes)), http.StatusRequestURITooLong)
	add("4.9", "headers over 32 KiB", withHeader(request(t, "key_one1", "GET", "/workspaces"), "X-Pad", strings.Repeat("y", maxHeaderBytes)), http.StatusRequestHeaderFieldsTooLarge)
	for _, target := range []string{"http://hooks.example.com/", "https://127.0.0.1/", "https://169.254.169.254/", "https://localhost/", "https://metadata.google.internal/",
		"https://x@y.example/", "https://[::1]/", "https://0x7f000001/", "file:///etc/passwd", "https://hooks.example.com:22/"} {
		add("4.10", "callback to "+target, request(t, "key_one1", "GET", usersExport+"&callbackUrl="+target), http.StatusUnprocessableEntity)
	}
	for _, method := range []string{"HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT"} {
		add("4.15", method+" of an export", request(t, "key_one1", method, usersExport), http.StatusMethodNotAllowed)
	}
	for _, id := range []string{"%0a%7b%22level%22:%22error%22%7d", "%1b%5b2J", "%00", "%e2%80%ae"} {
		add("4.16", "forged log line in an id: "+id, request(t, "key_one1", "GET", "/exports/"+id), http.StatusNotFound)
	}
	add("4.15", "an ops action by GET", request(t, "key_ops1", "GET", "/ops/jobs/"+foreign.ID+"/cancel"), http.StatusMethodNotAllowed)
	return list
}

// TestAttacks tries them all. Afterwards nothing was started, changed or deleted, and the log holds nothing
// that opens anything.
func TestAttacks(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Nonces = nonces() })
	b.keys.keys = append(b.keys.keys, &apikey.Key{ID: "key_made", OrgID: "org1", State: apikey.Active, Scopes: []apikey.Scope{apikey.ScopeRead}, MinVersion: 2,
		Secrets: []apikey.SigningSecret{{Secret: apikey.NewSecret(testSecret)}}})
	attacks := slices.Concat(signingAttacks(t), abuseAttacks(t, b))
	tried, refused, rows := 0, 0, map[string]int{}
	for _, a := range attacks {
		signature := a.r.Header.Get("X-Signature")
		w := b.do(a.r)
		tried++
		rows[a.row]++
		switch body := w.Body.String(); {
		case !a.refused(w):
			t.Errorf("%s %s: answered with %d %.200s", a.row, a.name, w.Code, body)
		case strings.Contains(body, testSecret) || len(signature) > 32 && strings.Contains(body, signature):
			t.Errorf("%s %s: the answer repeats a secret: %.200s", a.row, a.name, body)
		default:
			refused++
		}
	}
	if len(b.jobs.submitted)+len(b.jobs.events)+len(b.objects.deleted)+len(b.queue.notified) > 0 {
		t.Error("an attack started or changed something")
	}
	for _, secret := range []string{testSecret, apikey.Sign(testSecret, testDate), testDate, signedURLPrefix, "evil.example"} {
		if strings.Contains(b.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	for line := range strings.Lines(b.log.String()) { // one for each request, whatever it says
		if !json.Valid([]byte(line)) || strings.ContainsAny(line, "\x1b\u202e") {
			t.Errorf("a log line is not one: %q", line)
		}
	}
	if n := strings.Count(b.log.String(), "\n"); n != tried {
		t.Errorf("%d log lines for %d requests", n, tried)
	}
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		t.Logf("row %-6s %3d attacks", row, rows[row])
	}
	t.Logf("attacks tried %d, refused %d", tried, refused)
}

// A request of version 2 can be used once, whoever is faster.
func TestReplayRace(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Nonces = nonces() })
	captured := requestV2(t, "key_one1", "GET", "/workspaces", "")
	codes := make(chan int, 50)
	var thieves sync.WaitGroup
	for range cap(codes) {
		thieves.Go(func() {
			w := httptest.NewRecorder()
			b.ServeHTTP(w, captured.Clone(t.Context()))
			codes <- w.Code
		})
	}
	thieves.Wait()
	close(codes)
	taken := 0
	for code := range codes {
		if code == http.StatusOK {
			taken++
		}
	}
	if taken != 1 {
		t.Errorf("one signed request was taken %d times", taken)
	}
}

// Somebody who spams a key's id locks out themselves, not the key.
func TestNoLockOut(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.IPRate, c.KeyRate = Rate{PerSecond: 1, Burst: 30}, Rate{PerSecond: 1, Burst: 5} })
	refused := 0
	for range 200 {
		r := withHeader(request(t, "key_one1", "GET", "/workspaces"), "x-signature", strings.Repeat("0", 64))
		r.RemoteAddr = "198.51.100.9:1"
		if w := b.do(r); w.Code == http.StatusTooManyRequests {
			refused++
		} else if w.Code != http.StatusUnauthorized {
			t.Fatalf("spam = %d", w.Code)
		}
	}
	if refused != 170 {
		t.Errorf("%d of 200 were stopped at the address, want 170", refused)
	}
	wantStatus(t, b.get(t, "/workspaces"), http.StatusOK)
}

// replayed is a request that is made twice by the same signature, and what the second one gets.
type replayed struct {
	row, name    string
	key          string
	method, path string
	header, body string // header is one, "Name: value"
	status       int
}

// TestReplays sends exact duplicates of signed requests of version 1 while their date is good: nothing is
// done a second time, and no secret is shown to whoever comes second.
func TestReplays(t *testing.T) {
	t.Parallel()
	messages := "/vip-messages/export?workspaceId=ws1&mediumId=ch1&from=2026-06-01&to=2026-06-02"
	for _, a := range []replayed{
		{"3.2", "an export", "key_one1", "GET", usersExport, "", "", 202},
		{"3.2", "an export that wants a job of its own", "key_one1", "GET", usersExport, "Cache-Control: no-cache", "", 202},
		{"3.2", "an export with a callback", "key_one1", "GET", messages + "&callbackUrl=https://hooks.example.com/", "", "", 202},
		{"3.2", "an export with an Idempotency-Key", "key_one1", "GET", usersExport, "Idempotency-Key: mine", "", 202},
		{"3.2", "a key is made", "key_admn", "POST", "/admin/keys", "", `{"orgId":"o","name":"n","scopes":["read"],"reason":"r"}`, 409},
		{"3.2", "a key is rotated", "key_admn", "POST", "/admin/keys/key_two2/rotate", "", `{"reason":"r"}`, 409},
		{"3.2", "a webhook secret is rotated", "key_admn", "POST", "/admin/keys/key_two2/rotate", "", `{"reason":"r","secret":"webhook"}`, 409},
		{"3.2", "a key is revoked", "key_admn", "POST", "/admin/keys/key_two2/revoke", "", `{"reason":"r"}`, 409},
		{"3.2", "a queue is paused", "key_ops1", "POST", "/ops/queues/exports/pause", "", `{"reason":"r"}`, 409},
		{"3.2", "many jobs run again", "key_ops1", "POST", "/ops/jobs/rerun", "", `{"reason":"r","filter":{"state":"failed"}}`, 409},
	} {
		b := newBench(t, func(c *Config) { c.Nonces = nonces() })
		send := func() *httptest.ResponseRecorder {
			r := withBody(request(t, a.key, a.method, a.path), a.body)
			if name, value, ok := strings.Cut(a.header, ": "); ok {
				r.Header.Set(name, value)
			}
			return b.do(r)
		}
		first := send()
		if first.Code >= http.StatusBadRequest {
			t.Fatalf("%s %s: the first is refused with %d %s", a.row, a.name, first.Code, first.Body)
		}
		made, keys := len(b.jobs.jobs)+len(b.jobs.batches)+len(b.queue.notified), len(b.keys.keys)+len(fmt.Sprint(b.keys.audit))
		second := send()
		switch {
		case second.Code != a.status:
			t.Errorf("%s %s: the duplicate gets %d %s, want %d", a.row, a.name, second.Code, second.Body, a.status)
		case a.status < 400 && second.Header().Get("Location") != first.Header().Get("Location") || len(b.jobs.jobs)+len(b.jobs.batches)+len(b.queue.notified) != made:
			t.Errorf("%s %s: the duplicate made another", a.row, a.name)
		case len(b.keys.keys)+len(fmt.Sprint(b.keys.audit)) != keys || strings.Contains(second.Body.String(), "secret"):
			t.Errorf("%s %s: the duplicate changed a key or shows a secret", a.row, a.name)
		}
	}
}

// A duplicate of an export is answered by the job of the first while that is alive, and by a new one else;
// whoever names a key is also told how its job failed. Requests that differ in anything that is signed or
// asked for are no duplicates.
func TestReplayOfEndedExport(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		state           jobs.State
		deleted, gone   bool
		replayed, named int // 202: a job of its own
	}{
		{state: jobs.Succeeded, replayed: 200, named: 200},
		{state: jobs.Succeeded, gone: true, replayed: 202, named: 202},
		{state: jobs.Expired, replayed: 202, named: 202},
		{state: jobs.Expired, deleted: true, replayed: 202, named: 202},
		{state: jobs.Failed, replayed: 202, named: 500},
		{state: jobs.Canceled, replayed: 202, named: 409},
		{state: jobs.Canceled, deleted: true, replayed: 202, named: 202},
	} {
		for want, header := range map[int][]string{tc.replayed: {"Cache-Control", "no-cache"}, -tc.named: {"Cache-Control", "no-cache", "Idempotency-Key", "mine"}} {
			b := newBench(t)
			first := b.get(t, usersExport, header...)
			wantStatus(t, first, http.StatusAccepted)
			j := succeeded()
			j.ID, j.State = strings.TrimPrefix(first.Header().Get("Location"), "/exports/"), tc.state
			if tc.deleted {
				j.DeletedAt = noon
			}
			if tc.gone {
				j.FileExpiresAt = noon
			}
			if tc.state == jobs.Failed {
				j.Error = &jobs.JobError{Code: jobs.CodeInternal, Message: "m"}
			}
			b.jobs.set(j)
			again := b.get(t, usersExport, header...)
			at := again.Header().Get("Location") + again.Header().Get("Content-Location")
			want, made := max(want, -want), 0
			if want == http.StatusAccepted {
				made = 1
			}
			if again.Code != want || (at != first.Header().Get("Location")) != (made == 1) || len(b.jobs.jobs) != 1+made {
				t.Errorf("duplicate (%v) of %+v = %d %s and %d jobs, want %d, the first was %s", header, tc, again.Code, at, len(b.jobs.jobs), want, first.Header().Get("Location"))
			}
		}
	}
	b := newBench(t, func(c *Config) { c.Nonces = nonces() })
	later := "2026-06-15T12:00:00.001Z"
	for name, r := range map[string]*http.Request{
		"the first":         request(t, "key_one1", "GET", usersExport),
		"another date":      withHeader(request(t, "key_one1", "GET", usersExport), "x-date", later, "x-signature", apikey.Sign(testSecret, later)),
		"another key":       request(t, "key_hook", "GET", usersExport),
		"another parameter": request(t, "key_one1", "GET", usersExport+"&hasBirthday=true"),
		"version 2":         requestV2(t, "key_one1", "GET", usersExport, ""),
		"version 2 again":   requestV2(t, "key_one1", "GET", usersExport, ""),
	} {
		made := len(b.jobs.jobs)
		if w := b.do(r); w.Code != http.StatusAccepted || len(b.jobs.jobs) != made+1 {
			t.Errorf("%s = %d and %d jobs, want one of its own", name, w.Code, len(b.jobs.jobs)-made)
		}
	}
}
