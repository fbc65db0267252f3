package service

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/simulate"
	"exportd/jobs"
)

// idlers are APIs and workers that have nothing to do, each with clients of its own, as a process.
type idlers struct {
	cloud *localcloudtest.Cloud
	urls  []string // of the APIs
	ended sync.WaitGroup
}

// start runs a process's work until ctx ends.
func (i *idlers) start(ctx context.Context, b *testing.B, name string, work func(context.Context, config.Config, *Clients) error) {
	b.Helper()
	e := i.cloud.Endpoints()
	env := map[string]string{
		"FIRESTORE_EMULATOR_HOST": e.Firestore, "PUBSUB_EMULATOR_HOST": e.PubSub, "STORAGE_EMULATOR_HOST": e.Storage,
		"EXPORTD_PROJECT_ID": localcloudtest.Project, "EXPORTD_WORKER_ID": name, "EXPORTD_DRAIN_SECONDS": "1",
	}
	cfg, err := config.Load(func(name string) string { return env[name] }, nil)
	if err != nil {
		b.Fatal(err)
	}
	c, err := Open(ctx, cfg, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	i.ended.Go(func() {
		defer func() { _ = c.Close() }()
		if err := work(ctx, cfg, c); err != nil && ctx.Err() == nil {
			b.Errorf("%s: %v", name, err)
		}
	})
}

func (i *idlers) startAPI(ctx context.Context, b *testing.B, name string) {
	b.Helper()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	i.urls = append(i.urls, "http://"+l.Addr().String())
	i.start(ctx, b, name, func(ctx context.Context, cfg config.Config, c *Clients) error {
		return ServeAPI(ctx, cfg, c, zap.NewNop(), l, APIOptions{})
	})
}

// probe asks each API what deployments/kubernetes has asked, as often, until ctx ends.
func (i *idlers) probe(ctx context.Context, b *testing.B) {
	b.Helper()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		for _, url := range i.urls {
			paths := []string{"/readyz"}
			if n%2 == 0 {
				paths = append(paths, "/healthz")
			}
			for _, path := range paths {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
				if err != nil {
					b.Error(err)
					return
				}
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					if ctx.Err() == nil {
						b.Error(err)
					}
					return
				}
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					b.Errorf("%s = %d", path, res.StatusCode)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// report prints what was counted in a span.
func report(b *testing.B, what string, c fault.Counters, span time.Duration) {
	b.Helper()
	// A query that finds nothing is billed as a read, which the counter leaves out. Deletes are counted, and
	// priced, as writes.
	reads, writes, pubsub := c.DocumentsRead+c.Methods["Firestore/RunQuery"].Calls, c.DocumentsWritten, int64(0)
	var methods []string
	for name, n := range c.Methods {
		if strings.HasPrefix(name, "Publisher/") || strings.HasPrefix(name, "Subscriber/") {
			pubsub += n.Calls
		}
		methods = append(methods, fmt.Sprintf("%s %d calls, %d read, %d written", name, n.Calls, n.DocumentsRead, n.DocumentsWritten))
	}
	slices.Sort(methods)
	if reads == 0 || writes == 0 {
		b.Fatalf("%s: nothing was counted", what)
	}
	day := func(n int64) int64 { return int64(float64(n) * float64(24*time.Hour) / float64(span)) }
	b.ReportMetric(float64(reads)/span.Seconds(), what+"-reads/s")
	b.ReportMetric(float64(writes)/span.Seconds(), what+"-writes/s")
	b.ReportMetric(float64(pubsub)/span.Seconds(), what+"-pubsub/s")
	b.ReportMetric(simulate.USD(day(reads), day(writes), 0), what+"-Firestore-USD/day")
	b.ReportMetric(simulate.USD(0, 0, day(pubsub)), what+"-PubSub-USD/day")
	b.Logf("%s, in %s:\n%s", what, span, strings.Join(methods, "\n"))
}

// BenchmarkIdle: what two APIs and a hundred workers that have nothing to do read and write, and what a day
// of it costs, with 2,000 API keys stored that nobody uses: at the start of the APIs, after they have
// settled, and with the probes of deployments/kubernetes.
func BenchmarkIdle(b *testing.B) {
	const apis, workers, keys, settle, span = 2, 100, 2000, 20 * time.Second, time.Minute
	for b.Loop() {
		i := &idlers{cloud: localcloudtest.Start(b)}
		writer := i.cloud.Firestore.BulkWriter(b.Context())
		for n := range keys {
			if _, err := writer.Set(i.cloud.Firestore.Collection(apikey.Collection).Doc(fmt.Sprintf("key_%04d", n)), map[string]any{"orgId": fmt.Sprint("org", n), "secret": strings.Repeat("s", 32)}); err != nil {
				b.Fatal(err)
			}
		}
		writer.End()
		ctx, stop := context.WithCancel(b.Context())
		ready := make(chan *Clients, 1)
		i.start(ctx, b, "setup", func(ctx context.Context, _ config.Config, c *Clients) error {
			if _, err := c.Setup(ctx); err != nil {
				return err
			}
			ready <- c
			<-ctx.Done()
			return nil
		})
		own := <-ready
		i.cloud.Faults().ResetCounters()
		for n := range apis {
			i.startAPI(ctx, b, fmt.Sprint("api", n))
		}
		<-time.After(5 * time.Second)
		b.ReportMetric(float64(i.cloud.Faults().Counters().DocumentsRead), "start-reads")
		for n := range workers {
			i.start(ctx, b, fmt.Sprint("worker", n), func(ctx context.Context, cfg config.Config, c *Clients) error {
				return RunWorker(ctx, cfg, c, zap.NewNop())
			})
		}
		await(b, func() bool { w, err := own.Store.Alive(ctx); return err == nil && len(w) == workers })
		// What the chief would find out within five minutes.
		if err := own.Store.Divide(ctx, func(d *jobs.Division) { d.Partitions, d.Workers = 1, workers }); err != nil {
			b.Fatal(err)
		}
		<-time.After(settle)
		i.cloud.Faults().ResetCounters()
		<-time.After(span)
		report(b, "idle", i.cloud.Faults().Counters(), span)
		probing, end := context.WithCancel(ctx)
		i.ended.Go(func() { i.probe(probing, b) })
		i.cloud.Faults().ResetCounters()
		<-time.After(span)
		report(b, "probed", i.cloud.Faults().Counters(), span)
		end()
		stop()
		i.ended.Wait()
		http.DefaultClient.CloseIdleConnections()
	}
}
