package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"exportd/internal/e2e/e2etest"
	"exportd/jobs"
)

// linkFront is the address by which callers reach an API, which moves.
type linkFront struct {
	*httptest.Server
	to atomic.Pointer[url.URL]
}

func newLinkFront(t *testing.T) *linkFront {
	t.Helper()
	f := &linkFront{}
	f.Server = httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(f.to.Load())
		r.Out.Host = f.to.Load().Host
	}})
	t.Cleanup(f.Close)
	return f
}

func (f *linkFront) leadTo(t *testing.T, api string) {
	t.Helper()
	u, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	f.to.Store(u)
}

// TestLinksOfOurOwn: csvUrl and the link of a callback lead through the API to the file, also in pieces; each
// download is on record, also after a kill -9; what is revoked in one process is refused in another, at once
// for a link and a job, and within filelink.Seen for an org; links outlive all processes; and no log holds
// one.
func TestLinksOfOurOwn(t *testing.T) {
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir())
	front := newLinkFront(t)
	env := append([]string{"EXPORTD_LINKS_URL=" + front.URL, "EXPORTD_KEYSET_FILE=" + filepath.Join(t.TempDir(), "keyset.json"), "EXPORTD_LOG_LEVEL=debug"}, callbackSettings...)
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 300, Messages: 50}, env...)
	front.leadTo(t, s.APIURL)
	other, otherURL := e2etest.API(t, exportd, hosts, env...)
	worker := e2etest.Worker(t, exportd, hosts, env...)
	called := make(chan string, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var event struct {
			Data struct{ CSVURL string } `json:"data"`
		}
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			t.Error(err)
		}
		select {
		case called <- event.Data.CSVURL:
		default: // it may come twice
		}
	}))
	t.Cleanup(receiver.Close)

	job, file := s.Caller().Export(t, "vip-users", s.Users("callbackUrl", receiver.URL))
	if !strings.HasPrefix(*job.CSVURL, front.URL+"/files/") {
		t.Fatalf("csvUrl is %s", *job.CSVURL)
	}
	inOther := func(link string) string { return otherURL + strings.TrimPrefix(link, front.URL) }
	links := []string{*job.CSVURL, <-called}
	for _, link := range links {
		if got := e2etest.Download(t, inOther(link)).Body; !bytes.Equal(got, file) {
			t.Errorf("by %d bytes of link the file differs: %s", len(link), firstDifference(got, file))
		}
	}
	piece, err := e2etest.Follow(t.Context(), links[0], "Range", "bytes=100-199")
	if err != nil || piece.Status != http.StatusPartialContent || !bytes.Equal(piece.Body, file[100:200]) {
		t.Errorf("a piece is %d, %q, %v", piece.Status, piece.Body, err)
	}
	head, err := e2etest.Send(t.Context(), http.MethodHead, links[0], nil, nil)
	if err != nil || head.Status != http.StatusOK || head.Header.Get("Content-Length") != strconv.Itoa(len(file)) {
		t.Errorf("HEAD is %d, %v", head.Status, err)
	}
	// Three downloads of a kind, and the one by the other API, were written before the file was given away.
	s.Process.Kill()
	other.Kill()
	third, thirdURL := e2etest.API(t, exportd, hosts, env...)
	front.leadTo(t, thirdURL)
	ops := s.Operator()
	ops.URL = thirdURL
	var record struct {
		Total     int64
		Downloads []struct {
			Asker, Address string
			LinkID         string
		}
	}
	ops.Get(t, "/ops/jobs/"+job.JobID+"/downloads", nil).Want(t, http.StatusOK).JSON(t, &record)
	askers := map[string]string{}
	for _, d := range record.Downloads {
		askers[d.Asker] = d.LinkID
		if d.Address != "127.0.0.1" || !jobs.ValidLink(d.LinkID) {
			t.Errorf("on record is %+v", d)
		}
	}
	if record.Total < 3 || len(askers) != 2 || askers["api key "+s.APIKey] == "" || askers["callback of api key "+s.APIKey] == "" {
		t.Errorf("on record are %d downloads, of %v", record.Total, askers)
	}

	fourth, fourthURL := e2etest.API(t, exportd, hosts, env...)
	status := func(link string) int {
		t.Helper()
		r, err := e2etest.Send(t.Context(), http.MethodHead, fourthURL+strings.TrimPrefix(link, front.URL), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	revoke := func(path, body string) {
		t.Helper()
		ops.Do(t, http.MethodPost, path, nil, strings.NewReader(body)).Want(t, http.StatusOK)
	}
	for _, link := range links {
		if got := status(link); got != http.StatusOK {
			t.Errorf("after all processes are others, a link is answered %d", got)
		}
	}
	revoke("/ops/jobs/"+job.JobID+"/links/revoke", `{"linkId":"`+askers["callback of api key "+s.APIKey]+`","reason":"sent on"}`)
	if a, b := status(links[0]), status(links[1]); a != http.StatusOK || b != http.StatusGone {
		t.Errorf("after one was revoked, links are answered %d and %d", a, b)
	}
	revoke("/ops/jobs/"+job.JobID+"/links/revoke", `{"reason":"sent on"}`)
	if got := status(links[0]); got != http.StatusGone {
		t.Errorf("after all of the job were revoked, a link is answered %d", got)
	}
	caller := s.Caller()
	caller.URL = thirdURL
	next := func() string { return *caller.Job(t, job.JobID, "").CSVURL }
	links = append(links, next())
	if got := status(links[2]); got != http.StatusOK {
		t.Fatalf("a link that was handed out afterwards is answered %d", got)
	}
	revoke("/ops/links/revoke", `{"orgId":"`+s.OrgID+`","reason":"a laptop is lost"}`)
	e2etest.Until(t, jobWithin, "the other API to refuse the link", func() bool { return status(links[2]) == http.StatusGone })
	links = append(links, next())
	if got := status(links[3]); got != http.StatusOK {
		t.Errorf("a link of the org's that was handed out afterwards is answered %d", got)
	}
	for _, p := range []*e2etest.Process{s.Process, other, worker, third, fourth} {
		for _, link := range links {
			if strings.Contains(p.Stderr(), strings.TrimPrefix(link, front.URL+"/files/")) {
				t.Error("a log holds a link")
			}
		}
	}
}
