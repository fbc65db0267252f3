package jobqueue_test

import (
	"testing"

	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs/jobstest"
)

// TestQueue: the promises that every queue makes. What this one does with Pub/Sub, the other tests look at.
func TestQueue(t *testing.T) {
	t.Parallel()
	jobstest.QueueSuite(t, func(t *testing.T) jobstest.Queue {
		q := open(t, localcloudtest.Start(t))
		if err := q.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		return q
	})
}
