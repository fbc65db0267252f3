package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"exportd/internal/dataset"
)

// faultsOf gives path and type of each fault of a 422.
func faultsOf(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	var out []string
	list, _ := decode(t, w)["error"].([]any)
	for _, item := range list {
		f := item.(map[string]any)
		path := f["path"].([]any)
		name := ""
		full := ""
		for _, step := range path {
			name = step.(string)
			full = strings.TrimPrefix(full+"."+name, ".")
		}
		out = append(out, full+" "+f["type"].(string))
		if !strings.HasPrefix(f["message"].(string), `"`+name+`" `) || f["context"].(map[string]any)["label"] != name {
			t.Errorf("fault does not name its parameter: %v", f)
		}
	}
	return strings.Join(out, ", ")
}

func TestValidation(t *testing.T) {
	t.Parallel()
	const users, messages = "workspaceId=ws1&mediumId=ch1", "workspaceId=ws1&mediumId=ch1&from=2026-06-01&to=2026-06-10"
	long := strings.Repeat("x", maxText)
	for _, tc := range []struct{ path, query, want string }{
		{"/workspaces", "a=1", "a any.unknown"},
		{"/workspaces", "z=1&a=1", "a any.unknown, z any.unknown"},
		{"/channels", "workspaceId=", "workspaceId string.empty"},
		{"/channels", "workspaceId=ws1&workspaceId=ws1", "workspaceId any.unknown"},

		{"/vip-users", "", "workspaceId any.required, mediumId any.required"},
		{"/vip-users", "mediumId=ch1", "workspaceId any.required"},
		{"/vip-users", "workspaceId=&mediumId=", "workspaceId string.empty, mediumId string.empty"},
		{"/vip-users", "mediumId=ch1&workspaceId=x" + long, "workspaceId string.max"},
		{"/vip-users", users + "&hasBirthday=yes", "hasBirthday boolean.base"},
		{"/vip-users", users + "&hasBirthday=", "hasBirthday boolean.base"},
		{"/vip-users", users + "&hasBirthday=1", "hasBirthday boolean.base"},
		{"/vip-users", users + "&birthdayMonth=0", "birthdayMonth number.min"},
		{"/vip-users", users + "&birthdayMonth=13", "birthdayMonth number.max"},
		{"/vip-users", users + "&birthdayMonth=1.5", "birthdayMonth number.integer"},
		{"/vip-users", users + "&birthdayMonth=June", "birthdayMonth number.base"},
		{"/vip-users", users + "&limit=0", "limit number.min"},
		{"/vip-users", users + "&limit=201", "limit number.max"},
		{"/vip-users", users + "&limit=99999999999999999999", "limit number.max"},
		{"/vip-users", users + "&limit=-99999999999999999999", "limit number.min"},
		{"/vip-users", users + "&limit=", "limit number.base"},
		{"/vip-users", users + "&limit=0x10", "limit number.base"},
		{"/vip-users", users + "&limit=NaN", "limit number.base"},
		{"/vip-users", users + "&limit=1.1e1x", "limit number.base"},
		{"/vip-users", users + "&limit=1.15e1", "limit number.integer"},
		{"/vip-users", users + "&limit=%D9%A3", "limit number.base"},
		{"/vip-users", users + "&limit=10&limit=20", "limit any.unknown"},
		{"/vip-users", users + "&offset=-1", "offset number.min"},
		{"/vip-users", users + "&offset=2147483648", "offset number.max"},
		{"/vip-users", users + "&Limit=5", "Limit any.unknown"},
		{"/vip-users", users + "&from=2026-06-01", "from any.unknown"},
		{"/vip-users", users + "&callbackUrl=https://a.example", "callbackUrl any.unknown"},

		{"/vip-messages", "", "workspaceId any.required, mediumId any.required, from any.required, to any.required"},
		{"/vip-messages", users + "&from=x&to=", "from date.format, to date.format"},
		{"/vip-messages", users + "&from=2026-06-02&to=2026-06-01", "to date.greater"},
		{"/vip-messages", users + "&from=2026-06-02T00:00:00Z&to=2026-06-02T00:00:00Z", "to date.greater"},
		{"/vip-messages", users + "&from=2026-06-02T00:00:00.0000001Z&to=2026-06-02T00:00:00.0000009Z", "to date.greater"},
		{"/vip-messages", users + "&from=2026-06-01&to=2026-07-02", "to date.range"},
		{"/vip-messages", users + "&from=2026-06-01T00:00:00Z&to=2026-07-02T00:00:00.000001Z", "to date.range"},
		{"/vip-messages", messages + "&contentType=image", "contentType any.only"},
		{"/vip-messages", messages + "&contentType=", "contentType any.only"},
		{"/vip-messages", messages + "&contentType=Text", "contentType any.only"},
		{"/vip-messages", messages + "&label=", "label string.empty"},
		{"/vip-messages", messages + "&label=x" + long, "label string.max"},
		{"/vip-messages", messages + "&before=", "before date.format"},
		{"/vip-messages", messages + "&before=yesterday", "before date.format"},
		{"/vip-messages", messages + "&before=AgAAAAAAAAAAAA", "before date.format"},
		{"/vip-messages", messages + "&offset=1", "offset any.unknown"},

		{"/vip-labels/overview", "", "workspaceId any.required, mediumId any.required, from any.required, to any.required"},
		{"/vip-labels/overview", messages + "&label=a", "label any.unknown"},

		{"/vip-users/export", users + "&limit=5&offset=1", "limit any.unknown, offset any.unknown"},
		{"/vip-users/export", users + "&profile=tsv", "profile any.only"},
		{"/vip-users/export", users + "&formulaGuard=true", "formulaGuard any.only"},
		{"/vip-users/export", users + "&format=tape&delimiter=%3B&header=no&compression=zip", "format any.only, delimiter any.only, header any.only, compression any.only"},
		{"/vip-users/export", users + "&columns=&timezone=", "columns string.empty, timezone string.empty"},
		{"/vip-users/export", users + "&columns=id,nobody&timezone=Europe/Atlantis", "columns any.only, timezone any.only"},
		{"/vip-users/export", users + "&columns=id,ltv,id&timezone=Local", "columns any.only, timezone any.only"},
		{"/vip-users/export", users + "&columns=id,,ltv&timezone=../../etc/passwd", "columns any.only, timezone any.only"},
		{"/vip-users/export", users + "&columns=" + strings.Repeat("id,", 2100), "columns string.max"},
		{"/vip-users", users + "&columns=id&format=csv", "columns any.unknown, format any.unknown"},
		{"/vip-messages/export", messages + "&before=2026-06-05", "before any.unknown"},
		{"/vip-messages/export", users + "&from=a&to=b&contentType=c&profile=d&formulaGuard=e&callbackUrl=f&g=h",
			"from date.format, to date.format, contentType any.only, profile any.only, formulaGuard any.only, callbackUrl string.uri, g any.unknown"},

		{"/exports", "state=done", "state any.only"},
		{"/exports", "kind=vip", "kind any.only"},
		{"/exports", "pageSize=0", "pageSize number.min"},
		{"/exports", "pageSize=101", "pageSize number.max"},
		{"/exports", "pageToken=", "pageToken string.empty"},
		{"/exports", "pageToken=" + long, "pageToken any.only"},
		{"/exports/aaaaaaaaaaaaaaaaaaaaaaaaaa", "x=1", "x any.unknown"},
		{"/exports/aaaaaaaaaaaaaaaaaaaaaaaaaa/csv", "x=1", "x any.unknown"},
	} {
		t.Run(tc.path+"?"+shorten(tc.query), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.get(t, tc.path+"?"+tc.query)
			wantStatus(t, w, http.StatusUnprocessableEntity)
			if got := faultsOf(t, w); got != tc.want {
				t.Errorf("faults = %s, want %s", got, tc.want)
			}
			if b.records.calls+b.jobs.calls+len(b.jobs.submitted) > 0 {
				t.Error("a malformed request cost a query")
			}
			if w.Body.Len() > 4096 {
				t.Errorf("answer of %d bytes", w.Body.Len())
			}
		})
	}
}

