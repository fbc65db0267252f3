package service

import (
	"testing"

	"go.uber.org/goleak"

	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }
