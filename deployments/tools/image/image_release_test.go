//go:build release && linux

// Builds and runs the real image, which takes minutes on a new machine: `make image-test`.
package image_test

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"exportd/deployments/tools/compile"
	"exportd/deployments/tools/image"
	"exportd/internal/e2e/e2etest"
)

const (
	version, commit = "9.8.7", "0123456789ab"
	root            = "../../.."
	// grace is the least that the manifests give a process to end.
	grace = 30 * time.Second
)

var targets = []compile.Target{{OS: "linux", Arch: "amd64"}, {OS: "linux", Arch: "arm64"}}

func build(t *testing.T, source string) v1.ImageIndex {
	t.Helper()
	index, err := image.Build(t.Context(), image.Config{
		Source: compile.Source{Root: source, Version: version, Commit: commit}, Time: time.Unix(1_790_000_000, 0),
		Targets: targets, Scratch: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func digest(t *testing.T, index v1.ImageIndex) string {
	t.Helper()
	d, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// elsewhere is a copy of the source in another folder, without git.
func elsewhere(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `cd "$1" && git ls-files -z --cached --others --exclude-standard | xargs -0 tar -cf - | tar -xf - -C "$2"`, "sh", root, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("copy the source: %v\n%s", err, out)
	}
	return dir
}

// TestImage: the image is the same from two folders, has what it says, goes through a registry unchanged, and
// what is in it does its work as nobody on a root that cannot be written.
func TestImage(t *testing.T) {
	index := build(t, root)
	first, second := digest(t, index), digest(t, build(t, elsewhere(t)))
	if first != second {
		t.Errorf("two builds of one commit are %s and %s", first, second)
	}
	t.Logf("two builds: %s", first)
	pushed(t, index)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range manifest.Manifests {
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		folder := unpack(t, img)
		examine(t, img, folder, targets[i])
		if targets[i].Arch == "amd64" {
			run(t, folder)
		}
	}
}

// pushed: a registry gives back what was pushed.
func pushed(t *testing.T, index v1.ImageIndex) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/exportd:" + version)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
	back, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(back); err != nil {
		t.Error(err)
	}
	if digest(t, back) != digest(t, index) {
		t.Errorf("the registry has %s, pushed was %s", digest(t, back), digest(t, index))
	}
}

func unpack(t *testing.T, img v1.Image) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "root")
	headers, err := image.Unpack(img, folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		if h.Uid != 0 || h.Gid != 0 || h.Mode&0o022 != 0 {
			t.Errorf("%s is of %d:%d, mode %o: others than root could change it", h.Name, h.Uid, h.Gid, h.Mode)
		}
	}
	t.Logf("%d files and folders", len(headers))
	return folder
}

// examine looks at user, size, programs, bill of materials and licences.
func examine(t *testing.T, img v1.Image, folder string, target compile.Target) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Architecture != target.Arch || config.Config.Labels["org.opencontainers.image.revision"] != commit {
		t.Errorf("user %q, architecture %s, labels %v", config.Config.User, config.Architecture, config.Config.Labels)
	}
	var size int64
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			t.Fatal(err)
		}
		size += n
	}
	t.Logf("%s: %.1f MiB compressed in %d layers", target, float64(size)/(1<<20), len(layers))
	if size > 40<<20 {
		t.Errorf("%s has %d bytes", target, size)
	}
	for _, program := range image.Programs {
		f, err := elf.Open(filepath.Join(folder, "usr/local/bin", program))
		if err != nil {
			t.Fatal(err)
		}
		if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
			t.Errorf("%s is not static: %v, %v", program, libs, err)
		}
		f.Close()
	}
	raw, err := os.ReadFile(filepath.Join(folder, "usr/share/doc/exportd/sbom.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bill cdx.BOM
	if err := json.Unmarshal(raw, &bill); err != nil || bill.Components == nil {
		t.Fatalf("bill of materials: %v", err)
	}
	for _, c := range *bill.Components {
		if entries, err := os.ReadDir(filepath.Join(folder, "usr/share/doc/exportd/licenses", c.Name)); err != nil || len(entries) == 0 || c.Licenses == nil {
			t.Errorf("%s has no licence: %v", c.Name, err)
		}
	}
	t.Logf("%d modules in the bill of materials", len(*bill.Components))
}

// program is a script that runs the image's exportd as nobody, its root read-only, for those who start a
// program.
func program(t *testing.T, folder string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may change the root of a process")
	}
	const script = `#!/bin/sh
exec unshare --mount --propagation private sh -c '
root=$1; shift
mount --bind "$root" "$root" && mount -o remount,bind,ro "$root" && exec chroot --userspec=65534:65534 "$root" /usr/local/bin/exportd "$@"' sh '%s' "$@"
`
	path := filepath.Join(t.TempDir(), "exportd")
	if err := os.WriteFile(path, fmt.Appendf(nil, script, folder), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// run has the image's programs set up, serve and export on the embedded cloud.
func run(t *testing.T, folder string) {
	t.Helper()
	exportd := program(t, folder)
	if out, err := exec.CommandContext(t.Context(), exportd, "--version").CombinedOutput(); err != nil || !strings.Contains(string(out), version+" (commit "+commit) {
		t.Fatalf("exportd --version: %v, %s", err, out)
	}
	dir := t.TempDir()
	// For the embedded cloud, which no image of production has.
	if _, err := (compile.Source{Root: root, Version: version, Commit: commit}).Programs(t.Context(), dir, targets[0], "exportd-dev"); err != nil {
		t.Fatal(err)
	}
	_, hosts := e2etest.Emulators(t, filepath.Join(dir, "exportd"), filepath.Join(dir, "data"))
	stack := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 50, Messages: 500})
	worker := e2etest.Worker(t, exportd, hosts)
	for process, p := range map[string]*e2etest.Process{"api": stack.Process, "worker": worker} {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
		if err != nil || !strings.Contains(string(status), "Uid:\t65534\t65534\t65534\t65534") {
			t.Errorf("the %s does not run as nobody: %v\n%s", process, err, status)
		}
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", p.Pid()))
		if fields := strings.Fields(string(mounts)); err != nil || len(fields) < 6 || !strings.HasPrefix(fields[5], "ro,") {
			t.Errorf("the %s has a root that can be written: %v\n%s", process, err, mounts)
		}
		if r, err := e2etest.Send(t.Context(), "GET", e2etest.OpsURL(t, p)+"/readyz", nil, nil); err != nil || r.Status != 200 {
			t.Errorf("the %s is not ready: %v %s", process, err, r.Body)
		}
	}
	r, err := e2etest.Send(t.Context(), "GET", stack.APIURL+"/healthz", nil, nil)
	if err != nil || r.Status != 200 || !strings.Contains(string(r.Body), version) {
		t.Errorf("healthz: %v, %d %s", err, r.Status, r.Body)
	}
	if job, file := stack.Caller().Export(t, "vip-messages", stack.Messages()); job.State != "succeeded" || len(file) == 0 {
		t.Errorf("%+v, %d bytes", job, len(file))
	}
	// One more is under way when both are told to end: it ends, or stays queued for others.
	stack.Caller().Submit(t, "vip-users", stack.Users())
	for _, p := range []*e2etest.Process{worker, stack.Process} {
		p.Signal(syscall.SIGTERM)
	}
	for _, p := range []*e2etest.Process{worker, stack.Process} {
		if code := p.Wait(t, grace); code != 0 {
			t.Errorf("exit code %d after SIGTERM\n%s", code, p.Stderr())
		}
	}
}
