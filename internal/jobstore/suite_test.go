package jobstore_test

import (
	"testing"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs/jobstest"
)

// TestStore: the promises that every store makes. What this one does with Firestore, the other tests look at.
func TestStore(t *testing.T) {
	t.Parallel()
	jobstest.StoreSuite(t, func(t *testing.T, c jobstest.Config) jobstest.Store {
		return jobstore.New(jobstore.Config{Client: localcloudtest.Start(t).Firestore, Policy: c.Policy, Limits: c.Limits, ReuseFor: c.ReuseFor, Now: c.Now})
	})
}
