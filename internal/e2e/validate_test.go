package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"exportd/internal/e2e/e2etest"
)

// joiFault is a validation fault in the form that Joi gives it.
type joiFault struct {
	Message string
	Path    []string
	Type    string
	Context map[string]any
}

// faultsOf returns "name type" of each fault of a 422, sorted.
func faultsOf(t *testing.T, r e2etest.Response) []string {
	t.Helper()
	var body struct{ Error []joiFault }
	r.Want(t, http.StatusUnprocessableEntity).JSON(t, &body)
	var names []string
	for _, f := range body.Error {
		if f.Message == "" || len(f.Path) != 1 || f.Context["label"] != f.Path[0] || f.Context["key"] != f.Path[0] {
			t.Errorf("fault %+v is not in the form of the contract", f)
			continue
		}
		names = append(names, f.Path[0]+" "+f.Type)
	}
	slices.Sort(names)
	return names
}

// validationFaults: all of a request's faults come in one answer.
func validationFaults(t *testing.T, s *e2etest.Stack) {
	long := strings.Repeat("x", 1501)
	for _, tc := range []struct {
		path  string
		query string
		want  []string
	}{
		{"/vip-users", "", []string{"mediumId any.required", "workspaceId any.required"}},
		{"/vip-users", "workspaceId=&mediumId=a&mediumId=b&hasBirthday=maybe&birthdayMonth=13&limit=201&offset=-1&nope=1", []string{
			"birthdayMonth number.max", "hasBirthday boolean.base", "limit number.max", "mediumId any.unknown", "nope any.unknown",
			"offset number.min", "workspaceId string.empty"}},
		{"/vip-users", "workspaceId=" + long + "&mediumId=m&birthdayMonth=0&limit=1.5&offset=ten", []string{
			"birthdayMonth number.min", "limit number.integer", "offset number.base", "workspaceId string.max"}},
		{"/vip-users/export", "workspaceId=w&mediumId=m&limit=10&offset=0&profile=word&formulaGuard=maybe", []string{
			"formulaGuard any.only", "limit any.unknown", "offset any.unknown", "profile any.only"}},
		{"/vip-messages", "workspaceId=w&mediumId=m&from=2026-02-30&to=today", []string{"from date.format", "to date.format"}},
		{"/vip-messages", "workspaceId=w&mediumId=m&from=2026-01-01&to=2026-02-01", []string{"to date.range"}},
		{"/vip-messages", "workspaceId=w&mediumId=m&from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z&contentType=voice", []string{"contentType any.only", "to date.greater"}},
		{"/vip-messages", "workspaceId=w&mediumId=m&from=2026-01-01&to=2026-01-31&before=never", []string{"before date.format"}},
		{"/vip-messages/export", "from=2026-01-01&label=&callbackUrl=ftp://example.org", []string{
			"callbackUrl string.uri", "label string.empty", "mediumId any.required", "to any.required", "workspaceId any.required"}},
		{"/vip-labels/overview", "label=x", []string{"from any.required", "label any.unknown", "mediumId any.required", "to any.required", "workspaceId any.required"}},
		{"/workspaces", "a=1&b=2", []string{"a any.unknown", "b any.unknown"}},
		{"/channels", "workspaceId=", []string{"workspaceId string.empty"}},
		{"/exports", "state=done&kind=x&pageSize=0&pageToken=", []string{"kind any.only", "pageSize number.min", "pageToken string.empty", "state any.only"}},
		{"/exports", "pageToken=AAAA", []string{"pageToken any.only"}},
	} {
		query, err := url.ParseQuery(tc.query)
		if err != nil {
			t.Fatal(err)
		}
		if got := faultsOf(t, s.Caller().Get(t, tc.path, query)); !slices.Equal(got, tc.want) {
			t.Errorf("%s?%.120s: faults %q, want %q", tc.path, tc.query, got, tc.want)
		}
	}
	// The window's cap lets exactly 31 days through.
	s.Caller().Get(t, "/vip-messages", s.Messages("from", "2026-01-01", "to", "2026-01-31")).Want(t, http.StatusOK)

	c := s.Caller()
	bad := *c
	for _, raw := range []string{"/workspaces?a=%zz", "/workspaces?a=1;b=2", "/vip-users?workspaceId=%ff"} {
		wantMessage(t, raw, bad.Get(t, raw, nil), http.StatusBadRequest)
	}
}