// The words are Joi's, because callers of the old API may show them to people.
func TestFaultForm(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.get(t, "/vip-users?workspaceId=&limit=500&hasBirthday=%3Cb%3E&offset=x&birthdayMonth=1.5&foo=bar")
	wantStatus(t, w, http.StatusUnprocessableEntity)
	want := `{"error":[` +
		`{"message":"\"workspaceId\" is not allowed to be empty","path":["workspaceId"],"type":"string.empty","context":{"key":"workspaceId","label":"workspaceId","value":""}},` +
		`{"message":"\"mediumId\" is required","path":["mediumId"],"type":"any.required","context":{"key":"mediumId","label":"mediumId"}},` +
		`{"message":"\"hasBirthday\" must be a boolean","path":["hasBirthday"],"type":"boolean.base","context":{"key":"hasBirthday","label":"hasBirthday","value":"<b>"}},` +
		`{"message":"\"birthdayMonth\" must be an integer","path":["birthdayMonth"],"type":"number.integer","context":{"key":"birthdayMonth","label":"birthdayMonth","value":"1.5"}},` +
		`{"message":"\"limit\" must be less than or equal to 200","path":["limit"],"type":"number.max","context":{"key":"limit","label":"limit","limit":200,"value":"500"}},` +
		`{"message":"\"offset\" must be a number","path":["offset"],"type":"number.base","context":{"key":"offset","label":"offset","value":"x"}},` +
		`{"message":"\"foo\" is not allowed","path":["foo"],"type":"any.unknown","context":{"child":"foo","key":"foo","label":"foo","value":"bar"}}]}`
	if got := w.Body.String(); got != want {
		t.Errorf("body =\n%s\nwant\n%s", got, want)
	}
}

