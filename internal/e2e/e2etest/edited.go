package e2etest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// Edit changes a source file of a build: what matches Old, once, becomes New.
type Edit struct {
	File string // in the module
	Old  *regexp.Regexp
	New  string
}

// BuildEdited compiles exportd from edited copies of its source into dir and returns its path. The source
// itself stays as it is.
func BuildEdited(root, dir string, race bool, edits []Edit) (string, error) {
	replace := map[string]string{}
	for i, e := range edits {
		path, err := filepath.Abs(filepath.Join(root, e.File))
		if err != nil {
			return "", err
		}
		from := path
		if edited, ok := replace[path]; ok {
			from = edited
		}
		source, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if n := len(e.Old.FindAllIndex(source, -1)); n != 1 {
			return "", fmt.Errorf("%s has %d of %s, want one", e.File, n, e.Old)
		}
		replace[path] = filepath.Join(dir, strconv.Itoa(i)+"-"+filepath.Base(path))
		if err := os.WriteFile(replace[path], e.Old.ReplaceAll(source, []byte(e.New)), 0o600); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	list, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "exportd")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	args := []string{"build", "-tags", "nomsgpack", "-overlay", list, "-o", program}
	if race {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "exportd/cmd/exportd")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build an edited exportd: %w\n%s", err, out)
	}
	return program, nil
}
