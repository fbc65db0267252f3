//go:build operations

package e2e

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// causeID is what causes are named by.
var causeID = regexp.MustCompile(`^[A-Z_]+-[0-9a-f]{12}$`)

// TestNightWithExportctl: from the first command until the right jobs have succeeded and the receiver has its
// callbacks, in commands and seconds, and nothing else is touched. What is run again is read from what the
// commands print for people.
func TestNightWithExportctl(t *testing.T) {
	home := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "nomsgpack", "-o", home+"/", "exportd/cmd/exportctl").CombinedOutput(); err != nil {
		t.Fatalf("build exportctl: %v\n%s", err, out)
	}
	n := newNight(t)
	env := []string{"HOME=" + home, "EXPORTCTL_URL=" + n.stack.APIURL, "EXPORTCTL_KEY=" + n.stack.OpsAPIKey, "EXPORTCTL_SECRET=" + n.stack.OpsSecret}
	commands := 0
	run := func(args ...string) string {
		t.Helper()
		commands++
		p := e2etest.Start(t, env, home+"/exportctl", args...)
		if code := p.Wait(t, 3*time.Minute); code != 0 {
			t.Fatalf("exportctl %s ends with %d:\n%s%s", strings.Join(args, " "), code, p.Stdout(), p.Stderr())
		}
		return p.Stdout() + p.Stderr()
	}
	begun := time.Now()
	night := run("ops", "tonight")
	var causes []string
	for line := range strings.Lines(night) {
		if id, _, _ := strings.Cut(line, " "); causeID.MatchString(id) && !strings.Contains(line, unmended) {
			causes = append(causes, id)
		}
	}
	if len(causes) != 6 {
		t.Fatalf("tonight has the causes %q:\n%s", causes, night)
	}
	for _, cause := range causes {
		if what := run("ops", "causes", cause); !strings.Contains(what, "remedy") || !strings.Contains(what, "12 jobs") && !strings.Contains(what, "16 callbacks") {
			t.Errorf("cause %s is told of without its cases or its remedy:\n%s", cause, what)
		}
		run("ops", "causes", "rerun", cause, "--reason", "mended at 6:30", "--yes", "--detach")
	}
	asked := time.Since(begun)
	n.ended()
	took := time.Since(begun)
	touched, each := n.touched(), float64(commands)/float64(len(causes))
	if touched > 0 || n.came.Load() != 16 || each > 3 {
		t.Errorf("%d jobs were run again that should not have been, %d callbacks came, %.1f commands a cause", touched, n.came.Load(), each)
	}
	t.Logf("%d causes, 60 jobs and 16 callbacks: %d commands, %.1f a cause, %s until all were asked for, %s until all had succeeded; %d wrongly run again", len(causes), commands, each, asked.Round(100*time.Millisecond), took.Round(100*time.Millisecond), touched)
}
