package manifests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// workflow is a file of GitHub Actions, as far as ours go; what is not in it is refused.
type workflow struct {
	Name        string
	On          map[string]map[string][]string
	Permissions map[string]string
	Concurrency map[string]any
	Jobs        map[string]struct {
		RunsOn         string `json:"runs-on"`
		TimeoutMinutes int    `json:"timeout-minutes"`
		Steps          []struct {
			Uses, Run string
			With, Env map[string]any
		}
	}
}

// TestWorkflows: CI on GitHub is what CI is everywhere, .ci/run; each make target and file that is named is
// there; and what may write is no more than a release needs.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	const root = "../../.."
	commit := regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40}$`)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(root + "/.github/workflows/*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		// "on" is a boolean to YAML 1.1; GitHub takes it for the word.
		if err := yaml.UnmarshalStrict([]byte(strings.Replace(string(raw), "\non:", "\n\"on\":", 1)), &w); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		runs := ""
		for name, job := range w.Jobs {
			if job.TimeoutMinutes == 0 || job.TimeoutMinutes > 120 || strings.HasSuffix(job.RunsOn, "-latest") {
				t.Errorf("%s: job %s runs for %d minutes on %s", file, name, job.TimeoutMinutes, job.RunsOn)
			}
			for _, step := range job.Steps {
				runs += step.Run + "\n"
				pinned := regexp.MustCompile(`(?m)^ +- uses: ` + regexp.QuoteMeta(step.Uses) + ` # v\d+\.\d+\.\d+$`)
				if step.Uses != "" && (!commit.MatchString(step.Uses) || !pinned.Match(raw)) {
					t.Errorf("%s uses %s, which is no commit with its version behind it: a tag can be moved", file, step.Uses)
				}
				if v, ok := step.With["go-version-file"].(string); ok && v != "go.mod" {
					t.Errorf("%s: Go's version is of %s", file, v)
				}
			}
		}
		if !strings.Contains(runs, "bash .ci/run") {
			t.Errorf("%s does not run .ci/run", file)
		}
		for _, target := range regexp.MustCompile(`\bmake ([a-z-]+)`).FindAllStringSubmatch(runs, -1) {
			if !regexp.MustCompile(`(?m)^` + target[1] + `:`).Match(makefile) {
				t.Errorf("%s: there is no target %s", file, target[1])
			}
		}
		writes := []string{}
		for what, right := range w.Permissions {
			if right == "write" {
				writes = append(writes, what)
			}
		}
		slices.Sort(writes)
		if want := map[string]string{"release": "contents packages"}[w.Name]; strings.Join(writes, " ") != want || len(w.Permissions) == 0 {
			t.Errorf("%s may write %v, wanted is %q", file, writes, want)
		}
	}
}
