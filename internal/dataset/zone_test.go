package dataset_test

import (
	"archive/zip"
	"bytes"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"exportd/internal/dataset"
)

const zoneFile = "zoneinfo.zip"

// TestZonesAreOfTheBuild: a machine whose zones are others tells the same times.
func TestZonesAreOfTheBuild(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "Europe"), 0o700); err != nil {
		t.Fatal(err)
	}
	archive, err := zip.OpenReader(zoneFile)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	tokyo, err := archive.Open("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	defer tokyo.Close()
	data, err := io.ReadAll(tokyo)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Europe/Prague", "Local"} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("ZONEINFO", dir)
	zone, err := dataset.Zone("Europe/Prague")
	if err != nil {
		t.Fatal(err)
	}
	if _, offset := time.Date(2026, 6, 2, 0, 0, 0, 0, time.UTC).In(zone).Zone(); offset != 2*3600 || zone.String() != "Europe/Prague" {
		t.Errorf("%s is %d s from UTC in June, want 7200", zone, offset)
	}
	for _, none := range []string{"", "Local", "Europe", "Europe/", "Europe/Nowhere", "../Europe/Prague", "right/Europe/Prague", "/etc/localtime"} {
		if zone, err := dataset.Zone(none); err == nil {
			t.Errorf("%q is %s", none, zone)
		}
	}
}

// TestZoneFile: the zones are those of Go; -update takes them from there.
func TestZoneFile(t *testing.T) {
	t.Parallel()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", zoneFile))
	if err != nil {
		t.Fatal(err)
	}
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(zoneFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(zoneFile)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not that of Go (%v): make generate", zoneFile, err)
	}
}
