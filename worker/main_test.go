package worker_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(doomedEnv) != "" {
		os.Exit(doomedWorker())
	}
	if os.Getenv(damageEnv) != "" {
		os.Exit(damageWorker())
	}
	goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...)
}
