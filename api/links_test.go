package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"exportd/internal/apikey"
	"exportd/internal/filelink"
	"exportd/jobs"
)

func (f *fakeJobs) LinkGeneration(ctx context.Context, orgID string) (int64, error) {
	return f.memory.LinkGeneration(ctx, orgID)
}

func (f *fakeJobs) RevokeOrgLinks(ctx context.Context, orgID, actor, reason string) (int64, error) {
	return f.memory.RevokeOrgLinks(ctx, orgID, actor, reason)
}

func (f *fakeJobs) NoteDownloads(ctx context.Context, downloads ...jobs.Download) error {
	f.noted.Add(1)
	if f.cannotNote {
		return jobs.ErrUnavailable
	}
	return f.memory.NoteDownloads(ctx, downloads...)
}

func (f *fakeJobs) Downloads(ctx context.Context, l jobs.DownloadList) ([]jobs.Download, int64, string, error) {
	l.PageToken = strings.Trim(l.PageToken, "x") // those of TestEdges are of any length
	return f.memory.Downloads(ctx, l)
}

const linkBase = "https://exports.example.com"

// linkBench is a server whose csvUrl is a link of its own, with a clock that tests move.
type linkBench struct {
	*bench
	ahead atomic.Int64
	job   *jobs.Job
}

func newLinkBench(t *testing.T) *linkBench {
	t.Helper()
	sealer, err := apikey.PassingSealer()
	if err != nil {
		t.Fatal(err)
	}
	l := &linkBench{}
	now := func() time.Time { return noon.Add(time.Duration(l.ahead.Load())) }
	l.bench = newBench(t, func(c *Config) {
		c.Now = now
		if c.Links, err = filelink.New(filelink.Config{Base: linkBase, Sealer: sealer, Store: c.Operations, Now: now}); err != nil {
			t.Fatal(err)
		}
	})
	l.job = l.jobs.set(withFile())
	return l
}

// link gives the path of a fresh link to the job's file.
func (l *linkBench) link(t *testing.T) string {
	t.Helper()
	w := l.get(t, "/exports/"+l.job.ID)
	wantStatus(t, w, http.StatusOK)
	url, _ := decode(t, w)["csvUrl"].(string)
	path, ok := strings.CutPrefix(url, linkBase)
	if !ok || !strings.HasPrefix(path, filelink.Path) {
		t.Fatalf("csvUrl is %q", url)
	}
	return path
}

// follow asks for a link as nobody in particular.
func (l *linkBench) follow(t *testing.T, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return l.do(r)
}

// revoke asks as an operator.
func (l *linkBench) revoke(t *testing.T, path, body string, want int) {
	t.Helper()
	r := request(t, "key_ops1", http.MethodPost, path)
	r.Body, r.ContentLength = readCloser{strings.NewReader(body)}, int64(len(body))
	wantStatus(t, l.do(r), want)
}

func (l *linkBench) onRecord(t *testing.T) ([]jobs.Download, int64) {
	t.Helper()
	l.downloads.flush(t.Context())
	page, total, _, err := l.jobs.memory.Downloads(t.Context(), jobs.DownloadList{JobID: l.job.ID})
	if err != nil {
		t.Fatal(err)
	}
	return page, total
}

// revoked counts the downloads whose links operators see as revoked.
func (l *linkBench) revoked(t *testing.T) (n int) {
	t.Helper()
	w := l.do(request(t, "key_ops1", http.MethodGet, "/ops/jobs/"+l.job.ID+"/downloads"))
	wantStatus(t, w, http.StatusOK)
	for _, d := range decode(t, w)["downloads"].([]any) {
		if d.(map[string]any)["revoked"].(bool) {
			n++
		}
	}
	return n
}

