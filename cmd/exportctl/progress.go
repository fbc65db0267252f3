package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"exportd/api/client"
)

const (
	// redrawEvery bounds what is written to a terminal while a file comes in.
	redrawEvery = 100 * time.Millisecond
	// lineEvery is how often there is a line where there is no terminal.
	lineEvery = 10 * time.Second
	// rateOver is the time that rates are measured over: short enough to follow, long enough to be calm.
	rateOver = 10 * time.Second
)

// progress shows how far something is on standard error: in one line that is drawn again on a terminal, else
// in a line now and then. It is safe for concurrent use.
type progress struct {
	a        *app
	terminal bool

	mu      sync.Mutex
	shown   bool   // there is a line to wipe
	phase   string // what the samples are of
	samples []sample
	last    time.Time // when it was shown
	job     *client.Job
}

// sample is how much was done at a time.
type sample struct {
	at   time.Time
	done int64
}

// newProgress begins to show progress; what is said meanwhile goes above it.
func (a *app) newProgress() *progress {
	p := &progress{a: a, terminal: a.stderrTerminal && a.getenv("TERM") != "dumb"}
	a.progress = p
	return p
}

// stop wipes the line.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
	p.a.progress = nil
}

// above writes a line that stays.
func (p *progress) above(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
	fmt.Fprintln(p.a.stderr, line)
}

func (p *progress) wipe() {
	if p.shown {
		fmt.Fprint(p.a.stderr, "\r\x1b[K")
		p.shown = false
	}
}

// onJob shows a job.
func (p *progress) onJob(j *client.Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.job = j
	again := ""
	if j.Attempt > 1 {
		again = fmt.Sprintf(", attempt %d", j.Attempt)
	}
	switch {
	case j.State == client.StateQueued:
		p.show("Queued", "Waiting for a worker"+again, 0, 0, "")
	case j.State == client.StateRunning && j.Progress.RowsTotal == nil:
		p.show("Counting", "Counting rows"+again, 0, 0, "")
	case j.State == client.StateRunning:
		p.show("Exporting"+again, "", j.Progress.RowsDone, *j.Progress.RowsTotal, "rows")
	}
}

// latest is the job as it was shown last, nil if none was.
func (p *progress) latest() *client.Job {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.job
}

// onFile shows a download.
func (p *progress) onFile(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.show("Downloading", "", done, total, "bytes")
}

// onNote shows a text that changes.
func (p *progress) onNote(phase, note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.show(phase, note, 0, 0, "")
}

// show shows a phase: a text, or how much of a total is done.
func (p *progress) show(phase, note string, done, total int64, unit string) {
	now := p.a.now()
	changed := phase != p.phase
	if changed {
		p.phase, p.samples = phase, nil
	}
	p.samples = append(p.samples, sample{now, done})
	for len(p.samples) > 2 && now.Sub(p.samples[0].at) > rateOver {
		p.samples = p.samples[1:]
	}
	every := lineEvery
	if p.terminal {
		every = redrawEvery
	}
	if !changed && now.Sub(p.last) < every {
		p.thin()
		return
	}
	p.last = now
	if p.terminal {
		p.wipe()
		fmt.Fprint(p.a.stderr, p.line(phase, note, done, total, unit))
		p.shown = true
		return
	}
	if note == "" {
		if changed {
			return // what is done soon needs no line
		}
		note = phase + ": " + p.amounts(done, total, unit)
	}
	fmt.Fprintln(p.a.stderr, note)
}

// thin keeps the number of samples small: updates of a download come by the thousand.
func (p *progress) thin() {
	if n := len(p.samples); n > 2 && p.samples[n-1].at.Sub(p.samples[n-2].at) < redrawEvery {
		p.samples[n-2] = p.samples[n-1]
		p.samples = p.samples[:n-1]
	}
}

// amounts is "43 %, 1,234 of 2,869 rows, 411 rows/s, 4s left".
func (p *progress) amounts(done, total int64, unit string) string {
	show := func(n int64) string { return thousands(n) }
	name := " " + unit
	if unit == "bytes" {
		show, name = size, ""
	}
	percent := int64(100)
	if total > 0 {
		percent = min(100, done*100/total)
	}
	out := fmt.Sprintf("%d %%, %s of %s%s", percent, show(done), show(total), name)
	first, last := p.samples[0], p.samples[len(p.samples)-1]
	elapsed := last.at.Sub(first.at).Seconds()
	if elapsed <= 0 || last.done <= first.done {
		return out
	}
	rate := float64(last.done-first.done) / elapsed
	out += fmt.Sprintf(", %s%s/s", show(int64(rate)), name)
	if left := float64(total-done) / rate; left >= 1 {
		out += ", " + duration(time.Duration(left)*time.Second) + " left"
	}
	return out
}

// line is what a terminal shows: cut to its width, because a line that wraps cannot be wiped.
func (p *progress) line(phase, note string, done, total int64, unit string) string {
	width := 80
	if p.a.width != nil && p.a.width() > 0 {
		width = p.a.width()
	}
	if note != "" {
		return shorten(note+" …", width-1)
	}
	amounts := p.amounts(done, total, unit)
	bar := min(30, width-text.StringWidth(phase)-text.StringWidth(amounts)-5)
	if bar < 8 {
		return shorten(phase+"  "+amounts, width-1)
	}
	filled := bar
	if total > 0 {
		filled = int(min(int64(bar), done*int64(bar)/total))
	}
	full, empty := "━", "─"
	if !p.a.unicode() {
		full, empty = "#", "-"
	}
	paint := p.a.painter(p.terminal)
	return phase + "  " + paint.paint(cyan, strings.Repeat(full, filled)) + paint.paint(dim, strings.Repeat(empty, bar-filled)) + "  " + amounts
}

// unicode reports whether the locale says that the terminal shows more than ASCII.
func (a *app) unicode() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(a.getenv(name)); v != "" {
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return true // nothing set, as in containers: their terminals are of today
}
