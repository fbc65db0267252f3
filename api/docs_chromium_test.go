//go:build chromium

package api

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
)

var screenshots = flag.String("screenshots", "", "folder for pictures of what Chromium shows")

// injected is what somebody who could write into the page would try: markup that the page would run,
// load or send without its policy.
const injected = `<script>window.ran = ["inline"]</script>
<script src="data:text/javascript,(window.ran ||= []).push('data')"></script>
<script src="%[1]s/other.js"></script>
<script type="module" src="%[1]s/other.mjs"></script>
<img id="image" src="nowhere:" onerror="(window.ran ||= []).push('handler')">
<iframe srcdoc="<script>parent.ran = ['frame']</script>"></iframe>
<iframe src="%[1]s/frame"></iframe>
<link rel="stylesheet" href="%[1]s/other.css">
<img src="%[1]s/image.png">
<style>body { background: url(%[1]s/style.png) }</style>
<object data="%[1]s/object"></object>
<base href="%[1]s/">
<iframe name="sink"></iframe><form id="form" action="%[1]s/form" method="post" target="sink"></form>`

// attempts are what a script would do that did run, each of which the policy stops: they tell what came of it.
const attempts = `(async () => {
  const came = [];
  const add = (tag, set) => new Promise(done => {
    const e = document.createElement(tag);
    e.onload = () => done("ran"); e.onerror = () => done("blocked");
    set(e); document.body.append(e);
    if (tag === "script" && !e.src) done("inline");
  });
  await add("script", e => e.textContent = "(window.ran ||= []).push('added')");
  came.push("script " + await add("script", e => e.src = "ORIGIN/added.js"));
  came.push("blob " + await add("script", e => e.src = URL.createObjectURL(new Blob(["window.ran = ['blob']"]))));
  for (const run of [() => eval("1"), () => Function("return 1")()]) {
    try { run(); came.push("eval ran"); } catch { came.push("eval blocked"); }
  }
  await fetch("ORIGIN/fetch").then(() => came.push("fetch ran"), () => came.push("fetch blocked"));
  came.push("beacon " + (navigator.sendBeacon("ORIGIN/beacon", "x") ? "sent" : "blocked"));
  document.getElementById("form")?.submit();
  const a = document.createElement("a"); a.href = "javascript:window.ran=['url']"; document.body.append(a); a.click();
  const frame = document.createElement("iframe"); frame.src = "javascript:parent.ran=['frame url']"; document.body.append(frame);
  await new Promise(done => setTimeout(done, 300));
  return came;
})()`

// rendered waits until the page shows as many operations as there are, and tells their names.
const rendered = `new Promise((done, fail) => {
  const shown = () => [...document.querySelectorAll(".opblock")].map(b =>
    b.querySelector(".opblock-summary-method").textContent + " " + b.querySelector("[data-path]").dataset.path);
  const look = () => { if (shown().length >= COUNT) { watch.disconnect(); clearTimeout(late); done(shown()); } };
  const watch = new MutationObserver(look);
  watch.observe(document, {childList: true, subtree: true, attributes: true});
  const late = setTimeout(() => done(shown()), 20000);
  look();
})`

