package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"exportd/deployments/tools/bom"
	"exportd/deployments/tools/compile"
)

// entry is a file of an archive.
type entry struct {
	name    string
	mode    int64
	content []byte
}

// wanted are the archives of a release: exportctl for everybody who calls, exportd for servers.
var wanted = []struct {
	program string
	targets []compile.Target
}{
	{"exportctl", []compile.Target{{OS: "linux", Arch: "amd64"}, {OS: "linux", Arch: "arm64"}, {OS: "darwin", Arch: "amd64"}, {OS: "darwin", Arch: "arm64"}, {OS: "windows", Arch: "amd64"}, {OS: "windows", Arch: "arm64"}}},
	{"exportd", []compile.Target{{OS: "linux", Arch: "amd64"}, {OS: "linux", Arch: "arm64"}}},
}

// archives writes the archives, the bill of materials of all programs, the section of the changelog and
// checksums.
func archives(ctx context.Context, o options, scratch string) error {
	notes, err := section(filepath.Join(o.source.Root, "CHANGELOG.md"), o.source.Version)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	licence, err := os.ReadFile(filepath.Join(o.source.Root, "LICENSE"))
	if err != nil {
		return err
	}
	files := map[string][]byte{"CHANGES.md": notes}
	for _, w := range wanted {
		for _, t := range w.targets {
			paths, err := o.source.Programs(ctx, filepath.Join(scratch, "archive-"+t.OS+"-"+t.Arch), t, w.program)
			if err != nil {
				return err
			}
			name, packed, err := archive(o, w.program, t, paths[0], licence)
			if err != nil {
				return err
			}
			files[name] = packed
			if t.OS == "linux" && t.Arch == "amd64" {
				if files[w.program+".cdx.json"], err = materials(o, w.program, paths[0]); err != nil {
					return err
				}
			}
		}
	}
	files["SHA256SUMS"] = sums(files)
	for name, content := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(o.out, name), content, 0o644))
	}
	return err
}

func materials(o options, program, path string) ([]byte, error) {
	modules, err := bom.Modules(path)
	if err != nil {
		return nil, err
	}
	return bom.Write(bom.Component{Name: program, Version: o.source.Version, Commit: o.source.Commit, Time: o.time}, modules)
}

func archive(o options, program string, t compile.Target, path string, licence []byte) (name string, packed []byte, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	modules, err := bom.Modules(path)
	if err != nil {
		return "", nil, err
	}
	entries := []entry{{filepath.Base(path), 0o755, content}, {"LICENSE", 0o644, licence}}
	for _, m := range modules {
		for file, text := range m.Texts {
			entries = append(entries, entry{"licenses/" + m.Path + "/" + file, 0o644, text})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	name = fmt.Sprintf("%s-%s-%s-%s", program, o.source.Version, t.OS, t.Arch)
	pack, suffix := tarred, ".tar.gz"
	if t.OS == "windows" {
		pack, suffix = zipped, ".zip"
	}
	packed, err = pack(name+"/", entries, o.time)
	return name + suffix, packed, err
}

func tarred(folder string, entries []entry, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: folder + e.name, Mode: e.mode, Size: int64(len(e.content)), ModTime: at, Format: tar.FormatPAX}); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	err := errors.Join(w.Close(), z.Close())
	return out.Bytes(), err
}

func zipped(folder string, entries []entry, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range entries {
		h := &zip.FileHeader{Name: folder + e.name, Method: zip.Deflate, Modified: at}
		h.SetMode(os.FileMode(e.mode))
		f, err := w.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(f, bytes.NewReader(e.content)); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

// sums is what `sha256sum --check` reads.
func sums(files map[string][]byte) []byte {
	var lines []string
	for name, content := range files {
		lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(content), name))
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Compare(a[66:], b[66:]) })
	return []byte(strings.Join(lines, ""))
}

// section gives what the changelog says of a version.
func section(path, version string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	heads := regexp.MustCompile(`(?m)^## .*$`).FindAllIndex(raw, -1)
	for i, head := range heads {
		if !bytes.HasPrefix(raw[head[0]:], []byte("## "+version+" - ")) {
			continue
		}
		end := len(raw)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		return append(bytes.TrimSpace(raw[head[0]:end]), '\n'), nil
	}
	return nil, fmt.Errorf("CHANGELOG.md has no section %s; CONTRIBUTING.md says how a release is made", version)
}
