package jobqueue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"exportd/internal/connection"
	"exportd/internal/connection/connectiontest"
	"exportd/internal/jobqueue"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...) }

func open(t *testing.T, cloud *localcloudtest.Cloud) *jobqueue.Queue {
	t.Helper()
	q, err := jobqueue.Open(context.Background(), jobqueue.Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().PubSub})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func TestPublishPullAck(t *testing.T) {
	t.Parallel()
	q := open(t, localcloudtest.Start(t))
	if err := q.Ping(t.Context()); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("Ping before Mend = %v, want ErrUnavailable", err)
	}
	for i := range 2 { // safe to repeat
		changed, err := q.Mend(t.Context())
		if err != nil || len(changed) != []int{2 * len(jobqueue.AllQueues), 0}[i] {
			t.Fatalf("Mend = %q, %v", changed, err)
		}
	}
	if err := q.Ping(t.Context()); err != nil {
		t.Errorf("Ping = %v", err)
	}
	want := jobs.Message{JobID: jobs.NewID(), PlanEpoch: 3, Part: 7}
	if err := q.Publish(t.Context(), jobs.QueueParts, want); err != nil {
		t.Fatalf("Publish = %v", err)
	}
	for _, nack := range []bool{true, false} {
		got, err := q.Pull(t.Context(), jobs.QueueParts, 5)
		if err != nil || len(got) != 1 {
			t.Fatalf("Pull = %d messages, %v, want 1", len(got), err)
		}
		if m, err := jobs.ParseMessage(got[0].Data); err != nil || m != want {
			t.Errorf("message = %+v, %v, want %+v", m, err, want)
		}
		if nack {
			err = q.Nack(t.Context(), jobs.QueueParts, got[0], 0)
		} else {
			err = q.Ack(t.Context(), jobs.QueueParts, got[0])
		}
		if err != nil {
			t.Errorf("nack %v: %v", nack, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, _ := q.Pull(ctx, jobs.QueueParts, 5); len(got) != 0 {
		t.Errorf("Pull after Ack = %d messages, want none", len(got))
	}
}

// A server that doubles deliveries once filled a worker with more than it had slots for, and its queue stood
// still for ever.
func TestPullGivesNoMoreThanAsked(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	q := open(t, cloud)
	if err := q.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cloud.Faults().Set(fault.Config{Rules: map[string]fault.Rule{"Subscriber/Pull": {DoubleRate: 1}}}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := q.Publish(t.Context(), jobs.QueueParts, jobs.Message{JobID: jobs.NewID()}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if got, err := q.Pull(t.Context(), jobs.QueueParts, 2); err != nil || len(got) > 2 {
			t.Errorf("Pull = %d messages, %v, want at most 2", len(got), err)
		}
	}
}

// A Pull that found nothing is told from one that nobody heard, and the next one goes through as soon as the
// way is good again.
func TestPullIntoSilence(t *testing.T) {
	t.Parallel()
	cloud := localcloudtest.Start(t)
	if err := open(t, cloud).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy := connectiontest.Start(t, cloud.Endpoints().PubSub)
	lost := make(chan string, 100)
	guard := &connection.Guard{MinTimeout: time.Millisecond, Lost: func(addr string) { lost <- addr }}
	through := func(probe time.Duration) *jobqueue.Queue {
		q, err := jobqueue.Open(t.Context(), jobqueue.Config{ProjectID: localcloudtest.Project, Emulator: proxy.Addr, Guard: guard,
			PullFor: 100 * time.Millisecond, ProbeFor: probe})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = q.Close() })
		return q
	}
	if got, err := through(time.Minute).Pull(t.Context(), jobs.QueueParts, 1); err != nil || len(got) != 0 {
		t.Errorf("Pull of an empty queue = %d, %v, want none", len(got), err)
	}
	if s := guard.Silent(time.Now().Add(time.Hour)); s != 0 {
		t.Errorf("silent for %s after a Pull that found nothing", s)
	}
	q := through(50 * time.Millisecond)
	pull := func() error {
		_, err := q.Pull(t.Context(), jobs.QueueParts, 1)
		return err
	}
	for pull() != nil { // a busy machine may take longer to connect
	}
	for len(lost) > 0 {
		<-lost
	}
	opened := guard.Opened()
	proxy.Silence()
	for len(lost) == 0 {
		if err := pull(); !errors.Is(err, jobs.ErrUnavailable) {
			t.Errorf("Pull into silence = %v, want ErrUnavailable", err)
		}
	}
	proxy.Heal()
	for pull() != nil {
	}
	if guard.Opened() == opened {
		t.Error("no connection was made")
	}
}