// TestLink: csvUrl is a link of the service's own that lives as long as the file, leads to a signed URL of a
// minute, and is on record with who asked for it and who followed it. HEAD looks and is no download.
func TestLink(t *testing.T) {
	t.Parallel()
	l := newLinkBench(t)
	path := l.link(t)
	body := decode(t, l.get(t, "/exports/"+l.job.ID))
	if body["csvUrlExpiresAt"] != body["fileExpiresAt"] {
		t.Errorf("a link lives until %v, its file until %v", body["csvUrlExpiresAt"], body["fileExpiresAt"])
	}
	if l.objects.ttl != 0 {
		t.Error("a signature was made for a link")
	}
	w := l.follow(t, http.MethodHead, path)
	wantStatus(t, w, http.StatusOK)
	if h := w.Header(); h.Get("Content-Length") != "99" || h.Get("X-Goog-Hash") != "crc32c=AAAAAQ==" || h.Get("Accept-Ranges") != "bytes" || h.Get("Location") != "" {
		t.Errorf("HEAD gives %v", h)
	}
	if page, total := l.onRecord(t); total != 0 {
		t.Errorf("HEAD is on record: %v", page)
	}
	w = l.follow(t, http.MethodGet, path, "User-Agent", "curl/8.7 \xff"+strings.Repeat("x", 500))
	wantStatus(t, w, http.StatusFound)
	if h := w.Header(); !strings.HasPrefix(h.Get("Location"), signedURLPrefix) || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("GET gives %v", h)
	}
	if l.objects.ttl != time.Minute {
		t.Errorf("the signed URL lives for %s", l.objects.ttl)
	}
	page, total := l.onRecord(t)
	if total != 1 || page[0].Asker != "api key key_one1" || page[0].Address != "192.0.2.1" || page[0].OrgID != "org1" ||
		!strings.HasPrefix(page[0].UserAgent, "curl/8.7 x") || len(page[0].UserAgent) > 200 || !jobs.ValidLink(page[0].LinkID) || page[0].Check(noon) != "" {
		t.Errorf("on record is %+v", page)
	}
	// The job's own route is on record too, and needs no link. What it leads to cannot be revoked either.
	wantStatus(t, l.get(t, "/exports/"+l.job.ID+"/csv"), http.StatusFound)
	if l.objects.ttl != time.Minute {
		t.Errorf("the signed URL of the job's own route lives for %s", l.objects.ttl)
	}
	w = l.do(request(t, "key_ops1", http.MethodGet, "/ops/jobs/"+l.job.ID+"/downloads"))
	wantStatus(t, w, http.StatusOK)
	if body := decode(t, w); body["total"] != 2.0 || len(body["downloads"].([]any)) != 2 || l.revoked(t) != 0 {
		t.Errorf("operators see %v", body)
	}
	wantStatus(t, l.do(request(t, "key_ops1", http.MethodGet, "/ops/jobs/"+jobs.NewID()+"/downloads")), http.StatusNotFound)
	wantStatus(t, l.do(request(t, "key_ops1", http.MethodGet, "/ops/jobs/x/downloads")), http.StatusNotFound)
	if strings.Contains(l.log.String(), strings.TrimPrefix(path, filelink.Path)) || strings.Contains(l.log.String(), signedURLPrefix) {
		t.Errorf("the log holds a link: %s", l.log)
	}
	if !strings.Contains(l.log.String(), `"route":"/files/:token"`) || !strings.Contains(l.log.String(), `"job_id":"`+l.job.ID) {
		t.Errorf("the log does not say what was asked for: %s", l.log)
	}
}

// TestExportGivesLink: the answer to an export has the same kind of link.
func TestExportGivesLink(t *testing.T) {
	t.Parallel()
	l := newLinkBench(t)
	l.jobs.attach = l.job
	w := l.get(t, usersExport)
	wantStatus(t, w, http.StatusOK)
	url, _ := decode(t, w)["csvUrl"].(string)
	wantStatus(t, l.follow(t, http.MethodGet, strings.TrimPrefix(url, linkBase)), http.StatusFound)
}

// TestVoidLinks: what takes a link back, each by itself. All are answered alike, by a page where a browser
// asks.
func TestVoidLinks(t *testing.T) {
	t.Parallel()
	revoke := func(path, body string) func(*testing.T, *linkBench) {
		return func(t *testing.T, l *linkBench) {
			l.revoke(t, strings.Replace(path, "JOB", l.job.ID, 1), strings.Replace(body, "LINK", linkOf(t, l), 1), http.StatusOK)
		}
	}
	change := func(fn func(*jobs.Job)) func(*testing.T, *linkBench) {
		return func(_ *testing.T, l *linkBench) { j := *l.job; fn(&j); l.jobs.set(j) }
	}
	for name, void := range map[string]func(*testing.T, *linkBench){
		"revoked":        revoke("/ops/jobs/JOB/links/revoke", `{"linkId":"LINK","reason":"r"}`),
		"all of the job": revoke("/ops/jobs/JOB/links/revoke", `{"reason":"r"}`),
		"all of the org": revoke("/ops/links/revoke", `{"orgId":"org1","reason":"r"}`),
		"file expired":   func(_ *testing.T, l *linkBench) { l.ahead.Store(int64(25 * time.Hour)) },
		"file lost": func(_ *testing.T, l *linkBench) {
			l.objects.lost = map[string]bool{l.job.Result.Object: true}
			l.ahead.Store(int64(fileSeen))
		},
		"key revoked": func(_ *testing.T, l *linkBench) {
			l.keys.alter("key_one1", func(k *apikey.Key) { k.State = apikey.Disabled })
		},
		"key of another org":  func(_ *testing.T, l *linkBench) { l.keys.alter("key_one1", func(k *apikey.Key) { k.OrgID = "org2" }) },
		"key gone":            func(_ *testing.T, l *linkBench) { l.keys.alter("key_one1", func(k *apikey.Key) { k.ID = "key_other" }) },
		"job deleted":         change(func(j *jobs.Job) { j.DeletedAt = noon }),
		"job of another run":  change(func(j *jobs.Job) { j.Result.Object = j.ObjectPrefix() + "2/users.csv" }),
		"job runs again":      change(func(j *jobs.Job) { j.State = jobs.Running }),
		"record has had time": func(_ *testing.T, l *linkBench) { delete(l.jobs.jobs, l.job.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLinkBench(t)
			path := l.link(t)
			wantStatus(t, l.follow(t, http.MethodGet, path), http.StatusFound)
			void(t, l)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				w := l.follow(t, method, path)
				wantStatus(t, w, http.StatusGone)
				if body := decode(t, w); len(body) != 1 || body["message"] != textLinkGone || w.Header().Get("Location") != "" {
					t.Errorf("%s gives %v", method, body)
				}
			}
			w := l.follow(t, http.MethodGet, path, "Accept", "text/html,*/*;q=0.8")
			wantStatus(t, w, http.StatusGone)
			if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || !strings.Contains(w.Body.String(), textLinkGone) {
				t.Errorf("a browser gets %s", w.Body)
			}
			if _, total := l.onRecord(t); total != 1 && l.job != nil && name != "record has had time" {
				t.Errorf("%d downloads are on record, want that of before", total)
			}
			l.ahead.Store(0) // requests are signed by the first clock
			if revoked := l.revoked(t) == 1; revoked != slices.Contains([]string{"revoked", "all of the job", "all of the org"}, name) {
				t.Errorf("its link is told to be revoked: %t", revoked)
			}
		})
	}
}

// linkOf is the id of the one link that was followed.
func linkOf(t *testing.T, l *linkBench) string {
	t.Helper()
	page, _ := l.onRecord(t)
	if len(page) != 1 {
		t.Fatalf("on record is %v", page)
	}
	return page[0].LinkID
}

