package inmemory_test

import (
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/inmemory"
	"exportd/jobs"
	"exportd/jobs/jobstest"
)

func TestQueue(t *testing.T) {
	t.Parallel()
	jobstest.QueueSuite(t, func(*testing.T) jobstest.Queue { return inmemory.NewQueue() })
}

// What nobody acknowledges comes again when its deadline is over, and a pull that finds nothing ends.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := inmemory.NewQueue()
		begun := time.Now()
		if got, err := q.Pull(t.Context(), jobs.QueueParts, 1); len(got) > 0 || err != nil || time.Since(begun) != time.Minute {
			t.Errorf("Pull of an empty queue = %d, %v after %v", len(got), err, time.Since(begun))
		}
		if err := q.Publish(t.Context(), jobs.QueueParts, jobs.Message{JobID: jobs.NewID()}); err != nil {
			t.Fatal(err)
		}
		first, err := q.Pull(t.Context(), jobs.QueueParts, 1)
		if err != nil || len(first) != 1 {
			t.Fatalf("Pull = %d, %v", len(first), err)
		}
		begun = time.Now()
		again, err := q.Pull(t.Context(), jobs.QueueParts, 1)
		if err != nil || len(again) != 1 || time.Since(begun) != inmemory.AckDeadline {
			t.Fatalf("Pull = %d, %v after %v, want the message again after %v", len(again), err, time.Since(begun), inmemory.AckDeadline)
		}
		// The receipt of the first delivery is worth nothing any more.
		if err := q.Nack(t.Context(), jobs.QueueParts, first[0], time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := q.Ack(t.Context(), jobs.QueueParts, again[0]); err != nil {
			t.Fatal(err)
		}
		if got, err := q.Pull(t.Context(), jobs.QueueParts, 1); len(got) > 0 || err != nil {
			t.Errorf("Pull after the Ack = %d, %v", len(got), err)
		}
	})
}
