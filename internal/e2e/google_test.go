package e2e

import (
	"testing"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/machinetest"
)

// TestGoogle runs the core on Google's own emulators of Firestore and Pub/Sub, the one judge of the embedded
// cloud that was not written here: what passes on ours must pass on theirs. Their Firestore goes through the
// whole collection for each page, so there is less data.
func TestGoogle(t *testing.T) {
	t.Parallel()
	gcloud := e2etest.GCloud()
	if gcloud == "" {
		machinetest.Lacks(t, "gcloud with its emulators")
	}
	hosts := e2etest.GoogleEmulators(t, gcloud)
	_, embedded := e2etest.Emulators(t, exportd, t.TempDir())
	hosts.Storage = embedded.Storage
	sameIDs(t, hosts.Firestore, embedded.Firestore)
	s := e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 500, Messages: 1500})
	// Parts of 500 rows, so that plan and finalize are judged too.
	e2etest.Worker(t, exportd, hosts, "EXPORTD_PART_ROWS=500")
	for _, b := range core {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.run(t, s)
		})
	}
}
