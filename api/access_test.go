package api

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// pathOf fills in a route's pattern with an id that could be a job's.
func pathOf(r route) string {
	return strings.NewReplacer(":jobId", strings.Repeat("a", 26), ":keyId", "key_nobody").Replace(r.path)
}

// Whatever is wrong with a key, the answer is the same, on every route, and nothing is read.
func TestAuthFaults(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	signature := apikey.Sign(testSecret, testDate)
	faults := map[string]func(h http.Header){
		"unknown key":     func(h http.Header) { h.Set("x-api-key", "key_nobody") },
		"disabled key":    func(h http.Header) { h.Set("x-api-key", "key_dead") },
		"wrong signature": func(h http.Header) { h.Set("x-signature", strings.Repeat("0", 64)) },
		"other date":      func(h http.Header) { h.Set("x-date", "2026-06-15T12:00:00.0Z") },
		"no key":          func(h http.Header) { h.Del("x-api-key") },
		"no date":         func(h http.Header) { h.Del("x-date") },
		"no signature":    func(h http.Header) { h.Del("x-signature") },
		"two signatures":  func(h http.Header) { h.Add("x-signature", signature) },
		"upper case":      func(h http.Header) { h.Set("x-signature", strings.ToUpper(signature)) },
		"stale":           func(h http.Header) { h.Set("x-date", "2026-06-15T11:58:59Z") },
		"ahead":           func(h http.Header) { h.Set("x-date", "2026-06-15T12:00:05.001Z") },
		"path in key":     func(h http.Header) { h.Set("x-api-key", "key_one1/x/y") },
	}
	sameText := []string{"unknown key", "disabled key", "wrong signature", "other date"}
	n := 0
	for _, r := range b.routes() {
		if r.scopes == nil {
			continue
		}
		for name, change := range faults {
			req := request(t, "key_one1", r.method, pathOf(r))
			change(req.Header)
			w := b.do(req)
			n++
			if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with %s = %d", r.method, r.path, name, w.Code)
			}
			if slices.Contains(sameText, name) && w.Body.String() != `{"message":"unknown API key or wrong signature"}` {
				t.Errorf("%s %s with %s = %s", r.method, r.path, name, w.Body)
			}
		}
	}
	if b.records.calls+b.jobs.calls+len(b.jobs.submitted) > 0 {
		t.Error("an unauthenticated request cost a query")
	}
	t.Logf("%d requests refused", n)
}

func TestAuthWindow(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for date, want := range map[string]int{
		"2026-06-15T11:59:00Z":     http.StatusOK, // 60 s old
		"2026-06-15T11:58:59.999Z": http.StatusUnauthorized,
		"2026-06-15T12:00:05Z":     http.StatusOK, // 5 s ahead
		"2026-06-15T12:00:05.001Z": http.StatusUnauthorized,
	} {
		r := request(t, "key_one1", http.MethodGet, "/workspaces")
		r.Header.Set("x-date", date)
		r.Header.Set("x-signature", apikey.Sign(testSecret, date))
		if w := b.do(r); w.Code != want {
			t.Errorf("x-date %s = %d, want %d", date, w.Code, want)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	keys := map[string][]apikey.Scope{
		"key_none": nil, "key_read": {apikey.ScopeRead}, "key_hook": {apikey.ScopeExport}, "key_ops1": {apikey.ScopeOps}, "key_admn": {apikey.ScopePlatform}, "key_adm1": {apikey.ScopeAdmin},
	}
	for _, r := range b.routes() {
		if r.scopes == nil {
			continue
		}
		for id, scopes := range keys {
			has := slices.ContainsFunc(scopes, func(s apikey.Scope) bool { return slices.Contains(r.scopes, s) })
			w := b.do(request(t, id, r.method, pathOf(r)))
			if (w.Code == http.StatusForbidden) == has {
				t.Errorf("%s %s with scopes %v = %d", r.method, r.path, scopes, w.Code)
			}
		}
	}
}

// Every route by every verb: what is not in the table is 405 with Allow, and starts nothing.
func TestVerbs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	allowed := map[string][]string{}
	for _, r := range b.routes() {
		allowed[pathOf(r)] = append(allowed[pathOf(r)], r.method)
	}
	// /ops/jobs/rerun also is a job's page by form, of a job that cannot exist.
	allowed["/ops/jobs/rerun"] = append(allowed["/ops/jobs/rerun"], http.MethodGet)
	for path, methods := range allowed {
		for _, verb := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"} {
			if slices.Contains(methods, verb) {
				continue
			}
			w := b.do(request(t, "key_one1", verb, path))
			got := strings.Split(w.Header().Get("Allow"), ", ")
			slices.Sort(got)
			slices.Sort(methods)
			if w.Code != http.StatusMethodNotAllowed || !slices.Equal(got, methods) {
				t.Errorf("%s %s = %d, Allow %v, want 405, %v", verb, path, w.Code, got, methods)
			}
		}
	}
	if len(b.jobs.submitted) > 0 {
		t.Errorf("a job was started: %v", b.jobs.submitted)
	}
}

