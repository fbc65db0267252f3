package main

import (
	"testing"

	"exportd/internal/config"
	"exportd/internal/jobqueue"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/records"
	"exportd/jobs"
)

// BenchmarkPage is a page of a scan to CSV, without the upload. B/op over the rows of a page is what the
// garbage collector gets of a row: all of it is of the transport.
func BenchmarkPage(b *testing.B) {
	server, err := startReplay(records.DefaultPageSize)
	if err != nil {
		b.Fatal(err)
	}
	reader, err := records.Open(b.Context(), records.Config{ProjectID: "replay", Emulator: server.addr, Connections: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := reader.Close(); err != nil {
			b.Errorf("close reader: %v", err)
		}
		if err := server.close(); err != nil {
			b.Errorf("close replay: %v", err)
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		if err := want(records.DefaultPageSize)(scanOurs(b.Context(), reader, records.DefaultPageSize)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*records.DefaultPageSize/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkClaim is what stands between a message and the work: pull the message, claim the job by
// compare-and-set, acknowledge. Making the job is not in it.
func BenchmarkClaim(b *testing.B) {
	cloud := localcloudtest.Start(b)
	cfg, err := config.Load(func(name string) string {
		return map[string]string{"FIRESTORE_EMULATOR_HOST": cloud.Endpoints().Firestore, "EXPORTD_PROJECT_ID": localcloudtest.Project}[name]
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	store := jobstore.New(jobstore.Config{Client: cloud.Firestore, Policy: cfg.Policy()})
	queue, err := jobqueue.Open(b.Context(), jobqueue.Config{ProjectID: localcloudtest.Project, Emulator: cloud.Endpoints().PubSub})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = queue.Close() }) // nothing is being published any more
	if err := queue.Ensure(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		sub, err := store.Submit(b.Context(), jobs.Submission{
			OrgID: "bench", KeyID: "bench", Kind: "vip-messages", Fresh: true,
			Params: window(1).With("profile", jobs.ProfileRFC4180),
		})
		if err != nil {
			b.Fatal(err)
		}
		if err := queue.Publish(b.Context(), jobs.QueueExports, jobs.Message{JobID: sub.Job.ID}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		claim(b, store, queue)
	}
}

func claim(b *testing.B, store *jobstore.Store, queue *jobqueue.Queue) {
	b.Helper()
	got, err := queue.Pull(b.Context(), jobs.QueueExports, 1)
	if err != nil || len(got) != 1 {
		b.Fatalf("Pull() = %d messages, %v; want 1", len(got), err)
	}
	m, err := jobs.ParseMessage(got[0].Data)
	if err != nil {
		b.Fatal(err)
	}
	_, err = store.Update(b.Context(), m.JobID, "bench", func(tx *jobs.Tx) error {
		_, err := tx.Claim("bench")
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := queue.Ack(b.Context(), jobs.QueueExports, got[0]); err != nil {
		b.Fatal(err)
	}
}
