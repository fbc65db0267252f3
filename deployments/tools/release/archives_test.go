package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSection: the notes are what the changelog says of one version, and nothing of its neighbours.
func TestSection(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "CHANGELOG.md")
	text := "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-12-01\n\n### Added\n- b\n\n## 0.1.0 - 2026-11-26\n- a\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := section(path, "0.2.0")
	if want := "## 0.2.0 - 2026-12-01\n\n### Added\n- b\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if got, err := section(path, "0.1.0"); err != nil || !bytes.HasSuffix(got, []byte("- a\n")) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := section(path, "0.2"); err == nil {
		t.Error("a version that is not there has notes")
	}
	if _, err := section("../../../CHANGELOG.md", "0.1.0"); err != nil {
		t.Error(err)
	}
}

// TestArchives: both kinds hold what they were given, the same bytes twice.
func TestArchives(t *testing.T) {
	t.Parallel()
	entries := []entry{{"LICENSE", 0o644, []byte("licence")}, {"exportctl", 0o755, []byte("program")}}
	at := time.Unix(1_790_000_000, 0)
	for name, pack := range map[string]func(string, []entry, time.Time) ([]byte, error){"tar": tarred, "zip": zipped} {
		one, err1 := pack("folder/", entries, at)
		two, err2 := pack("folder/", entries, at)
		if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
			t.Errorf("%s: %v, %v, or not the same", name, err1, err2)
		}
	}
	packed, err := zipped("folder/", entries, at)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil || len(z.File) != 2 || z.File[1].Name != "folder/exportctl" || z.File[1].Mode() != 0o755 {
		t.Errorf("%v, %+v", err, z)
	}
	packed, err = tarred("folder/", entries, at)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(g); err != nil || !bytes.Contains(raw, []byte("folder/exportctl")) {
		t.Errorf("%v, %q", err, raw)
	}
	if lines := strings.Split(string(sums(map[string][]byte{"b": nil, "a": []byte("x")})), "\n"); len(lines) != 3 || !strings.HasSuffix(lines[0], "  a") {
		t.Errorf("%q", lines)
	}
}
