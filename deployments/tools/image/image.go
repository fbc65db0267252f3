// Package image builds exportd's container image without a daemon: an index of one image for each platform,
// of a layer with certificates and time zones, and one with the programs, their bill of materials and
// licences. The same commit gives the same digest.
package image

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"exportd/deployments/tools/bom"
	"exportd/deployments/tools/compile"
)

// userID is the user and group that the image runs as; any other will do.
const userID = 65532

// Programs are those of the image, its entry point first; Demo has that of the demo on a laptop.
var (
	Programs = []string{"exportd", "exportctl"}
	Demo     = []string{"exportd-dev"}
)

// Config is what an image is built of.
type Config struct {
	Source  compile.Source
	Time    time.Time // of the commit: what files and the image are dated
	Targets []compile.Target
	// Programs are what is in it, the entry point first; Programs if nil.
	Programs []string
	Scratch  string // a folder for compiled programs
}

// Build builds the index.
func Build(ctx context.Context, c Config) (v1.ImageIndex, error) {
	if c.Programs == nil {
		c.Programs = Programs
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, t := range c.Targets {
		one, err := c.build(ctx, t)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: t.OS, Architecture: t.Arch},
		}})
	}
	return mutate.Annotations(index, c.labels()).(v1.ImageIndex), nil
}

// Write writes an index as an OCI image layout into a folder of its own, which skopeo, crane and podman read.
func Write(index v1.ImageIndex, dir string, name string) error {
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	if err := p.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name})); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}

func (c Config) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "exportd",
		"org.opencontainers.image.description": "Exports of Firestore collections to CSV, as jobs: API, workers, setup and doctor",
		"org.opencontainers.image.version":     c.Source.Version,
		"org.opencontainers.image.revision":    c.Source.Commit,
		"org.opencontainers.image.created":     c.Time.UTC().Format(time.RFC3339),
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}

func (c Config) build(ctx context.Context, t compile.Target) (v1.Image, error) {
	dir := filepath.Join(c.Scratch, t.OS+"-"+t.Arch)
	programs, err := c.Source.Programs(ctx, dir, t, c.Programs...)
	if err != nil {
		return nil, err
	}
	below, err := base()
	if err != nil {
		return nil, err
	}
	own, err := c.files(programs)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for i, files := range [][]file{below, own} {
		l, err := layer(files, c.Time)
		if err != nil {
			return nil, err
		}
		by := []string{"certificates, time zones, user", "exportd " + c.Source.Version}[i]
		img, err = mutate.Append(img, mutate.Addendum{Layer: l, MediaType: types.OCILayer, History: v1.History{CreatedBy: by, Created: v1.Time{Time: c.Time.UTC()}}})
		if err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = t.OS, t.Arch, v1.Time{Time: c.Time.UTC()}
	config.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", userID, userID),
		Entrypoint: []string{"/usr/local/bin/" + c.Programs[0]},
		// The API listens on all addresses, at the port in PORT (Cloud Run sets it), else 8080.
		Cmd:          []string{map[string]string{"exportd": "api", "exportd-dev": "run"}[c.Programs[0]]},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Env:          []string{"PATH=/usr/local/bin", "ZONEINFO=/usr/share/zoneinfo.zip"},
		Labels:       c.labels(),
		StopSignal:   "SIGTERM",
		WorkingDir:   "/",
	}
	return mutate.ConfigFile(img, config)
}

// doc is where the image has its licences and bill of materials.
const doc = "usr/share/doc/exportd"

// files are the programs and what is to be said of them.
func (c Config) files(programs []string) (out []file, err error) {
	for _, program := range programs {
		content, err := os.ReadFile(program)
		if err != nil {
			return nil, err
		}
		out = append(out, file{"usr/local/bin/" + filepath.Base(program), 0o555, content})
	}
	modules, err := bom.Modules(programs...)
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		for name, text := range m.Texts {
			out = append(out, file{path.Join(doc, "licenses", m.Path, name), 0o444, text})
		}
	}
	licence, err := os.ReadFile(filepath.Join(c.Source.Root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	materials, err := bom.Write(bom.Component{Name: "exportd", Version: c.Source.Version, Commit: c.Source.Commit, Time: c.Time}, modules)
	if err != nil {
		return nil, err
	}
	return append(out, file{path.Join(doc, "LICENSE"), 0o444, licence}, file{path.Join(doc, "sbom.cdx.json"), 0o444, materials}), nil
}