func TestNotParseable(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("&a", 1)
	for i := range maxParams {
		many += "&p" + strings.Repeat("x", i) + "=1"
	}
	for name, query := range map[string]string{
		"bad escape":    "workspaceId=%zz",
		"cut escape":    "workspaceId=%e",
		"semicolon":     "workspaceId=ws1;mediumId=ch1",
		"not UTF-8":     "workspaceId=%ff%fe",
		"name no UTF-8": "%ff=1",
		"too many":      many,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			w := b.get(t, "/vip-users?"+query)
			wantStatus(t, w, http.StatusBadRequest)
			if decode(t, w)["message"] == "" || b.records.calls > 0 {
				t.Errorf("body = %s, %d queries", w.Body, b.records.calls)
			}
		})
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	utc := func(h, m, s, ns int) time.Time { return time.Date(2026, 6, 1, h, m, s, ns, time.UTC) }
	for in, want := range map[string]time.Time{
		"2026-06-01":                     utc(0, 0, 0, 0),
		"2026-06-01T10:20:30Z":           utc(10, 20, 30, 0),
		"2026-06-01T10:20Z":              utc(10, 20, 0, 0),
		"2026-06-01T10:20:30.5Z":         utc(10, 20, 30, 5e8),
		"2026-06-01T10:20:30.123456789Z": utc(10, 20, 30, 123456789),
		"2026-06-01T10:20:30+02:00":      utc(8, 20, 30, 0),
		"2026-05-31T19:20:30-05:00":      utc(0, 20, 30, 0),
		"2026-06-01T10:20:30":            utc(10, 20, 30, 0), // as a date alone is in UTC
		"2026-06-01 10:20:30Z":           utc(10, 20, 30, 0),
		"2026-06-01T10:20:30+0200":       utc(8, 20, 30, 0),
		"2026-06-01T10:20:30 02:00":      {}, // a + that was not percent-encoded
		"2026-06-01T10:20:30,5Z":         {},
		"2026-06-01T24:00:00Z":           {},
		"2026-06-01T10:20:60Z":           {},
		"2026-06-01T10:20:30+24:00":      {},
		"2026-6-1":                       {},
		"2026-02-29":                     {},
		"20260601":                       {},
		"1780000000":                     {},
		"now":                            {},
		"0000-01-01":                     {},
		"0001-01-01":                     {},
		"9999-12-31":                     {},
		"":                               {},
	} {
		got, dateOnly, ok := parseDate(in)
		if ok != !want.IsZero() || ok && (!got.Equal(want) || dateOnly != (len(in) == 10)) {
			t.Errorf("parseDate(%q) = %s, %t, %t, want %s", in, got, dateOnly, ok, want)
		}
	}
}

// Both ends of the window: 31 days to the microsecond, a date-only to as a whole day.
func TestWindow(t *testing.T) {
	t.Parallel()
	for query, days := range map[string]float64{
		"from=2026-06-01&to=2026-06-01":                                     1,
		"from=2026-06-01&to=2026-07-01":                                     31,
		"from=2026-06-01T00:00:00Z&to=2026-07-02T00:00:00Z":                 31,
		"from=2026-06-01T12:00:00Z&to=2026-06-01":                           0.5,
		"from=2026-06-01T00:00:00%2B02:00&to=2026-06-01T00:00:00%2B02:00":   0,
		"from=2026-06-01T00:00:00.000001Z&to=2026-07-02":                    0,
		"from=2026-06-01T00:00:00.000001Z&to=2026-07-02T00:00:00.000001Z":   31,
		"from=2026-06-01T00:00:00.000001Z&to=2026-07-02T00:00:00.00000199Z": 31,
		"from=2026-06-01T00:00:00.000001Z&to=2026-07-02T00:00:00.000002Z":   0,
	} {
		p, err := readQuery(httptest.NewRequest(http.MethodGet, "/?"+query, nil))
		if err != nil {
			t.Fatal(err)
		}
		from, to := p.window(&dataset.Window{Days: 31})
		err = p.finish()
		if (err == nil) != (days > 0) || err == nil && to.Sub(from) != time.Duration(days*24*float64(time.Hour)) {
			t.Errorf("window(%s) = %s to %s, %v, want %g days", query, from, to, err, days)
		}
	}
}
