package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"exportd/internal/e2e/e2etest"
	"exportd/jobs"
)

// TestKillAndRestart: after kill -9 the same data folder has the same data, jobs and files, and the same keys
// work.
func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	folder, sizes := t.TempDir(), e2etest.Sizes{Users: 200, Messages: 300}
	// A killed worker's work stands still for its lease, and a bit.
	const lease = "EXPORTD_LEASE_SECONDS=3"
	before := e2etest.Dev(t, exportd, folder, sizes, lease)
	info, err := os.Stat(filepath.Join(folder, "demo.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("demo.json: %v, %v; want mode 0600", info.Mode(), err)
	}
	files, ids := map[jobs.Kind][]byte{}, map[string]bool{}
	for _, kind := range []jobs.Kind{"vip-users", "vip-messages"} {
		query := before.Users()
		if kind == "vip-messages" {
			query = before.Messages()
		}
		j, file := before.Caller().Export(t, string(kind), query)
		files[kind], ids[j.JobID] = file, true
	}
	// One is under way, or just accepted, when it happens: it must not be lost.
	last := before.Caller().Submit(t, "vip-messages", before.Messages("formulaGuard", "off"))
	ids[last] = true
	before.Process.Kill()

	after := e2etest.Dev(t, exportd, folder, sizes, lease)
	if after.Summary != before.Summary {
		t.Errorf("demo.json changed from %+v to %+v", before.Summary, after.Summary)
	}
	c := after.Caller()
	for _, j := range allJobs(t, c) {
		delete(ids, j.JobID)
	}
	if len(ids) > 0 {
		t.Errorf("jobs %v are gone", ids)
	}
	if j := c.Await(t, last, jobWithin); j.State != "succeeded" {
		t.Errorf("the job that was under way is %s: %+v", j.State, j.Error)
	}
	for kind, want := range files {
		query := after.Users()
		if kind == "vip-messages" {
			query = after.Messages()
		}
		if _, got := c.Export(t, string(kind), query); !bytes.Equal(got, want) {
			t.Errorf("%s after the restart: %s", kind, firstDifference(got, want))
		}
	}
	after.Process.Signal(syscall.SIGTERM)
	if code := after.Process.Wait(t, stopWithin); code != 0 {
		t.Errorf("SIGTERM: exit code %d, want 0", code)
	}
}
