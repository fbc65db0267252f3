package manifests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"

	"exportd/internal/config"
)

// TestCompose: the file is one by Compose's own rules, what it mounts is there, images have a version,
// nothing is reached from outside, workers start with their settings, and Prometheus asks each process where
// it answers.
func TestCompose(t *testing.T) {
	t.Parallel()
	options, err := cli.NewProjectOptions([]string{"../../compose/compose.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(project.Services) != 6 {
		t.Fatalf("%d services", len(project.Services))
	}
	var ops []string
	for name, s := range project.Services {
		if !regexp.MustCompile(`^[a-z/-]+:(dev|v?\d+\.\d+\.\d+)$`).MatchString(s.Image) {
			t.Errorf("%s: image %s has no version", name, s.Image)
		}
		if s.NetworkMode != "host" || len(s.Ports) > 0 {
			t.Errorf("%s: network %q, ports %v", name, s.NetworkMode, s.Ports)
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind && !exists(v.Source) {
				t.Errorf("%s mounts %s, which is not there", name, v.Source)
			}
		}
		if !strings.HasPrefix(s.Image, "exportd") {
			continue
		}
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") {
			t.Errorf("%s is not locked down", name)
		}
		ops = append(ops, ofService(t, s))
	}
	var prometheus struct {
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	raw, err := os.ReadFile(filepath.Join("../../compose", "prometheus.yaml"))
	if err == nil {
		err = yaml.Unmarshal(raw, &prometheus)
	}
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ops)
	if targets := prometheus.ScrapeConfigs[0].StaticConfigs[0].Targets; !slices.Equal(targets, ops) {
		t.Errorf("Prometheus asks %v, processes answer at %v", targets, ops)
	}
}

// ofService loads a process's settings, and says where it answers operators.
func ofService(t *testing.T, s types.ServiceConfig) string {
	t.Helper()
	env := map[string]string{}
	var environ []string
	for name, value := range s.Environment {
		env[name] = *value
		environ = append(environ, name+"="+*value)
	}
	if len(s.Command) > 0 && s.Command[0] == "run" {
		env["EXPORTD_ENV"] = "development" // exportd-dev sets this
	}
	cfg, err := config.Load(func(name string) string { return env[name] }, environ)
	if err != nil {
		t.Fatalf("%s would not start: %v", s.Name, err)
	}
	return cfg.OpsAddr
}
