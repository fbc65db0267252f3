package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"
)

// builds are what the fleet's processes run: with -previous two, and whoever ends comes back as one of them,
// as in an upgrade that is rolled out, taken back and rolled out again.
type builds struct {
	paths   []string // this build, and the one before
	names   []string // what they say they are
	started []int    // how often
	rolled  int      // processes that were told to end and replaced, not killed
}

func findBuilds(ctx context.Context, o options) (*builds, error) {
	b := &builds{paths: []string{o.bin}}
	if o.previous != "" {
		b.paths = append(b.paths, o.previous)
	}
	for _, path := range b.paths {
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			return nil, fmt.Errorf("%s --version: %w", path, err)
		}
		b.names = append(b.names, strings.TrimSpace(string(out)))
	}
	b.started = make([]int, len(b.paths))
	if b.mixed() && b.names[0] == b.names[1] {
		return nil, fmt.Errorf("-previous is the same build as -bin: %s", b.names[0])
	}
	return b, nil
}

// mixed says whether the fleet is of two builds.
func (b *builds) mixed() bool { return len(b.paths) > 1 }

// first is what the i-th of n processes begins as: half of them as the build before.
func (b *builds) first(i, n int) int {
	if b.mixed() && i < n/2 {
		return 1
	}
	return 0
}

// next has a process come back as one of the builds. With one there is no choice, and nothing is drawn:
// scripts of a seed stay what they were.
func (b *builds) next(p *process, rng *rand.Rand) {
	if b.mixed() {
		p.build = rng.IntN(len(b.paths))
	}
}

// newest has an API and a worker be of this build: what needs it waits until there are such.
func (f *fleet) newest(ctx context.Context) error {
	for _, all := range [][]*process{f.apis, f.workers} {
		if slices.ContainsFunc(all, func(p *process) bool { return p.build == 0 }) {
			continue
		}
		all[0].kill()
		all[0].build = 0
		if err := all[0].start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rollWithin is longer than a process drains and closes its connections while the cloud is away.
const rollWithin = 20 * time.Second

// end ends a process to be replaced: by kill -9, and every other time by SIGTERM where builds are replaced.
func (b *builds) end(p *process, rng *rand.Rand, log io.Writer) (killed bool) {
	if !b.mixed() || rng.IntN(2) == 0 {
		fmt.Fprintf(log, "kill -9 %s\n", p.name)
		p.kill()
		return true
	}
	fmt.Fprintf(log, "replace %s\n", p.name)
	b.rolled++
	_ = p.signal(syscall.SIGTERM) // gone already is as well
	select {
	case <-p.gone():
	case <-time.After(rollWithin):
		p.kill()
		return true
	}
	return false
}

// indexes writes the indexes of both builds into a file, as there are while both run
// (deployments/operations/upgrade.md): "" for one build, whose own the cloud has.
func (b *builds) indexes(ctx context.Context, dir string) (string, error) {
	if !b.mixed() {
		return "", nil
	}
	var all struct {
		Indexes        []any `json:"indexes"`
		FieldOverrides []any `json:"fieldOverrides"`
	}
	for _, path := range b.paths {
		raw, err := exec.CommandContext(ctx, path, "indexes").Output()
		if err != nil {
			return "", fmt.Errorf("%s indexes: %w", path, err)
		}
		one := all
		one.Indexes, one.FieldOverrides = nil, nil
		if err := json.Unmarshal(raw, &one); err != nil {
			return "", fmt.Errorf("indexes of %s: %w", path, err)
		}
		for _, index := range one.Indexes {
			if !slices.ContainsFunc(all.Indexes, func(o any) bool { return reflect.DeepEqual(o, index) }) {
				all.Indexes = append(all.Indexes, index)
			}
		}
		for _, field := range one.FieldOverrides {
			if !slices.ContainsFunc(all.FieldOverrides, func(o any) bool { return sameField(o, field) }) { // the first build's counts
				all.FieldOverrides = append(all.FieldOverrides, field)
			}
		}
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "indexes.json")
	return path, os.WriteFile(path, raw, 0o600)
}

func sameField(a, b any) bool {
	one, ok1 := a.(map[string]any)
	two, ok2 := b.(map[string]any)
	return ok1 && ok2 && one["collectionGroup"] == two["collectionGroup"] && one["fieldPath"] == two["fieldPath"]
}
