package worker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/simulate"
	"exportd/jobs"
	"exportd/worker"
)

// noting is a store that notes when retries are notified.
type noting struct {
	*jobstore.Store
	mu   sync.Mutex
	late []time.Duration
	now  func() time.Time
}

func (n *noting) Update(ctx context.Context, id, actor string, fn func(*jobs.Tx) error) (*jobs.Job, error) {
	var due time.Time
	j, err := n.Store.Update(ctx, id, actor, func(tx *jobs.Tx) error {
		due = time.Time{}
		if tx.Job.State == jobs.Queued && tx.Job.WakeAt.Equal(tx.Job.NotBefore) {
			due = tx.Job.WakeAt
		}
		return fn(tx)
	})
	if err == nil && !due.IsZero() {
		n.mu.Lock()
		n.late = append(n.late, n.now().Sub(due))
		n.mu.Unlock()
	}
	return j, err
}

// BenchmarkRetire: 1,000 jobs whose records' life is over, and 100 retries that become due beside them over
// 10 s, with commits that take 40 ms.
func BenchmarkRetire(b *testing.B) {
	for b.Loop() {
		r := newRig(b)
		docs, now := map[string]any{}, r.clock.Now()
		for range 1000 {
			j := r.queued(now)
			j.Lapses = true
			j.State, j.FinishedAt, j.NotBefore, j.WakeAt, j.Shard = jobs.Canceled, now.Add(-91*24*time.Hour), time.Time{}, now, jobs.EndedShard(j.Shard)
			docs["ExportJobs/"+j.ID] = j
		}
		for i := range 100 {
			at := now.Add(5*time.Second + time.Duration(i)*100*time.Millisecond).Truncate(time.Microsecond)
			j := r.queued(at)
			j.OrgID = fmt.Sprint("org-", i)
			j.Fingerprint = jobs.Fingerprint(j.OrgID, j.Kind, 1, j.Params)
			docs["ExportJobs/"+j.ID] = j
		}
		r.write(b, docs)
		if err := r.cloud.Faults().Set(fault.Config{Rules: map[string]fault.Rule{"Firestore/Commit": {DelayRate: 1, DelayMS: 40}}}); err != nil {
			b.Fatal(err)
		}
		store := &noting{Store: r.store, now: r.clock.Now}
		r.cloud.Faults().ResetCounters()
		begun := time.Now()
		stop := r.work(b, func(c *worker.Config) { c.Store = store })
		left := int64(-1)
		eventually(b, 5*time.Minute, func() bool {
			st, err := r.store.Stats(b.Context())
			left = st.States[jobs.Canceled]
			return err == nil && left == 0 && st.States[jobs.Failed] == 0
		}, func() any { return left })
		b.ReportMetric(1000/time.Since(begun).Seconds(), "retired/s")
		c := r.cloud.Faults().Counters()
		b.ReportMetric(float64(c.DocumentsWritten)/1000, "writes/job")
		b.ReportMetric(float64(c.DocumentsRead+c.Methods["Firestore/RunQuery"].Calls)/1000, "reads/job")
		b.ReportMetric(float64(c.Methods["Firestore/Commit"].Calls)/1000, "commits/job")
		eventually(b, time.Minute, func() bool {
			store.mu.Lock()
			defer store.mu.Unlock()
			return len(store.late) >= 100
		}, func() any { return len(store.late) })
		stop()
		slices.Sort(store.late)
		b.ReportMetric(store.late[50].Seconds()*1000, "ms-late-p50")
		b.ReportMetric(store.late[99].Seconds()*1000, "ms-late-p100")
	}
}

// BenchmarkIdle: what a hundred workers that have nothing to do read and write, after they have settled.
func BenchmarkIdle(b *testing.B) {
	const workers, span = 100, 60 * time.Second
	for b.Loop() {
		r := newRig(b)
		var stops []func()
		for i := range workers {
			// Each has a connection of its own, as a process has: one takes 100 streams.
			client, err := firestore.NewClient(b.Context(), localcloudtest.Project, localcloud.GRPCOptions(r.cloud.Endpoints().Firestore)...)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = client.Close() })
			cfg, err := settings()
			if err != nil {
				b.Fatal(err)
			}
			store := jobstore.New(jobstore.Config{Client: client, Policy: cfg.Policy(), Limits: cfg.Limits(), Now: r.clock.Now})
			stops = append(stops, r.work(b, func(c *worker.Config) { c.ID, c.Store, c.Callbacks = fmt.Sprint("w", i), store, nil }))
		}
		eventually(b, time.Minute, func() bool { w, err := r.store.Alive(b.Context()); return err == nil && len(w) == workers }, func() any { return "workers" })
		if err := r.store.Divide(b.Context(), func(d *jobs.Division) { d.Partitions, d.Workers = 1, workers }); err != nil {
			b.Fatal(err)
		}
		<-time.After(20 * time.Second)
		r.cloud.Faults().ResetCounters()
		<-time.After(span)
		c := r.cloud.Faults().Counters()
		// A query that finds nothing costs a read, which the counter does not count.
		reads := float64(c.DocumentsRead+c.Methods["Firestore/RunQuery"].Calls) / span.Seconds()
		writes := float64(c.DocumentsWritten) / span.Seconds()
		if reads == 0 || writes == 0 {
			b.Fatal("nothing was counted")
		}
		b.ReportMetric(reads, "reads/s")
		b.ReportMetric(writes, "writes/s")
		var stopped sync.WaitGroup
		for _, stop := range stops {
			stopped.Go(stop)
		}
		stopped.Wait()
		b.ReportMetric(simulate.USD(int64(86400*reads), int64(86400*writes), 0), "USD/day")
	}
}
