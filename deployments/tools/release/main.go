// Command release makes what a release of exportd consists of, from a commit: archives, image, bill of
// materials, notes and checksums. The same commit gives the same bytes. `make release` and `make image` run
// it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"exportd/deployments/tools/compile"
	"exportd/deployments/tools/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

type options struct {
	source    compile.Source
	time      time.Time
	out       string
	push      string // "" pushes nothing
	unpack    string // "" unpacks nothing
	imageOnly bool
	programs  []string // of the image
	targets   []compile.Target
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "exportd-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if !o.imageOnly {
		if err := archives(ctx, o, scratch); err != nil {
			return err
		}
	}
	return makeImage(ctx, o, scratch)
}

func parse(args []string) (o options, err error) {
	var platforms string
	f := flag.NewFlagSet("release", flag.ContinueOnError)
	f.StringVar(&o.source.Root, "root", "../..", "folder of exportd's go.mod")
	f.StringVar(&o.source.Version, "version", "", "version, as 0.2.0")
	f.StringVar(&o.source.Commit, "commit", "", "commit, as the programs say it")
	f.StringVar(&o.out, "out", "", "folder to write to; it must not be there yet")
	f.StringVar(&o.push, "push", "", "where to push the image, as europe-docker.pkg.dev/PROJECT/exportd/exportd:0.2.0; signs in as docker does")
	f.StringVar(&o.unpack, "unpack", "", "folder to unpack the first platform's image into, to be run without a container")
	f.BoolVar(&o.imageOnly, "image", false, "make the image alone")
	demo := f.Bool("demo", false, "with -image: make that of exportd-dev, for a laptop")
	f.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64", "platforms of the image")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.source.Version == "" || o.source.Commit == "" || o.out == "" {
		return o, fmt.Errorf("-version, -commit and -out are required")
	}
	if o.programs = image.Programs; *demo {
		o.programs = image.Demo
	}
	for p := range strings.SplitSeq(platforms, ",") {
		system, arch, ok := strings.Cut(p, "/")
		if !ok {
			return o, fmt.Errorf("-platforms: %q is not like linux/amd64", p)
		}
		o.targets = append(o.targets, compile.Target{OS: system, Arch: arch})
	}
	if _, err := os.Stat(o.out); err == nil {
		return o, fmt.Errorf("-out %s: is there already", o.out)
	}
	o.time, err = commitTime(o.source.Root)
	return o, err
}

// commitTime is what everything is dated: SOURCE_DATE_EPOCH, or the time of git's commit.
func commitTime(root string) (time.Time, error) {
	raw := os.Getenv("SOURCE_DATE_EPOCH")
	if raw == "" {
		out, err := exec.Command("git", "-C", root, "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("time of the commit: %w; or set SOURCE_DATE_EPOCH", err)
		}
		raw = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(raw, 10, 64)
	return time.Unix(seconds, 0).UTC(), err
}

func makeImage(ctx context.Context, o options, scratch string) error {
	index, err := image.Build(ctx, image.Config{Source: o.source, Time: o.time, Targets: o.targets, Programs: o.programs, Scratch: scratch})
	if err != nil {
		return err
	}
	dir := filepath.Join(o.out, "image")
	if err := image.Write(index, dir, "exportd:"+o.source.Version); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("image %s in %s\n", digest, dir)
	if o.unpack != "" {
		if err := unpack(index, o.unpack); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(o.out, "image.digest"), []byte(digest.String()+"\n"), 0o644); err != nil {
		return err
	}
	if o.push == "" {
		return nil
	}
	ref, err := name.ParseReference(o.push)
	if err != nil {
		return fmt.Errorf("-push: %w", err)
	}
	if err := remote.WriteIndex(ref, index, remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	fmt.Printf("pushed %s@%s\n", ref.Context(), digest)
	return nil
}

func unpack(index v1.ImageIndex, dir string) error {
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return err
	}
	_, err = image.Unpack(img, dir)
	return err
}
