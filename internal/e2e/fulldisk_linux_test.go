package e2e

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// smallDisk mounts a disk of a size, in memory. Who may not do that has localcloud.TestFullDisk, which is
// told that the disk is full.
func smallDisk(t *testing.T, mib string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+mib+"m"); err != nil {
		t.Skipf("only root may mount a small disk (%v); localcloud.TestFullDisk is told of a full one", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill writes until nothing more goes onto the disk, and says how much there was room for.
func fill(t *testing.T, path string) (written int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for {
			n, err := f.Write(make([]byte, size))
			written += n
			if errors.Is(err, syscall.ENOSPC) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return written
}

// TestFullDisk: somebody fills the disk of the embedded cloud to the last byte while exports run. Reads go
// on, writes are refused and the log names the folder, nothing ends; and when there is room again the jobs
// that met the full disk end right, and what was acknowledged before is there, also after kill -9.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "192")
	folder := filepath.Join(disk, "data")
	cloud, hosts := e2etest.Emulators(t, exportd, folder)
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 200, Messages: 2000}, "EXPORTD_WAIT_SECONDS=0")
	worker := e2etest.Worker(t, exportd, hosts, "EXPORTD_PART_ROWS=100", "EXPORTD_LEASE_SECONDS=5")
	before, file := s.Caller().Export(t, "vip-messages", s.Messages())

	var met []string // jobs that run while the disk becomes full
	for range 3 {
		met = append(met, s.Caller().Submit(t, "vip-messages", s.Messages(), "Cache-Control", "no-cache"))
	}
	filler := filepath.Join(disk, "filler")
	room := fill(t, filler)
	begun := time.Now()
	get := func(path string, headers ...string) int {
		r, err := s.Caller().Try(t.Context(), http.MethodGet, path, nil, nil, headers...)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	submit := func() e2etest.Response {
		r, err := s.Caller().Try(t.Context(), http.MethodGet, "/vip-messages/export", s.Messages(), nil, "Cache-Control", "no-cache", "Prefer", "respond-async")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	refused, reads := 0, 0
	for refused < 2 || time.Since(begun) < 3*time.Second {
		if room += fill(t, filler); time.Since(begun) > time.Minute {
			t.Fatal("exports are taken on a full disk")
		}
		switch r := submit(); r.Status {
		case http.StatusServiceUnavailable:
			refused++
		case http.StatusAccepted: // what was set aside
			var j e2etest.Job
			r.JSON(t, &j)
			met = append(met, j.JobID)
		default:
			t.Fatalf("an export on a full disk: status %d: %s", r.Status, r.Body)
		}
		if status := get("/exports/" + before.JobID); status != http.StatusOK {
			t.Errorf("a job on a full disk: status %d", status)
		}
		if got := e2etest.Download(t, *before.CSVURL).Body; !bytes.Equal(got, file) {
			t.Errorf("a file on a full disk: %s", firstDifference(got, file))
		}
		reads += 2
	}
	e2etest.Until(t, time.Minute, "the log names the full folder", func() bool {
		text := cloud.Stderr()
		return strings.Contains(text, folder) && strings.Contains(text, "is full")
	})
	full := time.Since(begun)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	healed := time.Now()
	e2etest.Until(t, recoverWithin, "an export is taken", func() bool {
		r := submit()
		if r.Status != http.StatusAccepted {
			return false
		}
		var j e2etest.Job
		r.JSON(t, &j)
		met = append(met, j.JobID)
		return true
	})
	taken := time.Since(healed)
	cause := map[string]int{}
	for _, id := range met {
		j := s.Caller().Await(t, id, exportWithin)
		switch {
		case j.State == "succeeded":
			if got := e2etest.Download(t, *j.CSVURL).Body; !bytes.Equal(got, file) {
				t.Errorf("file of job %s: %s", id, firstDifference(got, file))
			}
			cause["succeeded"]++
		case j.State == "failed" && j.Error != nil && j.Error.Code == "STORAGE_QUOTA":
			cause[j.Error.Code]++
		default:
			t.Errorf("job %s, which met the full disk, is %s: %+v", id, j.State, j.Error)
		}
	}
	t.Logf("%d MiB were free; full for %s: %d exports refused, %d reads answered; an export taken %s after, all done after %s: %v",
		room>>20, full.Round(time.Millisecond), refused, reads, taken.Round(time.Millisecond), time.Since(healed).Round(time.Millisecond), cause)
	for name, p := range map[string]*e2etest.Process{"cloud": cloud, "worker": worker, "API": s.Process} {
		select {
		case <-p.Done():
			t.Errorf("the %s ended", name)
		default:
		}
	}
	cloud.Kill()
	_, hosts = e2etest.Emulators(t, exportd, folder)
	_, s.APIURL = e2etest.API(t, exportd, hosts)
	for _, id := range append(met, before.JobID) {
		if j := s.Caller().Job(t, id, ""); !j.Ended() {
			t.Errorf("after a restart job %s is %s", id, j.State)
		}
	}
}

// exportWithin is a lease, a pause and a retry more than an export takes on a busy machine.
const exportWithin = 2 * time.Minute