// requestLimits: what is too large is refused with its own status, whoever asks.
func requestLimits(t *testing.T, s *e2etest.Stack) {
	c := s.Caller()
	wantMessage(t, "long URL", c.Get(t, "/workspaces", url.Values{"a": {strings.Repeat("x", 9<<10)}}), http.StatusRequestURITooLong)
	wantMessage(t, "large header", c.Get(t, "/workspaces", nil, "x-junk", strings.Repeat("x", 40<<10)), http.StatusRequestHeaderFieldsTooLarge)
	large := bytes.Repeat([]byte("x"), 65<<10)
	wantMessage(t, "large body", c.Do(t, http.MethodPost, "/exports/aaaaaaaaaaaaaaaaaaaaaaaaaa/cancel", nil, bytes.NewReader(large)), http.StatusRequestEntityTooLarge)
	// A body of unknown length is bounded too.
	r, err := c.Try(t.Context(), http.MethodPost, "/exports/aaaaaaaaaaaaaaaaaaaaaaaaaa/cancel", nil, struct{ *bytes.Reader }{bytes.NewReader(large)})
	if err == nil {
		wantMessage(t, "large chunked body", r, http.StatusRequestEntityTooLarge)
	}
	for _, path := range []string{"/vip-users/export", "/vip-messages/export"} {
		query := s.Users()
		if strings.Contains(path, "messages") {
			query = s.Messages()
		}
		if r := c.Do(t, http.MethodHead, path, query, nil); r.Status != http.StatusMethodNotAllowed || !strings.Contains(r.Header.Get("Allow"), http.MethodGet) {
			t.Errorf("HEAD %s: %d, Allow %q", path, r.Status, r.Header.Get("Allow"))
		}
		wantMessage(t, "POST "+path, c.Do(t, http.MethodPost, path, query, nil), http.StatusMethodNotAllowed)
	}
	wantMessage(t, "no route", c.Get(t, "/nothing-here", nil), http.StatusNotFound)
	wantMessage(t, "trailing slash", c.Get(t, "/workspaces/", nil), http.StatusNotFound)
}

// openRoutes need no signature.
func openRoutes(t *testing.T, s *e2etest.Stack) {
	status, checks, err := s.Ready(t.Context())
	if err != nil || status != http.StatusOK || checks["firestore"] != "ok" || checks["pubsub"] != "ok" || checks["storage"] != "ok" {
		t.Errorf("readyz: %d %v %v", status, checks, err)
	}
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/metrics": http.StatusNotFound, "/livez": http.StatusNotFound} {
		r, err := e2etest.Send(context.WithoutCancel(t.Context()), http.MethodGet, s.APIURL+path, nil, nil)
		if err != nil || r.Status != want {
			t.Errorf("%s: %d %v, want %d", path, r.Status, err, want)
		}
		for _, secret := range []string{s.Secret, s.OpsSecret, s.OtherSecret} {
			if bytes.Contains(r.Body, []byte(secret)) {
				t.Errorf("%s shows a secret", path)
			}
		}
	}
	var health struct{ Status, Version, Commit string }
	r, err := e2etest.Send(t.Context(), http.MethodGet, s.APIURL+"/healthz", nil, nil)
	if err != nil || json.Unmarshal(r.Body, &health) != nil {
		t.Fatalf("healthz: %v %s", err, r.Body)
	}
	p := e2etest.Start(t, nil, e2etest.DevProgram(exportd), "--version")
	p.Wait(t, startFails)
	if want := "exportd-dev version " + health.Version + " (commit " + health.Commit; health.Commit == "" || !strings.HasPrefix(p.Stdout(), want) {
		t.Errorf("healthz says %s, exportd-dev --version %s", r.Body, p.Stdout())
	}
}
