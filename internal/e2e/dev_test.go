package e2e

import (
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

// more runs on the embedded cloud only: it is not about what is below the API, or needs
// the whole of the demo data.
var more = []behaviour{
	{"every filter", everyFilter},
	{"side workspace", sideWorkspace},
	{"python reads it back", pythonReadsItBack},
	{"request limits", requestLimits},
	{"open routes", openRoutes},
}

func TestDev(t *testing.T) {
	t.Parallel()
	s := e2etest.Dev(t, exportd, t.TempDir(), e2etest.Sizes{Users: 700, Messages: 3000})
	for _, b := range append(core, more...) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.run(t, s)
		})
	}
}