// TestStillGoodLinks: what takes no link back: another one revoked, another job's, another org's, a key that
// has expired; and links that are handed out afterwards work.
func TestStillGoodLinks(t *testing.T) {
	t.Parallel()
	l := newLinkBench(t)
	path := l.link(t)
	ofJob := func(j *jobs.Job) string { return "/ops/jobs/" + j.ID + "/links/revoke" }
	const ofOrg = "/ops/links/revoke"
	l.revoke(t, ofJob(l.job), `{"linkId":"`+jobs.NewID()+`","reason":"r"}`, http.StatusOK)
	l.revoke(t, ofJob(l.jobs.set(withFile())), `{"reason":"r"}`, http.StatusOK)
	l.revoke(t, ofOrg, `{"orgId":"org2","reason":"r"}`, http.StatusOK)
	l.keys.alter("key_one1", func(k *apikey.Key) { k.ExpiresAt = noon.Add(time.Second) })
	l.ahead.Store(int64(2 * time.Second))
	wantStatus(t, l.follow(t, http.MethodGet, path), http.StatusFound)
	l.keys.alter("key_one1", func(k *apikey.Key) { k.ExpiresAt = time.Time{} })
	l.ahead.Store(0)
	for target, body := range map[string]string{ofOrg: `{"orgId":"org1","reason":"r"}`, ofJob(l.job): `{"reason":"r"}`} {
		l.revoke(t, target, body, http.StatusOK)
		wantStatus(t, l.follow(t, http.MethodGet, path), http.StatusGone)
		path = l.link(t)
		wantStatus(t, l.follow(t, http.MethodGet, path), http.StatusFound)
	}
	if n := l.revoked(t); n != 2 {
		t.Errorf("of three links two were revoked, operators see %d", n)
	}
	for _, body := range []string{`{"reason":"r"}`, `{"orgId":"org1"}`, `{"orgId":"a/b","reason":"r"}`, `{"orgId":"org1","jobId":"x","reason":"r"}`} {
		l.revoke(t, ofOrg, body, http.StatusUnprocessableEntity)
	}
	for _, body := range []string{`{}`, `{"linkId":"x","reason":"r"}`, `{"orgId":"org1","reason":"r"}`} {
		l.revoke(t, ofJob(l.job), body, http.StatusUnprocessableEntity)
	}
	l.revoke(t, ofJob(&jobs.Job{ID: jobs.NewID()}), `{"reason":"r"}`, http.StatusNotFound)
	l.revoke(t, ofJob(l.jobs.set(jobs.Job{ID: jobs.NewID(), Schema: jobs.SchemaVersion, State: jobs.Canceled})), `{"reason":"r"}`, http.StatusConflict)
}

// TestNoLinks: what is no link of this service costs no read and is answered alike, whatever is wrong with
// it; so is every link where there are none.
func TestNoLinks(t *testing.T) {
	t.Parallel()
	l := newLinkBench(t)
	path := l.link(t)
	calls := l.jobs.calls
	stranger := newLinkBench(t)
	token := strings.TrimPrefix(path, filelink.Path)
	for i, no := range []string{
		"x", "aGVsbG8", token + "A", token[:len(token)-1], token[1:], strings.Repeat("A", len(token)), strings.Repeat("A", 1025), token + "=", "%00", "..%2f" + token,
		strings.TrimPrefix(stranger.link(t), filelink.Path), l.job.ID,
	} {
		w := l.follow(t, http.MethodGet, filelink.Path+no)
		wantStatus(t, w, http.StatusNotFound)
		if body := decode(t, w); len(body) != 1 || body["message"] != textNoLink && !strings.Contains(no, "2f") {
			t.Errorf("token %d gives %v", i, body)
		}
	}
	if l.jobs.calls != calls {
		t.Errorf("%d reads for what is no link", l.jobs.calls-calls)
	}
	off := newBench(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	wantStatus(t, off.do(r), http.StatusNotFound)
	if strings.Contains(l.log.String()+off.log.String(), token) {
		t.Error("the log holds a link")
	}
}

// TestLinksAreThrottled: one address can follow so many links and no more, good or not.
func TestLinksAreThrottled(t *testing.T) {
	t.Parallel()
	l := newLinkBench(t)
	l.drain() // refusals are not held back
	for range linkRate.Burst {
		wantStatus(t, l.follow(t, http.MethodGet, filelink.Path+"x"), http.StatusNotFound)
	}
	w := l.follow(t, http.MethodGet, filelink.Path+"x")
	wantStatus(t, w, http.StatusTooManyRequests)
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
	}
	l.ahead.Store(int64(time.Second))
	wantStatus(t, l.follow(t, http.MethodGet, filelink.Path+"x"), http.StatusNotFound)
}

