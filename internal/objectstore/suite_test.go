package objectstore_test

import (
	"net/http"
	"testing"

	"exportd/internal/objectstore"
	"exportd/jobs/jobstest"
)

// TestObjects: the promises that every store of objects makes. What this one does with Cloud Storage, the
// other tests look at.
func TestObjects(t *testing.T) {
	t.Parallel()
	jobstest.ObjectSuite(t, func(t *testing.T, c jobstest.ObjectConfig) *jobstest.Bucket {
		s := open(t, objectstore.Config{EmulatorHost: listen(t, serve(t)), ChunkBytes: c.ChunkBytes})
		if !c.NoBucket {
			if err := s.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return &jobstest.Bucket{ObjectStore: s, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	})
}
