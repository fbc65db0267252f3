package e2e

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"exportd/internal/e2e/e2etest"
)

// behaviour is a test of what any installation does, whatever cloud is under it.
type behaviour struct {
	name string
	run  func(*testing.T, *e2etest.Stack)
}

// core runs on the embedded cloud and on Google's emulators.
var core = []behaviour{
	{"directory routes", directoryRoutes},
	{"an export is what the list pages through", exportEqualsList},
	{"an export is what is stored, byte for byte", exportEqualsStored},
	{"labels overview", labelsOverview},
	{"gates", gates},
	{"auth faults", authFaults},
	{"validation faults", validationFaults},
	{"waiting and polling", waitingAndPolling},
	{"attaching", attaching},
	{"downloads", downloads},
}

// more runs on the embedded cloud only: it is not about what is below the API, or needs the whole of the demo
// data.
var more = []behaviour{
	{"every filter", everyFilter},
	{"side workspace", sideWorkspace},
	{"python reads it back", pythonReadsItBack},
	{"other formats have the same cells", formatsAgree},
	{"request limits", requestLimits},
	{"open routes", openRoutes},
}

func TestDev(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := e2etest.Dev(t, exportd, folder, e2etest.Sizes{Users: 700, Messages: 3000})
	t.Run("files are the owner's", func(t *testing.T) {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == folder {
				return err
			}
			if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s is %s", path, info.Mode())
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the database works on them
			t.Error(err)
		}
	})
	for _, b := range append(core, more...) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.run(t, s)
		})
	}
}
