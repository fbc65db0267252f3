// Package version tells which exportd a program is.
package version

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"strings"
)

// Set by the Makefile and deployments/tools/compile: -ldflags "-X exportd/internal/version.release=0.1.0
// ...". What they leave empty comes from what go build writes into a program, which is nothing in a worktree
// of git, in an image without .git and with -buildvcs=false.
var (
	release string // as git describe has it, without the v
	commit  string // with -dirty behind it if files of the build differ
)

// Unknown stands for a commit that nobody wrote down.
const Unknown = "unknown"

// Build is where a program comes from.
type Build struct {
	// Version is a release ("0.1.0"), what git describe or go build make of a later commit
	// ("0.1.0-7-gb0ff6e2d3246"), or "devel".
	Version string
	// Commit is 12 hexadecimal digits, or Unknown.
	Commit string
	// Modified says that the files were not those of the commit.
	Modified bool
	// Go is the version of the compiler.
	Go string
}

// Get returns the running program's.
func Get() Build {
	info, _ := debug.ReadBuildInfo() // nil in a program without modules, which no build of this is
	return of(release, commit, info)
}

func of(release, commit string, info *debug.BuildInfo) Build {
	b := Build{Version: release}
	var dirty bool
	b.Commit, dirty = strings.CutSuffix(commit, "-dirty")
	b.Modified = dirty
	if info != nil {
		b.Go = info.GoVersion
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = strings.TrimSuffix(strings.TrimPrefix(info.Main.Version, "v"), "+dirty")
		}
		if b.Commit == "" {
			for _, s := range info.Settings {
				switch s.Key {
				case "vcs.revision":
					b.Commit = s.Value
				case "vcs.modified":
					b.Modified = s.Value == "true"
				}
			}
		}
	}
	b.Version, b.Commit = cmp.Or(b.Version, "devel"), cmp.Or(b.Commit[:min(12, len(b.Commit))], Unknown)
	return b
}

// String is what --version prints behind the program's name.
func (b Build) String() string {
	modified := ""
	if b.Modified {
		modified = " with changes"
	}
	return fmt.Sprintf("%s (commit %s%s, %s)", b.Version, b.Commit, modified, b.Go)
}
