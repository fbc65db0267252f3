package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"exportd/deployments/tools/compile"
)

// file is one of an image: root's, read by all.
type file struct {
	path    string // without the first slash
	mode    int64
	content []byte
}

// base is what a static program looks for besides itself: certificates of the authorities that Mozilla
// trusts, time zones, and a name for its user. They come from modules and the compiler, whose versions are
// fixed, not from a distribution.
func base() ([]file, error) {
	goroot, err := compile.Setting("GOROOT")
	if err != nil {
		return nil, err
	}
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // a file of certificates cannot say that only some of what it signed counts
		}
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	zones, err := os.ReadFile(filepath.Join(goroot, "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return nil, fmt.Errorf("time zones: %w", err)
	}
	return []file{
		{"etc/group", 0o444, fmt.Appendf(nil, "root:x:0:\nexportd:x:%d:\n", userID)},
		{"etc/passwd", 0o444, fmt.Appendf(nil, "root:x:0:0:root:/:/sbin/nologin\nexportd:x:%d:%d:exportd:/:/sbin/nologin\n", userID, userID)},
		{"etc/ssl/certs/ca-certificates.crt", 0o444, roots.Bytes()},
		{"usr/share/zoneinfo.zip", 0o444, zones},
	}, nil
}

// layer packs files, sorted, with the folders that they are in; all are of one time.
func layer(files []file, at time.Time) (v1.Layer, error) {
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.path, b.path) })
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	made := map[string]bool{".": true}
	for _, f := range files {
		if err := folders(w, made, path.Dir(f.path), at); err != nil {
			return nil, err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: f.mode, Size: int64(len(f.content)), ModTime: at, Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
}

func folders(w *tar.Writer, made map[string]bool, dir string, at time.Time) error {
	if made[dir] {
		return nil
	}
	if err := folders(w, made, path.Dir(dir), at); err != nil {
		return err
	}
	made[dir] = true
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: at, Format: tar.FormatPAX})
}
