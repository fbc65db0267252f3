package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// TestFewFiles: a process that may open few files is held full of connections. It does not spin at the ones
// it cannot accept, says what it lacks, and serves again once they are closed.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	const files = 128
	p := e2etest.Start(t, nil, "sh", "-c", `ulimit -n "$1" && shift && exec "$@"`, "sh", strconv.Itoa(files), e2etest.DevProgram(exportd),
		"run", "--data-dir", t.TempDir(), "--addr", "127.0.0.1:0", "--demo-users", "200", "--demo-messages", "300")
	url := p.WaitLine(t, 90*time.Second, func(line string) string {
		rest, _ := strings.CutPrefix(line, "exportd is ready at ")
		if rest == line {
			return ""
		}
		url, _, _ := strings.Cut(rest, " ")
		return url
	})
	ticks, free := fillFiles(t, p, strings.TrimPrefix(url, "http://"), files)
	free()
	closed := time.Now()
	e2etest.Until(t, time.Minute, "/readyz answers", func() bool {
		r, err := e2etest.Send(t.Context(), http.MethodGet, url+"/readyz", nil, nil)
		return err == nil && r.Status == http.StatusOK
	})
	t.Logf("%d files and connections: %d ms of CPU in 3 s at the limit, ready %s after they were closed", files, 10*ticks, time.Since(closed).Round(time.Millisecond))
	if ticks > 150 { // half of one core; a loop that spins takes all of one
		t.Errorf("%d ms of CPU in 3 s", 10*ticks)
	}
}

// cpuTicks is the CPU time of a process, in hundredths of a second.
func cpuTicks(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	sum := 0
	for _, f := range fields[11:13] { // utime and stime, counted after the name
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