func TestUnknownRoutes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, path := range []string{
		"/nope", "/vip-users/", "//vip-users", "/VIP-USERS", "/vip-users/export/", "/vip-users/../exports", "/exports/", "/exports/a/b",
		"/exports//csv", "/debug/pprof/", "/.env",
	} {
		w := b.get(t, path)
		if w.Code != http.StatusNotFound || w.Body.String() != `{"message":"no such route"}` && w.Body.String() != `{"message":"job not found"}` {
			t.Errorf("GET %s = %d %s, want 404", path, w.Code, w.Body)
		}
		if w.Header().Get("X-Request-Id") == "" || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("GET %s: headers %v", path, w.Header())
		}
	}
}

// What another org has looks exactly like what nobody has.
func TestForeignLooksUnknown(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	foreign := succeeded()
	foreign.OrgID = "org2"
	b.jobs.set(foreign)
	running := jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, OrgID: "org2", Kind: "vip-users", State: jobs.Running}
	b.jobs.set(running)
	deleted := succeeded()
	deleted.DeletedAt = noon
	b.jobs.set(deleted)
	unknown := strings.Repeat("a", 26)

	same := func(method, path string, of ...string) {
		t.Helper()
		var first *httptest.ResponseRecorder
		for _, x := range of {
			w := b.do(request(t, "key_one1", method, strings.ReplaceAll(path, "{}", x), "X-Request-Id", "same-request"))
			if w.Code != http.StatusNotFound {
				t.Errorf("%s %s of %s = %d, want 404", method, path, x, w.Code)
			}
			if first == nil {
				first = w
			}
			if w.Body.String() != first.Body.String() || !maps.EqualFunc(w.Header(), first.Header(), slices.Equal) {
				t.Errorf("%s %s of %s = %s %v, want %s %v", method, path, x, w.Body, w.Header(), first.Body, first.Header())
			}
		}
	}
	for _, path := range []string{"/exports/{}", "/exports/{}/csv", "/exports/{}/manifest", "/exports/{}/events"} {
		same(http.MethodGet, path, unknown, foreign.ID, running.ID, deleted.ID, "x", "..%5c..", "%00")
	}
	same(http.MethodPost, "/exports/{}/cancel", unknown, foreign.ID, running.ID, deleted.ID)
	same(http.MethodDelete, "/exports/{}", unknown, foreign.ID, running.ID, deleted.ID)
	const window = "&from=2026-06-01&to=2026-06-02"
	for _, path := range []string{"/vip-users?", "/vip-users/export?", "/vip-messages?" + window, "/vip-messages/export?" + window, "/vip-labels/overview?" + window} {
		same(http.MethodGet, path+"&mediumId=ch1&workspaceId={}", "nope", "ws2", "a%2Fb", "__x__", "..")
		same(http.MethodGet, path+"&workspaceId=ws1&mediumId={}", "nope", "ch2", "a%2Fb", "__x__")
	}
	same(http.MethodGet, "/channels?workspaceId={}", "nope", "ws2", "a%2Fb")
	if len(b.jobs.submitted) > 0 || len(b.objects.deleted) > 0 || len(b.jobs.events) > 0 {
		t.Error("a foreign object was touched")
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for query, want := range map[string]int{
		"workspaceId=ws1&mediumId=ch1":   http.StatusOK,
		"workspaceId=ws1&mediumId=ch3":   http.StatusOK, // the channel lists the workspace
		"workspaceId=plain&mediumId=ch1": http.StatusForbidden,
		"workspaceId=ws1&mediumId=loose": http.StatusForbidden,
		"workspaceId=ws1&mediumId=ch2":   http.StatusNotFound,
		"workspaceId=ws2&mediumId=ch2":   http.StatusNotFound,
	} {
		if w := b.get(t, "/vip-users?"+query); w.Code != want {
			t.Errorf("GET /vip-users?%s = %d %s, want %d", query, w.Code, w.Body, want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	urlOf := func(n int) string { return "/vip-users?x=" + strings.Repeat("a", n-len("/vip-users?x=")) }
	withHeaders := func(n int) *http.Request {
		r := request(t, "key_one1", http.MethodGet, "/workspaces")
		size := 0
		for name, v := range r.Header {
			size += len(name) + len(v[0]) + 4
		}
		r.Header.Set("X-Pad", strings.Repeat("p", n-size-len("X-Pad")-4))
		return r
	}
	withBody := func(n int, chunked bool) *http.Request {
		r := request(t, "key_ops1", http.MethodPost, "/ops/jobs/x/cancel")
		r.Body = http.NoBody
		if n > 0 {
			body := strings.NewReader(`{"reason":"` + strings.Repeat(" ", n-13) + `"}`)
			r.Body, r.ContentLength = http.MaxBytesReader(nil, readCloser{body}, 1<<20), int64(n)
		}
		if chunked {
			r.ContentLength = -1
		}
		return r
	}
	for name, tc := range map[string]struct {
		r    *http.Request
		want int
	}{
		"URL at limit":            {request(t, "key_one1", "GET", urlOf(maxURLBytes)), http.StatusUnprocessableEntity},
		"URL above limit":         {request(t, "key_one1", "GET", urlOf(maxURLBytes+1)), http.StatusRequestURITooLong},
		"headers at limit":        {withHeaders(maxHeaderBytes), http.StatusOK},
		"headers above limit":     {withHeaders(maxHeaderBytes + 1), http.StatusRequestHeaderFieldsTooLarge},
		"body at limit":           {withBody(maxBodyBytes, false), http.StatusUnprocessableEntity},
		"body above limit":        {withBody(maxBodyBytes+1, false), http.StatusRequestEntityTooLarge},
		"chunks at limit":         {withBody(maxBodyBytes, true), http.StatusUnprocessableEntity},
		"chunks above limit":      {withBody(maxBodyBytes+1, true), http.StatusRequestEntityTooLarge},
		"no body, reason missing": {withBody(0, false), http.StatusUnprocessableEntity},
	} {
		w := b.do(tc.r)
		if w.Code != tc.want {
			t.Errorf("%s = %d %.100s, want %d", name, w.Code, w.Body, tc.want)
		}
		if w.Code != http.StatusOK {
			decode(t, w)
		}
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func TestErrorTable(t *testing.T) {
	t.Parallel()
	secret := errors.New("password=hunter2 at 10.0.0.1")
	for name, tc := range map[string]struct {
		err  error
		want int
	}{
		"unknown":          {secret, 500},
		"unavailable":      {fmt.Errorf("%w: %w", jobs.ErrUnavailable, secret), 503},
		"failure":          {jobs.Fail(jobs.CodeMissingIndex, jobs.Permanent, "m", "hunter2", secret), 500},
		"gone database":    {jobs.Fail(jobs.CodeSourceDenied, jobs.Permanent, "m", "r", fmt.Errorf("%w: %w", jobs.ErrNotFound, secret)), 500},
		"source is away":   {jobs.Fail(jobs.CodeUnavailable, jobs.Transient, "m", "r", fmt.Errorf("%w: %w", jobs.ErrUnavailable, secret)), 503},
		"wrapped problem":  {fmt.Errorf("x: %w", &problem{status: 403, message: "m", cause: secret}), 403},
		"not in the table": {fmt.Errorf("%w: %w", jobs.ErrLeaseLost, secret), 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.records.err = tc.err
			w := b.get(t, "/workspaces")
			wantStatus(t, w, tc.want)
			if strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("body tells the cause: %s", w.Body)
			}
			if tc.want == 503 && w.Header().Get("Retry-After") != "5" {
				t.Errorf("Retry-After = %q", w.Header().Get("Retry-After"))
			}
			if tc.want >= 500 && strings.Count(b.log.String(), "10.0.0.1") != 1 {
				t.Errorf("cause is not logged once: %s", b.log)
			}
		})
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Server.records = nil
	w := b.get(t, "/workspaces")
	wantStatus(t, w, http.StatusInternalServerError)
	if w.Body.String() != `{"message":"internal error"}` || !strings.Contains(b.log.String(), "panic") {
		t.Errorf("body = %s, log = %s", w.Body, b.log)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for given, kept := range map[string]bool{
		"abc-DEF_1.2": true, "short": false, "": false, "with space in it": false, "new\nline-here": false,
		"7-chars": false, "8--chars": true, strings.Repeat("x", 63): true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "<script>alert": false,
	} {
		got := b.get(t, "/workspaces", "X-Request-Id", given).Header().Get("X-Request-Id")
		if (got == given) != kept || len(got) < 8 {
			t.Errorf("request id for %q = %q", given, got)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, path := range []string{"/workspaces", "/nope", "/healthz", "/vip-users", usersExport} {
		h := b.get(t, path).Header()
		for name, want := range securityHeaders {
			if h.Get(name) != want {
				t.Errorf("GET %s: %s = %q, want %q", path, name, h.Get(name), want)
			}
		}
	}
}

// Nothing in any log line opens anything.
func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	j := succeeded()
	b.jobs.set(j)
	b.jobs.attach = &j
	for _, path := range []string{
		usersExport + "&callbackUrl=https://hooks.example.com/x%3Ftoken=callback-token-1", usersExport, "/exports/" + j.ID, "/exports/" + j.ID + "/csv",
		"/vip-messages?label=private-label&limit=x", "/nope?x=private-label",
	} {
		b.get(t, path)
	}
	bad := request(t, "key_one1", http.MethodGet, "/workspaces")
	bad.Header.Set("x-signature", strings.Repeat("c", 64))
	b.do(bad)
	for _, secret := range []string{
		testSecret, apikey.Sign(testSecret, testDate), signedURLPrefix, "X-Goog", "callback-token-1", "private-label", "cccccc", testDate,
	} {
		if strings.Contains(b.log.String(), secret) {
			t.Errorf("log holds %q: %s", secret, b.log)
		}
	}
	if n := strings.Count(b.log.String(), "\n"); n != 7 {
		t.Errorf("%d log lines for 7 requests", n)
	}
}
