package image

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// TestUnpack: files come out as they went in; links are refused, and nothing is written outside of the
// folder.
func TestUnpack(t *testing.T) {
	t.Parallel()
	l, err := layer([]file{{"usr/bin/p", 0o555, []byte("program")}, {"etc/p", 0o444, []byte("settings")}}, time.Unix(1_790_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "root")
	headers, err := Unpack(of(t, l), dir)
	if err != nil || len(headers) != 5 {
		t.Errorf("%v, %d files and folders", err, len(headers))
	}
	info, err := os.Stat(filepath.Join(dir, "usr/bin/p"))
	if err != nil || info.Mode() != 0o555 || info.Size() != 7 {
		t.Errorf("%v, %+v", err, info)
	}
	link := raw(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "etc/l", Linkname: "/etc/passwd"})
	if _, err := Unpack(of(t, link), filepath.Join(t.TempDir(), "root")); err == nil {
		t.Error("a link is unpacked")
	}
	above := t.TempDir()
	out := raw(t, tar.Header{Typeflag: tar.TypeReg, Name: "../out", Mode: 0o644})
	_, err = Unpack(of(t, out), filepath.Join(above, "root"))
	if _, outside := os.Stat(filepath.Join(above, "out")); outside == nil {
		t.Errorf("a file is outside of the folder: %v", err)
	}
}

func of(t *testing.T, l v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func raw(t *testing.T, h tar.Header) v1.Layer {
	t.Helper()
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}
