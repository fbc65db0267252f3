// Package compile makes exportd's programs, the same bytes from the same commit wherever it is done.
package compile

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Target is what a program runs on.
type Target struct{ OS, Arch string }

func (t Target) String() string { return t.OS + "/" + t.Arch }

// Source is what programs are made of, and what they say they are.
type Source struct {
	Root            string // the folder of exportd's go.mod
	Version, Commit string
}

// Programs compiles programs of cmd/ into dir and returns their paths, in the order of names. Neither the
// folder of the source nor git, the user or the environment's settings of Go leave a trace in them.
func (s Source) Programs(ctx context.Context, dir string, t Target, names ...string) (paths []string, err error) {
	args := []string{
		// No cgo: the C resolver would complete callback hosts with search domains.
		"build", "-tags", "nomsgpack", "-trimpath", "-buildvcs=false", "-o", dir + string(filepath.Separator),
		"-ldflags", fmt.Sprintf("-s -w -buildid= -X exportd/internal/version.release=%s -X exportd/internal/version.commit=%s", s.Version, s.Commit),
	}
	for _, name := range names {
		args = append(args, "./cmd/"+name)
		if t.OS == "windows" {
			name += ".exe"
		}
		paths = append(paths, filepath.Join(dir, name))
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = s.Root
	cmd.Env = append(without(os.Environ(), "GOFLAGS", "GOEXPERIMENT", "GOAMD64", "GOARM64"),
		"CGO_ENABLED=0", "GOOS="+t.OS, "GOARCH="+t.Arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %v for %s: %w\n%s", names, t, err, out)
	}
	return paths, nil
}

// Setting is what `go env` says of a name.
func Setting(name string) (string, error) {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		return "", fmt.Errorf("go env %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

func without(env []string, names ...string) []string {
	return slices.DeleteFunc(env, func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(names, name)
	})
}
