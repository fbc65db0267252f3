//go:build release

// Makes a whole release twice, which compiles for six platforms: `make release-test`.
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const (
	released = "0.1.0" // which CHANGELOG.md has a section of
	ofCommit = "0123456789ab"
)

// TestRelease: two releases of one commit are the same bytes; each archive has the program for what its name
// says, with licences; programs of this machine run and say what they are; the sums are those of the files.
func TestRelease(t *testing.T) {
	dirs := []string{filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")}
	for _, dir := range dirs {
		if err := run(t.Context(), []string{"-root", "../../..", "-version", released, "-commit", ofCommit, "-out", dir}); err != nil {
			t.Fatal(err)
		}
	}
	one, two := content(t, dirs[0]), content(t, dirs[1])
	for name, sum := range one {
		if two[name] != sum {
			t.Errorf("%s differs between two releases of one commit", name)
		}
	}
	if len(one) != len(two) {
		t.Errorf("%d files and %d", len(one), len(two))
	}
	if out, err := inDir(t, dirs[0], "sha256sum", "--check", "--quiet", "SHA256SUMS"); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	archives, size := 0, int64(0)
	for name := range one {
		if info, err := os.Stat(filepath.Join(dirs[0], name)); err == nil {
			size += info.Size()
		}
		base, isTar := strings.CutSuffix(name, ".tar.gz")
		base, isZip := strings.CutSuffix(base, ".zip")
		if isTar || isZip {
			archives++
			lookAt(t, filepath.Join(dirs[0], name), base)
		}
	}
	if archives != 8 {
		t.Errorf("%d archives, want 6 of exportctl and 2 of exportd", archives)
	}
	notes, err := os.ReadFile(filepath.Join(dirs[0], "CHANGES.md"))
	if err != nil || !strings.HasPrefix(string(notes), "## "+released+" - ") || strings.Contains(string(notes), "## Unreleased") {
		t.Errorf("notes: %v, %.100s", err, notes)
	}
	for _, program := range []string{"exportd", "exportctl"} {
		materialsOf(t, filepath.Join(dirs[0], program+".cdx.json"), program)
	}
	digest, err := os.ReadFile(filepath.Join(dirs[0], "image.digest"))
	if err != nil || !strings.HasPrefix(string(digest), "sha256:") {
		t.Errorf("image.digest: %v, %s", err, digest)
	}
	t.Logf("%d files of %d MiB, image %s", len(one), size>>20, bytes.TrimSpace(digest))
}

// content is the sum of each file of a folder.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		sums[name] = fmt.Sprintf("%x", sha256.Sum256(raw))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

func inDir(t *testing.T, dir, program string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	return cmd.CombinedOutput()
}

// lookAt unpacks an archive of exportctl-0.1.0-linux-amd64.
func lookAt(t *testing.T, path, base string) {
	t.Helper()
	parts := strings.Split(base, "-")
	if len(parts) != 4 || parts[1] != released {
		t.Errorf("archive %s", base)
		return
	}
	program, system, arch := parts[0], parts[2], parts[3]
	if system == "windows" {
		program += ".exe"
	}
	files := unpacked(t, path)
	licences := 0
	for name := range files {
		if !strings.HasPrefix(name, base+"/") {
			t.Errorf("%s: %s is not in its folder", base, name)
		}
		if strings.Contains(name, "/licenses/") {
			licences++
		}
	}
	if licences < 10 || len(files[base+"/LICENSE"].content) == 0 {
		t.Errorf("%s has %d licences", base, licences)
	}
	p, ok := files[base+"/"+program]
	if !ok || p.mode&0o111 == 0 {
		t.Fatalf("%s: no program %s that can be run", base, program)
	}
	info, err := buildinfo.Read(bytes.NewReader(p.content))
	if err != nil {
		t.Fatalf("%s: %v", base, err)
	}
	for key, want := range map[string]string{"GOOS": system, "GOARCH": arch, "CGO_ENABLED": "0"} {
		if i := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == key }); i < 0 || info.Settings[i].Value != want {
			t.Errorf("%s is not of %s=%s: %v", base, key, want, info.Settings)
		}
	}
	if system != runtime.GOOS || arch != runtime.GOARCH {
		return
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, program), p.content, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--version"}, {"--help"}} {
		out, err := inDir(t, dir, filepath.Join(dir, program), args...)
		if err != nil || args[0] == "--version" && !strings.Contains(string(out), released+" (commit "+ofCommit) {
			t.Errorf("%s %v: %v\n%s", base, args, err, out)
		}
	}
}

type packedFile struct {
	mode    int64
	content []byte
}

func unpacked(t *testing.T, path string) map[string]packedFile {
	t.Helper()
	files := map[string]packedFile{}
	if strings.HasSuffix(path, ".zip") {
		z, err := zip.OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(r)
			if err = errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			files[f.Name] = packedFile{int64(f.Mode()), raw}
		}
		return files
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = packedFile{h.Mode, raw}
	}
}

func materialsOf(t *testing.T, path, program string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var bill cdx.BOM
	if err := json.Unmarshal(raw, &bill); err != nil || bill.Components == nil {
		t.Fatalf("%s: %v", path, err)
	}
	if c := bill.Metadata.Component; c == nil || c.Name != program || c.Version != released || len(*bill.Components) < 10 {
		t.Errorf("%s is of %+v, with %d components", path, bill.Metadata.Component, len(*bill.Components))
	}
	for _, c := range *bill.Components {
		if c.Licenses == nil || c.PackageURL == "" {
			t.Errorf("%s: %s has no licence or no address", path, c.Name)
		}
	}
}
