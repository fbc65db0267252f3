//go:build chromium

package e2e

import (
	"testing"
	"time"

	"exportd/internal/browser"
)

// TestNightOnWorkersInChromium: from opening the console until the right jobs have succeeded and the receiver
// has its callbacks, in clicks and seconds, and nothing else is touched.
func TestNightOnWorkersInChromium(t *testing.T) {
	n := newNight(t)
	s := n.stack
	p := browser.Open(t, s.APIURL+"/console/sign-in")
	p.Click("#key")
	p.Write(s.OpsAPIKey)
	p.Click("#secret")
	p.Write(s.OpsSecret)
	p.Loads(func() { p.Press("Enter") })
	begun, clicks := time.Now(), 0
	click := func(selector string) {
		clicks++
		p.Loads(func() { p.Click(selector) })
	}
	var causes []string
	p.Eval(`[...document.querySelectorAll('a[href*="rerun-cause"]')].filter(a => !a.closest("tr").innerText.includes("`+unmended+`")).map(a => new URL(a.href).searchParams.get("cause"))`, &causes)
	if len(causes) != 6 {
		t.Fatalf("the overview has the causes %q", causes)
	}
	for _, cause := range causes {
		click(`a[href*="rerun-cause"][href*="` + cause + `"]`)
		p.Click("#reason")
		p.Write("mended at 6:30")
		click("#confirm button")
		click("nav a")
	}
	asked := time.Since(begun)
	n.ended()
	took := time.Since(begun)
	touched := n.touched()
	if each := float64(clicks) / float64(len(causes)); touched > 0 || n.came.Load() != 16 || each > 4 {
		t.Errorf("%d jobs were run again that should not have been, %d callbacks came, %.1f clicks a cause", touched, n.came.Load(), each)
	}
	t.Logf("%d causes, 60 jobs and 16 callbacks: %d clicks, %.1f a cause, %s until all were asked for, %s until all had succeeded; %d wrongly run again", len(causes), clicks, float64(clicks)/float64(len(causes)), asked.Round(100*time.Millisecond), took.Round(100*time.Millisecond), touched)
	p.Close()
}
