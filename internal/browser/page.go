//go:build chromium

package browser

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// Page is a tab of a Chromium of its own.
type Page struct {
	t   testing.TB
	b   *chromium
	tab string // of the session
	id  string // of the tab, to the browser
}

// Open opens a page in a browser of its own, which ends with the test at the latest.
func Open(t testing.TB, url string) *Page {
	t.Helper()
	p := &Page{t: t, b: start(t)}
	var target struct{ TargetID string }
	p.b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	p.b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	p.tab, p.id = session.SessionID, target.TargetID
	for _, domain := range []string{"Page", "Runtime", "Log", "Audits"} {
		p.b.call(p.tab, domain+".enable", nil, nil)
	}
	p.b.call(p.tab, "Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, nil) // as of a window that one works in
	p.b.call(p.tab, "Page.setLifecycleEventsEnabled", map[string]any{"enabled": true}, nil)
	p.b.call(p.tab, "Emulation.setDeviceMetricsOverride", map[string]any{"width": 1280, "height": 1600, "deviceScaleFactor": 1, "mobile": false}, nil)
	p.b.url = url
	p.b.call(p.tab, "Page.navigate", map[string]any{"url": url}, nil)
	p.b.until(p.tab, "Page.loadEventFired")
	return p
}

// Eval gives the value of an expression in the page, or of the promise that it is.
func (p *Page) Eval(expression string, to any) {
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

// At is the path of the page that is open.
func (p *Page) At() string {
	p.t.Helper()
	var target struct{ TargetInfo struct{ URL string } } // the browser's word, which it has between two pages too
	p.b.call("", "Target.getTargetInfo", map[string]any{"targetId": p.id}, &target)
	at, err := url.Parse(target.TargetInfo.URL)
	if err != nil {
		p.t.Fatal(err)
	}
	return at.Path
}

// Said is what the console, or Chromium's list of issues, has of errors, warnings and violations.
func (p *Page) Said() (all []string) {
	p.Eval("1", nil) // what came of it is here before its answer
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

// Shoot writes a picture of what is seen, or of the whole page, into a file. Its folder is made if need be.
func (p *Page) Shoot(file string, whole bool) {
	p.t.Helper()
	var picture struct{ Data []byte }
	p.b.call(p.tab, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": whole}, &picture)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, picture.Data, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// Go opens another page in the same tab.
func (p *Page) Go(url string) {
	p.t.Helper()
	p.b.events, p.b.url = nil, url
	var to struct{ LoaderID string }
	p.b.call(p.tab, "Page.navigate", map[string]any{"url": url}, &to)
	// That of this page: the one before may have begun to lead elsewhere, and be loaded just now.
	p.b.untilSuch(p.tab, "Page.lifecycleEvent", func(params json.RawMessage) bool {
		var e struct{ LoaderID, Name string }
		return json.Unmarshal(params, &e) == nil && e.LoaderID == to.LoaderID && e.Name == "load"
	})
}

// Loads does something that leads to another page, and waits for that.
func (p *Page) Loads(do func()) {
	p.t.Helper()
	p.b.events = nil
	do()
	p.b.until(p.tab, "Page.loadEventFired")
}

// Size is how large the window is; Dark is whether its owner likes it so.
func (p *Page) Size(width, height int, phone bool) {
	p.t.Helper()
	p.b.call(p.tab, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}, nil)
}

// Dark has pages be in their dark colours, or not.
func (p *Page) Dark(dark bool) {
	p.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	p.b.call(p.tab, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Without has the tab run no script, or run it again.
func (p *Page) Without(script bool) {
	p.t.Helper()
	p.b.call(p.tab, "Emulation.setScriptExecutionDisabled", map[string]any{"value": script}, nil)
}

// Press presses a key, as Tab or Enter.
func (p *Page) Press(key string) {
	p.t.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13, " ": 32}
	down := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
	if key == "Enter" {
		down["text"] = "\r"
	}
	if key == " " {
		down["text"], down["code"] = " ", "Space"
	}
	p.b.call(p.tab, "Input.dispatchKeyEvent", down, nil)
	p.b.call(p.tab, "Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": down["code"], "windowsVirtualKeyCode": codes[key]}, nil)
}

// Write types a text.
func (p *Page) Write(text string) {
	p.t.Helper()
	p.b.call(p.tab, "Input.insertText", map[string]any{"text": text}, nil)
}

// Click clicks with the mouse in the middle of what a selector finds.
func (p *Page) Click(selector string) {
	p.t.Helper()
	var at struct{ X, Y float64 }
	quoted, _ := json.Marshal(selector)
	p.Eval("(() => { const e = document.querySelector("+string(quoted)+"); if (!e) throw new Error('nothing is ' + "+string(quoted)+"); e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect(); return {X: r.x + r.width / 2, Y: r.y + r.height / 2} })()", &at)
	for _, what := range []string{"mousePressed", "mouseReleased"} {
		p.b.call(p.tab, "Input.dispatchMouseEvent", map[string]any{"type": what, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
	}
}

// Script runs a library's text in the page, whatever the page's policy.
func (p *Page) Script(text string) {
	p.t.Helper()
	p.Eval(text+"\n;0", nil)
}

// Axe judges the page by axe-core, whose text is given: what it finds is what people who see, hear or move
// otherwise cannot use.
func (p *Page) Axe(text string) (found []string) {
	p.t.Helper()
	p.Script(text)
	return p.axe("document")
}

// AxeOf judges what a selector finds of a page that Axe has judged.
func (p *Page) AxeOf(selector string) (found []string) {
	p.t.Helper()
	quoted, _ := json.Marshal(selector)
	return p.axe(string(quoted))
}

func (p *Page) axe(of string) (found []string) {
	p.t.Helper()
	p.Eval(`axe.run(`+of+`, {resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " + v.nodes.map(n => n.target.join(" ")).slice(0, 3).join("; ")))`, &found)
	return found
}

// Close ends the browser.
func (p *Page) Close() { p.b.stop() }
