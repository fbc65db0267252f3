package jobs

import "testing"

// SetCanaryStages has canaries begin fewer, so that all that can happen to one can be gone through. Not for
// parallel tests.
func SetCanaryStages(t *testing.T, stages ...int64) {
	old := canaryStages
	t.Cleanup(func() { canaryStages = old })
	canaryStages = stages
}
