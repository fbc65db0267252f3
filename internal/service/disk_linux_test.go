package service

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"exportd/internal/localcloud/localcloudtest"
)

// fullDisk is a disk in memory, filled to the last byte.
func fullDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("only root may mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 4<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	return dir
}

// TestFullDisk: a worker on a full disk says so at /readyz and in one line, and takes no work; an API says
// so, and is asked nothing by what looks at /readyz. With room again both are well.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := fullDisk(t)
	cloud := localcloudtest.Start(t)
	home := filepath.Join(t.TempDir(), "keyset.json")
	core, logs := observer.New(zap.InfoLevel)
	cfg, c := connect(t, cloud.Endpoints(), home, zap.New(core))
	if _, err := c.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeys(t.Context(), cfg, c, true)
	if err != nil {
		t.Fatal(err)
	}
	keys.Close()
	c.scratch = disk
	runUnfit(t, cfg, c, core, logs, "disk")

	apiCore, apiLogs := observer.New(zapcore.InfoLevel)
	probes := ops{alive: func() error { return nil }, checks: c.apiChecks(), metrics: c.metrics, log: zap.New(apiCore)}.handler()
	ready := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		probes.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return w
	}
	for range 3 {
		if w := ready(); w.Code != http.StatusServiceUnavailable || !strings.HasPrefix(w.Body.String(), "disk is unavailable") {
			t.Errorf("an API on a full disk: %d %s", w.Code, w.Body)
		}
	}
	if n := apiLogs.FilterMessage("process is not ready").Len(); n != 1 {
		t.Errorf("%d lines of log, want one", n)
	}
	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	if w := ready(); w.Code != http.StatusOK {
		t.Errorf("with room again: %d %s", w.Code, w.Body)
	}
}

// TestNoDisk: a root that nobody can write, or no folder at all, is no full disk.
func TestNoDisk(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"", "/nowhere/at/all", "/proc"} {
		if err := (&Clients{scratch: folder}).diskCheck().Run(t.Context()); err != nil {
			t.Errorf("%q: %v", folder, err)
		}
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, "size=64k"); err != nil {
		t.Skipf("only root may mount: %v", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	if err := (&Clients{scratch: dir}).diskCheck().Run(t.Context()); err != nil {
		t.Errorf("read-only: %v", err)
	}
}
