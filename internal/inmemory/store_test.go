package inmemory_test

import (
	"testing"

	"go.uber.org/goleak"

	"exportd/internal/inmemory"
	"exportd/jobs/jobstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	t.Parallel()
	jobstest.StoreSuite(t, func(_ *testing.T, c jobstest.Config) jobstest.Store {
		return inmemory.NewStore(inmemory.Config{Policy: c.Policy, Limits: c.Limits, ReuseFor: c.ReuseFor, Now: c.Now})
	})
}
