package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"exportd/internal/dataset"
	"exportd/jobs"
)

// FuzzQuery sends any query string to routes that read parameters: whatever comes, the answer is JSON, of
// bounded size, and no 500; and what is accepted makes sense.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{
		"workspaceId=ws1&mediumId=ch1&from=2026-06-01&to=2026-06-10&limit=5&before=2026-06-05T00:00:00.5%2B02:00",
		"workspaceId=ws1&mediumId=ch1&hasBirthday=TRUE&birthdayMonth=12&offset=0",
		"workspaceId=ws1&mediumId=ch1&from=2026-06-01&to=2026-06-10&before=AgAAAAAAAAAAAA&contentType=text&label=%00",
		"a=1&a=2;b&%zz&limit=1e400&limit=", "from=9999-12-31&to=9999-12-31", "from=0001-01-01T00:00:00%2B23:59",
		"state=failed&kind=vip-users&pageToken=x&createdAfter=2026-06-01", "callbackUrl=https://a.example/%3Ft&profile=excel&formulaGuard=off",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{RawQuery: query}}
		for _, d := range dataset.BuiltIn {
			p, err := readQuery(r)
			if err != nil {
				if answerTo(err).status != http.StatusBadRequest {
					t.Errorf("readQuery(%q) = %v", query, err)
				}
				return
			}
			rows := p.rows(d)
			limit := p.integer("limit", 1, maxPageRows, pageRows)
			if d.List.Cursor != "" {
				p.cursor(d, "org1", rows)
			}
			err = p.finish()
			if err == nil {
				checkRows(t, rows, limit)
				continue
			}
			body, err := encodeJSON(map[string]any{"error": p.faults})
			if err != nil || !json.Valid(body) || !utf8.Valid(body) || len(body) > 600*(len(p.faults)+1) {
				t.Errorf("faults of %q do not encode well: %v, %d bytes", query, err, len(body))
			}
		}
	})
}

func checkRows(t *testing.T, p jobs.Params, limit int) {
	t.Helper()
	month, _ := p["birthdayMonth"].(int64)
	from, to := p.Time("from"), p.Time("to")
	if p.Text("workspaceId") == "" || p.Text("mediumId") == "" || limit < 1 || limit > maxPageRows || month < 0 || month > 12 {
		t.Errorf("accepted %+v, limit %d", p, limit)
	}
	if month > 0 && !p.Flag("hasBirthday") {
		t.Errorf("not normalised: %+v", p)
	}
	if from.IsZero() != to.IsZero() || !from.IsZero() && (!from.Before(to) || to.Sub(from) > 31*24*time.Hour) {
		t.Errorf("accepted window %s to %s", from, to)
	}
	for _, at := range []time.Time{from, to} {
		if at.Location() != time.UTC || at.Nanosecond()%1000 != 0 {
			t.Errorf("time %s is not UTC to the microsecond", at)
		}
		if _, err := at.MarshalJSON(); err != nil {
			t.Errorf("time %s: %v", at, err)
		}
	}
}

func FuzzPrefer(f *testing.F) {
	for _, s := range []string{"wait=5", "respond-async, wait=0", `wait="7"`, "wait=99999999999999999999", "wait=-1", "WAIT = 3; x=y, wait=9", ",,=;"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		p := readPrefer(http.Header{"Prefer": {a, b}}, 10*time.Second)
		if p.wait < 0 || p.wait > maxWait || p.applied == "" && p.wait != 10*time.Second {
			t.Errorf("readPrefer(%q, %q) = %+v", a, b, p)
		}
		if p.applied != "" && p.applied != "respond-async" && !strings.HasPrefix(p.applied, "wait=") {
			t.Errorf("readPrefer(%q, %q) echoes %q", a, b, p.applied)
		}
	})
}

