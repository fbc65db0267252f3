//go:build chromium

package browser

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// failing is a test that may fail.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// TestHangsInChromium: whatever hangs ends its test, also where the page goes on telling something, and says
// which page and what was waited for.
func TestHangsInChromium(t *testing.T) {
	const url = "data:text/html,<title>hangs</title>"
	for name, hang := range map[string]func(*Page){
		"Runtime.evaluate":    func(p *Page) { p.Eval("new Promise(() => setInterval(() => console.error('still'), 5))", nil) },
		"Page.loadEventFired": func(p *Page) { p.Loads(func() {}) },
	} {
		test := &failing{TB: t}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p := Open(test, url)
			defer p.Close()
			p.b.within = time.Second // what is waited for never comes
			hang(p)
		}()
		<-ended
		if !strings.Contains(test.said, name) || !strings.Contains(test.said, " at "+url) {
			t.Errorf("%s: the test ends with %q", name, test.said)
		}
	}
}
