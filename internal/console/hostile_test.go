package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/html"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// hostile is what somebody would write who may write anything.
const hostile = `"><script>window.ran=1</script><img src=x onerror="window.ran=2">'` + "`${7*7}`{{.}}</textarea></title></style>" +
	"\u202Etxt.exe\u202C\u2066\u200Bx\x00\x1b[31m\x07\u0085\uFEFF\u2028<svg/onload=window.ran=3> javascript:window.ran=4"

// hostileDesk has it in every field that anybody outside writes.
func hostileDesk(t *testing.T) (d *desk, paths []string) {
	t.Helper()
	d = open(t)
	long := strings.Repeat("W", 10_000)
	bad := d.failed("org1", "https://hooks.example/"+url.PathEscape(hostile), jobs.CodeMissingIndex, hostile, hostile+" https://console.firebase.google.com/x\"onmouseover=alert(1) "+long[:2000])
	d.answered(bad, hostile+long[:1500])
	wide := d.failed(strings.Repeat("o", 100), "", jobs.CodeInternal, long[:4000], long[:4000])
	params := d.submitted("org2", "", jobs.Params{"workspaceId": hostile, "label": hostile + strings.Repeat("l", 1000), "mediumId": strings.Repeat("ش", 300)})
	parts := d.planned("org3", 3, hostile)
	for _, id := range []string{params.ID} {
		d.transit(id, func(tx *jobs.Tx) error { return tx.Cancel(hostile) })
	}
	if err := d.store.SetPaused(t.Context(), jobs.QueueExports, true, hostile, hostile); err != nil {
		t.Fatal(err)
	}
	if err := d.store.NoteDead(t.Context(), jobs.QueueExports, hostile+long); err != nil {
		t.Fatal(err)
	}
	if err := d.store.ShowAlive(t.Context(), jobs.Worker{ID: hostile}, 1e12); err != nil {
		t.Fatal(err)
	}
	exact := d.failedBy("org1", "", jobs.CodeStorageDenied, hostile, hostile+" https://console.firebase.google.com/x\"onmouseover=alert(1)", hostile)
	b, err := d.store.CreateBatch(t.Context(), jobs.BatchRequest{Filter: jobs.BatchFilter{OrgID: "org1", WorkspaceID: hostile}, Mode: jobs.RerunResume, Reason: hostile, Actor: hostile, MaxPerSecond: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.store.ChangeReceiver(t.Context(), "org1", "https://hooks.example", "https://hooks.example", func(r *jobs.Receiver) {
		r.SuspendedAt, r.Why = d.clock(), hostile
	}); err != nil {
		t.Fatal(err)
	}
	d.change("key_reader", func(k *apikey.Key) { k.Name, k.OrgID = hostile+long[:100], "org9" })
	d.change("key_operator", func(k *apikey.Key) { k.Name, k.Scopes = hostile, append(k.Scopes, apikey.ScopePlatform) })
	q := url.QueryEscape(hostile)
	paths = []string{
		"/console/causes", "/console/causes/" + causeOf(exact), "/console/causes/" + url.PathEscape(hostile), "/console/causes?since=" + q, "/console/batches", "/console/batches/" + b.ID, "/console/callbacks", "/console/callbacks?state=" + q + "&origin=" + q,
		"/console/audit", "/console/audit?actor=" + q + "&since=" + q, "/console/act?do=rerun-cause&cause=" + causeOf(exact), "/console/act?do=rerun-cause&cause=" + q, "/console/act?do=cancel-batch&batch=" + q,
		"/console", "/console?orgId=" + q, "/console?since=" + q, "/console/jobs", "/console/jobs?orgId=" + q, "/console/jobs?state=" + q + "&createdAfter=" + q + "&errorCode=" + q + "&kind=" + q + "&pageToken=" + q,
		"/console/jobs/" + bad.ID, "/console/jobs/" + wide.ID, "/console/jobs/" + params.ID, "/console/jobs/" + parts.ID, "/console/jobs/" + url.PathEscape(hostile),
		"/console/act?do=rerun&id=" + bad.ID + "&id=" + q, "/console/act?do=rerun&all=1&workspaceId=" + q, "/console/act?do=rerun&all=1&errorCode=" + q, "/console/act?do=pause&queue=" + q,
		"/console/act?do=resume-receiver&orgId=" + q + "&origin=" + q, "/console/act?do=" + q, "/console/keys", "/console/keys?orgId=" + q, "/console/sign-in?next=" + q, "/console/" + url.PathEscape(hostile), "/console?said=" + q,
	}
	return d, paths
}

// What anybody wrote is shown as the text that it is, with what would hide or reorder it made visible.
func TestHostileText(t *testing.T) {
	t.Parallel()
	d, paths := hostileDesk(t)
	p := d.signedIn("key_operator")
	shown := 0
	for _, path := range paths {
		a := p.get(path)
		if a.status >= http.StatusInternalServerError {
			t.Errorf("%s = %d", path, a.status)
		}
		shown += strings.Count(a.body, "window.ran=1")
		if i := strings.IndexFunc(a.body, func(r rune) bool {
			return r != '\n' && r != '\t' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Bidi_Control, r) || r == 0x200b || r == 0xfeff || r == 0x2028)
		}); i >= 0 {
			t.Errorf("%s has %q", path, a.body[max(0, i-40):i+4])
		}
		harmless(t, path, a.body)
	}
	if shown < 30 {
		t.Errorf("the hostile text was shown %d times: the test tests little", shown)
	}
	if body := p.get("/console").body; !strings.Contains(body, "[U+202E]txt.exe[U+202C][U+2066][U+200B]x") || !strings.Contains(body, "␛[31m␇[U+0085]") {
		t.Errorf("what is hidden is not made visible: %s", body)
	}
	t.Logf("%d pages, the text shown %d times", len(paths), shown)
}

// harmless looks whether a page has an element or an attribute that runs, loads or leads elsewhere.
func harmless(t *testing.T, path, page string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			return
		}
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			continue
		}
		tag := z.Token()
		switch tag.Data {
		case "img", "iframe", "object", "embed", "base", "style", "textarea", "template", "math", "video", "audio":
			t.Errorf("%s has a %s", path, tag)
		}
		for _, a := range tag.Attr {
			value := strings.ToLower(strings.TrimSpace(a.Val))
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc", strings.HasPrefix(value, "javascript:") && a.Key != "value":
				t.Errorf("%s has %s", path, tag)
			case tag.Data == "script" && (a.Key == "src" && !strings.HasPrefix(value, "/console/assets/console.js?")):
				t.Errorf("%s has %s", path, tag)
			case a.Key == "href" || a.Key == "action":
				if !strings.HasPrefix(value, "/console") && value != "#main" && !strings.HasPrefix(value, "https://console.firebase.google.com/") && !strings.HasPrefix(value, "https://logs.example/") {
					t.Errorf("%s leads to %q", path, a.Val)
				}
			}
		}
	}
}
