//go:build chromium

package api

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"exportd/internal/browser"
)

var screenshots = flag.String("screenshots", "", "folder for pictures of what Chromium shows")

// injected is what somebody who could write into the page would try: markup that the page would run, load or
// send without its policy.
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

// attempts are what a script would do that did run, each of which the policy stops: they tell what came of
// it.
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
// shows each operation and asks for nothing that the policy would have to stop. What is injected into the
// page does not run and reaches no other origin; without the policy it does both.
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
		if path != "docs/reference" {
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

	for _, page := range []string{"docs/reference", "docs?open=all", "docs#/Lists"} {
		p := browser.Open(t, home.URL+"/"+page)
		var got []string
		p.Eval(strings.ReplaceAll(rendered, "COUNT", fmt.Sprint(len(want))), &got)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("/%s shows %d operations, want %d:\n%q\n%q", page, len(got), len(want), got, want)
		}
		if !strings.Contains(page, "open=all") { // 305,000 pixels, laid out in 1.5 minutes, whose top is docs/reference
			shoot(p, page)
		}
		said := p.Said()
		if len(said) > 0 {
			t.Errorf("/%s: %d violations, errors and warnings: %q", page, len(said), said)
		}
		t.Logf("/%s: %d operations, %d violations", page, len(got), len(said))
		p.Close()
	}
	var ran, came []string
	p := browser.Open(t, home.URL+"/injected/docs/reference")
	p.Eval(strings.ReplaceAll(attempts, "ORIGIN", elsewhere.URL), &came)
	p.Eval("window.ran || []", &ran)
	said := p.Said()
	shoot(p, "injected")
	p.Close()
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

	p = browser.Open(t, home.URL+"/open/docs/reference") // the control
	p.Eval(strings.ReplaceAll(attempts, "ORIGIN", elsewhere.URL), nil)
	p.Close()
	if len(other) < 5 {
		t.Errorf("without the policy another origin was asked %d times: the test tests nothing", len(other))
	}
}

// shoot writes a picture of a page, where one is asked for.
func shoot(p *browser.Page, name string) {
	if *screenshots != "" {
		p.Shoot(*screenshots+"/"+strings.NewReplacer("?", "-", "=", "-", "/", "-", "#", "-").Replace(name)+".png", false)
	}
}