// TestDocsInChromium opens the documentation in a browser, under the policy that the server gives it: it
// shows each operation and asks for nothing that the policy would have to stop. What is injected
// into the page does not run and reaches no other origin; without the policy it does both.
func TestDocsInChromium(t *testing.T) {
	s := newBench(t).Server
	other := make(chan string, 1000)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = fmt.Fprint(w, "window.ran = ['other origin']")
		other <- r.URL.Path
	}))
	defer elsewhere.Close()
	hurt := strings.ReplaceAll(injected, "%[1]s", elsewhere.URL)
	// The page as it is, with what was injected, and that without the policy.
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what, path, _ := strings.Cut(r.URL.Path[1:], "/")
		if what != "injected" && what != "open" {
			s.ServeHTTP(w, r)
			return
		}
		r.URL.Path = "/" + path
		if path != "docs" {
			s.ServeHTTP(w, r)
			return
		}
		r.Header.Del("Accept-Encoding")
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, r)
		for name, values := range answer.Header() {
			if name != "Content-Length" && name != "Etag" && (what != "open" || name != "Content-Security-Policy") {
				w.Header()[name] = values
			}
		}
		_, _ = fmt.Fprint(w, strings.Replace(answer.Body.String(), "</body>", hurt+"</body>", 1))
	}))
	defer home.Close()
	var want []string
	for _, o := range contract.operations {
		want = append(want, o.name)
	}
	want = append(want, "POST exportEnded") // the webhook
	slices.Sort(want)

	for _, page := range []string{"docs", "docs?open=all"} {
		p := newPage(t, home.URL+"/"+page)
		var got []string
		p.eval(strings.ReplaceAll(rendered, "COUNT", fmt.Sprint(len(want))), &got)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("/%s shows %d operations, want %d:\n%q\n%q", page, len(got), len(want), got, want)
		}
		p.shoot(page)
		said := p.said()
		if len(said) > 0 {
			t.Errorf("/%s: %d violations, errors and warnings: %q", page, len(said), said)
		}
		t.Logf("/%s: %d operations, %d violations", page, len(got), len(said))
		p.close()
	}
	var ran, came []string
	p := newPage(t, home.URL+"/injected/docs")
	p.eval(strings.ReplaceAll(attempts, "ORIGIN", elsewhere.URL), &came)
	p.eval("window.ran || []", &ran)
	said := p.said()
	p.shoot("injected")
	p.close()
	if len(ran) > 0 || slices.ContainsFunc(came, func(c string) bool { return !strings.HasSuffix(c, " blocked") && c != "beacon sent" }) {
		t.Errorf("under the policy ran %q, and of a script's attempts came %q", ran, came)
	}
	if len(other) > 0 {
		t.Errorf("under the policy another origin was asked for %q", <-other)
	}
	if len(said) < 10 {
		t.Errorf("Chromium speaks of %d violations: %q", len(said), said)
	}
	t.Logf("injected: nothing ran, nothing left; %d violations; of what a script tries came %q", len(said), came)

	p = newPage(t, home.URL+"/open/docs") // the control
	p.eval(strings.ReplaceAll(attempts, "ORIGIN", elsewhere.URL), nil)
	p.close()
	if len(other) < 5 {
		t.Errorf("without the policy another origin was asked %d times: the test tests nothing", len(other))
	}
}

// page is a tab of a Chromium of its own.
type page struct {
	t   *testing.T
	b   *chromium
	tab string // of the session
}

func newPage(t *testing.T, url string) *page {
	t.Helper()
	p := &page{t: t, b: startChromium(t)}
	var target struct{ TargetID string }
	p.b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	p.b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	p.tab = session.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Audits"} {
		p.b.call(p.tab, domain+".enable", nil, nil)
	}
	p.b.call(p.tab, "Emulation.setDeviceMetricsOverride", map[string]any{"width": 1280, "height": 1600, "deviceScaleFactor": 1, "mobile": false}, nil)
	p.b.call(p.tab, "Page.navigate", map[string]any{"url": url}, nil)
	p.b.until(p.tab, "Page.loadEventFired")
	return p
}

// eval gives the value of an expression in the page, or of the promise that it is.
func (p *page) eval(expression string, to any) {
	p.t.Helper()
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	p.b.call(p.tab, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &got)
	if got.ExceptionDetails != nil {
		p.t.Fatalf("evaluate: %s", got.ExceptionDetails)
	}
	if to != nil {
		if err := json.Unmarshal(got.Result.Value, to); err != nil {
			p.t.Fatalf("evaluate: %s: %v", got.Result.Value, err)
		}
	}
}

// said is what the console, or Chromium's list of issues, has of errors, warnings and violations.
func (p *page) said() (all []string) {
	p.eval("1", nil) // what came of it is here before its answer
	for _, m := range p.b.events {
		var e struct {
			Entry            struct{ Level, Source, Text, URL string }
			Issue            struct{ Code string }
			ExceptionDetails struct{ Text string }
			Type             string
		}
		if err := json.Unmarshal(m.Params, &e); err != nil {
			p.t.Fatal(err)
		}
		switch {
		case m.Method == "Log.entryAdded" && (e.Entry.Level == "error" || e.Entry.Level == "warning"):
			all = append(all, e.Entry.Source+": "+e.Entry.Text)
		case m.Method == "Audits.issueAdded" && e.Issue.Code != "GenericIssue": // of fields without a label
			all = append(all, e.Issue.Code)
		case m.Method == "Runtime.exceptionThrown":
			all = append(all, "exception: "+e.ExceptionDetails.Text)
		case m.Method == "Runtime.consoleAPICalled" && (e.Type == "error" || e.Type == "warning"):
			all = append(all, "console: "+string(m.Params))
		}
	}
	return all
}

// shoot writes a picture of the page, where one is asked for.
func (p *page) shoot(name string) {
	if *screenshots == "" {
		return
	}
	var picture struct{ Data []byte }
	p.b.call(p.tab, "Page.captureScreenshot", map[string]any{"format": "png"}, &picture)
	if err := os.WriteFile(*screenshots+"/"+strings.NewReplacer("?", "-", "=", "-").Replace(name)+".png", picture.Data, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) close() { p.b.stop() }