// TestDownloadsAreFew: a loop is written down at once and then all together; a crowd is no longer told apart;
// and nobody is led to a file whom nobody could write down.
func TestDownloadsAreFew(t *testing.T) {
	t.Parallel()
	l := newLinkBench(t)
	path := l.link(t)
	for range 50 {
		wantStatus(t, l.follow(t, http.MethodGet, path), http.StatusFound)
	}
	page, total := l.onRecord(t)
	if len(page) != 1 || total != 50 || l.jobs.noted.Load() != 2 {
		t.Errorf("50 downloads are %d on record, in %d documents, by %d writes", total, len(page), l.jobs.noted.Load())
	}
	l.downloads.flush(t.Context())
	if n := l.jobs.noted.Load(); n != 2 {
		t.Errorf("%d writes, although there is nothing to write", n)
	}
	l.jobs.cannotNote = true
	l.ahead.Store(int64(time.Hour)) // the next is the first of its hour
	w := l.follow(t, http.MethodGet, path)
	wantStatus(t, w, http.StatusServiceUnavailable)
	if w.Header().Get("Location") != "" {
		t.Error("who is not on record is led to the file")
	}
	l.jobs.cannotNote = false
	wantStatus(t, l.follow(t, http.MethodGet, path), http.StatusFound)
	wantStatus(t, l.follow(t, http.MethodGet, path), http.StatusFound)
	l.jobs.cannotNote = true
	l.downloads.flush(t.Context())
	l.jobs.cannotNote = false
	if _, total := l.onRecord(t); total != 52 {
		t.Errorf("%d are on record, want 52: what could not be written waits", total)
	}
	for i := range 2 * downloadsOfJob {
		d := jobs.NewDownload(l.job, "", "me", fmt.Sprint("2001:db8::", i), "x", noon.Add(3*time.Hour))
		if err := l.downloads.note(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	l.downloads.flush(t.Context())
	kinds, others := 0, int64(0)
	for token := ""; ; {
		page, _, next, err := l.jobs.memory.Downloads(t.Context(), jobs.DownloadList{JobID: l.job.ID, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page {
			if d.Asker == "me" {
				kinds++
			}
			if d.Asker == "me" && d.Address == "" {
				others += d.Count
			}
		}
		if token = next; token == "" {
			break
		}
	}
	if kinds != downloadsOfJob+1 || others != downloadsOfJob {
		t.Errorf("%d downloads are %d documents, of which one has %d", 2*downloadsOfJob, kinds, others)
	}
	for i := range 2 * downloadsHeld {
		j := &jobs.Job{ID: fmt.Sprint("job", i), OrgID: "org1"}
		if err := l.downloads.note(t.Context(), jobs.NewDownload(j, "", "me", "", "", noon.Add(3*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.downloads.known); n > downloadsHeld {
		t.Errorf("%d downloads are held", n)
	}
}

// TestLedNowhere: who cannot be led to the file, as no URL can be signed, is not counted.
func TestLedNowhere(t *testing.T) {
	t.Parallel()
	l := newLinkBench(t)
	path := l.link(t)
	l.objects.err = jobs.ErrUnavailable
	wantStatus(t, l.follow(t, http.MethodGet, path), http.StatusServiceUnavailable)
	wantStatus(t, l.get(t, "/exports/"+l.job.ID+"/csv"), http.StatusServiceUnavailable)
	if page, total := l.onRecord(t); total != 0 {
		t.Errorf("on record is %v", page)
	}
}

// TestUnreadableLinks: where it cannot be told whether a link is good, nobody is led anywhere, and is told to
// come again.
func TestUnreadableLinks(t *testing.T) {
	t.Parallel()
	l := newLinkBench(t)
	path := l.link(t)
	l.jobs.fail(errors.Join(jobs.ErrUnavailable, errors.New("no answer")))
	w := l.follow(t, http.MethodGet, path, "Accept", "text/html")
	wantStatus(t, w, http.StatusServiceUnavailable)
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}
