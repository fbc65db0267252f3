package image

import (
	"archive/tar"
	"crypto/x509"
	"io"
	"slices"
	"testing"
	"time"
)

// TestLayer: the bytes of a layer depend on its files alone, not on their order; each folder comes before
// what is in it.
func TestLayer(t *testing.T) {
	t.Parallel()
	files := []file{{"b/c/d", 0o444, []byte("d")}, {"a", 0o555, []byte("a")}, {"b/c/a", 0o444, nil}}
	at := time.Unix(1_790_000_000, 0)
	one, err := layer(slices.Clone(files), at)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(files)
	two, err := layer(files, at)
	if err != nil {
		t.Fatal(err)
	}
	d1, err1 := one.Digest()
	d2, err2 := two.Digest()
	if err1 != nil || err2 != nil || d1 != d2 {
		t.Errorf("%s (%v), %s (%v)", d1, err1, d2, err2)
	}
	r, err := one.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil || !h.ModTime.Equal(at) {
			t.Fatalf("%v, %+v", err, h)
		}
		names = append(names, h.Name)
	}
	if want := []string{"a", "b/", "b/c/", "b/c/a", "b/c/d"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

// TestBase: what Go looks for is where it looks: authorities, zones, a name for the user.
func TestBase(t *testing.T) {
	t.Parallel()
	files, err := base()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	for _, f := range files {
		got[f.path] = f.content
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(got["etc/ssl/certs/ca-certificates.crt"]) {
		t.Error("no authorities")
	}
	if len(got["usr/share/zoneinfo.zip"]) < 100<<10 || len(got["etc/passwd"]) == 0 {
		t.Errorf("%d bytes of zones, passwd %q", len(got["usr/share/zoneinfo.zip"]), got["etc/passwd"])
	}
}