func TestReadPrefer(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]preference{
		"":                          {10 * time.Second, ""},
		"wait=0":                    {0, "wait=0"},
		"wait=24":                   {24 * time.Second, "wait=24"},
		"wait=25":                   {25 * time.Second, "wait=25"},
		"wait=26":                   {25 * time.Second, "wait=25"},
		"wait=65535":                {25 * time.Second, "wait=25"},
		"wait=65536":                {25 * time.Second, "wait=25"},
		"wait=99999999999999999999": {25 * time.Second, "wait=25"},
		`foo="a,wait=1", wait=2`:    {2 * time.Second, "wait=2"},
		`foo="\",wait=1", wait=2`:   {2 * time.Second, "wait=2"},
		`foo="a,wait=1`:             {10 * time.Second, ""},
		"wait=-1":                   {10 * time.Second, ""},
		"wait=+1":                   {10 * time.Second, ""},
		"wait=1.5":                  {10 * time.Second, ""},
		"wait=":                     {10 * time.Second, ""},
		"wait":                      {10 * time.Second, ""},
		`wait="3"`:                  {3 * time.Second, "wait=3"},
		" Wait = 3 ; foo=bar":       {3 * time.Second, "wait=3"},
		"wait=3, wait=9":            {3 * time.Second, "wait=3"},
		"wait=x, wait=9":            {9 * time.Second, "wait=9"},
		"respond-async":             {0, "respond-async"},
		"Respond-Async, handling":   {0, "respond-async"},
		"respond-async=no":          {10 * time.Second, ""},
		"respond-async, wait=4":     {4 * time.Second, "wait=4"},
		"return=minimal":            {10 * time.Second, ""},
		strings.Repeat(",", 10000):  {10 * time.Second, ""},
	} {
		if got := readPrefer(http.Header{"Prefer": {in}}, 10*time.Second); got != want {
			t.Errorf("readPrefer(%.40q) = %+v, want %+v", in, got, want)
		}
	}
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{"", "k", strings.Repeat("k", 255), strings.Repeat("k", 256), "with space", "\x7f", "é", "a\tb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, faults := readIdempotencyKey(http.Header{"Idempotency-Key": {s}})
		ok := len(s) >= 1 && len(s) <= 255 && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
		if (len(faults) == 0) != ok || ok && key != s || !ok && key != "" {
			t.Errorf("readIdempotencyKey(%q) = %q, %v", s, key, faults)
		}
	})
}

func TestIdempotencyKeyFaults(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for value, want := range map[string]string{
		"":                       "Idempotency-Key string.empty",
		strings.Repeat("k", 256): "Idempotency-Key string.max",
		"a b":                    "Idempotency-Key any.only",
		"ключ":                   "Idempotency-Key any.only",
	} {
		w := b.get(t, usersExport, "Idempotency-Key", value)
		wantStatus(t, w, http.StatusUnprocessableEntity)
		if got := faultsOf(t, w); got != want {
			t.Errorf("Idempotency-Key %.20q: faults = %s, want %s", value, got, want)
		}
	}
	w := b.get(t, usersExport, "Idempotency-Key", "a", "Idempotency-Key", "a")
	wantStatus(t, w, http.StatusUnprocessableEntity)
	wantStatus(t, b.get(t, usersExport, "Idempotency-Key", strings.Repeat("~", 255)), http.StatusAccepted)
	if len(b.jobs.submitted) != 1 {
		t.Errorf("%d jobs, want 1", len(b.jobs.submitted))
	}
}

func TestReadCacheControl(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct {
		noCache bool
		maxAge  time.Duration
	}{
		"no-cache": {true, -1}, "max-age=0, No-Cache": {true, 0}, "": {false, -1}, "no-store": {false, -1}, "max-age=0": {false, 0}, "x-no-cache": {false, -1},
		`Max-Age="30"`: {false, 30 * time.Second}, "max-age=-1": {false, -1}, "max-age=99999999999": {false, -1}, "max-age": {false, -1}, `x="a,no-cache"`: {false, -1},
	} {
		if noCache, maxAge := readCacheControl(http.Header{"Cache-Control": {in}}); noCache != want.noCache || maxAge != want.maxAge {
			t.Errorf("readCacheControl(%q) = %t, %s, want %v", in, noCache, maxAge, want)
		}
	}
}

// FuzzBody sends any body to an operator's route.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"reason":"r","mode":"fresh"}`, `{"reason":null}`, `[`, `{"reason":"\ud800"}`, `{"a":{"b":[1,2]}}`, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(text))
		b, err := readBody(r)
		if err != nil {
			if answerTo(err).status != http.StatusBadRequest {
				t.Errorf("readBody(%q) = %v", text, err)
			}
			return
		}
		reason := b.reason(true)
		mode := enum(&b.params, "mode", jobs.RerunResume, jobs.RerunFresh)
		if err := b.finish(); err == nil && (reason == "" || utf8.RuneCountInString(reason) > maxReason || mode != "" && mode != jobs.RerunResume && mode != jobs.RerunFresh) {
			t.Errorf("accepted %q: reason %q, mode %q", text, reason, mode)
		}
	})
}
