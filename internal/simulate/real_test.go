package simulate

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"go.uber.org/zap"
	"google.golang.org/api/option"
	"google.golang.org/grpc"

	"exportd/internal/config"
	"exportd/internal/export"
	"exportd/internal/jobqueue"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/objectstore"
	"exportd/internal/records"
	"exportd/internal/webhook"
	"exportd/jobs"
	"exportd/worker"
)

// The script that runs on the embedded cloud and in the simulation: exports of one part and of several, of
// some orgs, with and without callbacks, six at a time, to the end of their records.
const (
	scriptBatches = 5
	scriptAtOnce  = 6
	scriptWorkers = 4
	scriptOrgs    = 5
	partRows      = 100
)

// scriptJob is one export of a batch: the last of each has 6 parts.
func scriptJob(batch, i int) (org int, rows int64, callback bool) {
	rows = int64(40 + 7*i)
	if i == scriptAtOnce-1 {
		rows = 550
	}
	return (batch + i) % scriptOrgs, rows, i%3 == 0
}

// scriptPolicy has jobs expire and be purged within seconds.
func scriptPolicy(p *jobs.Policy) {
	p.FileLife, p.RecordLife, p.SweepAfter = 2500*time.Millisecond, 3*time.Second, 500*time.Millisecond
}

func scriptSettings() map[string]string {
	return map[string]string{"EXPORTD_PART_ROWS": strconv.Itoa(partRows), "EXPORTD_PROJECT_ID": localcloudtest.Project, "EXPORTD_ENV": "development"}
}

// TestAgainstRealServices compares what the simulation counts with what the embedded cloud counts when real
// workers do the same.
func TestAgainstRealServices(t *testing.T) {
	real, took := runReal(t)
	sim := simulate(t, Scenario{
		Name: "script", Workers: scriptWorkers, Orgs: scriptOrgs, Near: 0.05, Settings: scriptSettings(), Policy: scriptPolicy,
		Happens: func(r *Run) { runScript(r, took) },
	}, 1).Totals
	rows := int64(0)
	for b := range scriptBatches {
		for i := range scriptAtOnce {
			_, n, _ := scriptJob(b, i)
			rows += n
		}
	}
	for _, l := range []struct {
		what      string
		sim, real int64
	}{
		// The embedded cloud counts documents, and none for a query that finds none; the real workers' keys
		// cost nothing here.
		{
			"Firestore reads beside rows",
			sim["Firestore reads"] - sim["Firestore reads of rows"] - sim["Firestore reads of keys"] - sim["Firestore queries without a result"], real["reads"] - rows,
		},
		{"Firestore writes", sim["Firestore writes"], real["written"] - real["deletes"]},
		{"Firestore deletes", sim["Firestore deletes"], real["deletes"]},
		{"Pub/Sub messages published", sim["Pub/Sub messages published"], real["published"]},
		{"Pub/Sub messages delivered", sim["Pub/Sub messages delivered"], real["delivered"]},
		{"Pub/Sub pulls", sim["Pub/Sub pulls"], real["Subscriber/Pull"]},
		{"Pub/Sub acknowledgements", sim["Pub/Sub acknowledgements"], real["Subscriber/Acknowledge"]},
		{"Storage uploads", sim["Storage upload requests"], real["Storage/Upload"] + real["Storage/StartUpload"] + real["Storage/UploadChunk"]},
		{"Storage compositions", sim["Storage objects composed"], real["Storage/ComposeObject"]},
		{"Storage attributes", sim["Storage objects looked at"], real["Storage/GetObject"]},
		{"Storage lists", sim["Storage lists"], real["Storage/ListObjects"]},
		{"Storage deletes", sim["Storage objects deleted"], real["Storage/DeleteObject"]},
		{"signatures", sim["IAM signBlob"], real["Storage/SignBlob"]},
	} {
		off := math.Abs(float64(l.sim-l.real)) / float64(max(1, l.real))
		t.Logf("%-28s simulated %5d, real %5d: %4.1f %%", l.what, l.sim, l.real, 100*off)
		if off > 0.2 {
			t.Errorf("%s: %d in the simulation and %d on the embedded cloud differ by %.0f %%, more than 20 %%", l.what, l.sim, l.real, 100*off)
		}
	}
}

// runScript is the script in the simulation, which lasts as long as it took for real.
func runScript(r *Run, took time.Duration) {
	begun := time.Now()
	r.traffic.callers = false
	for b := range scriptBatches {
		for i := range scriptAtOnce {
			org, rows, callback := scriptJob(b, i)
			r.traffic.submit(org, rows, callback)
		}
		for r.traffic.ended() < (b+1)*scriptAtOnce {
			time.Sleep(5 * time.Millisecond)
		}
	}
	for r.db.size("ExportJobs") > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(took - time.Since(begun))
}

// runReal runs the script on the embedded cloud and gives what was counted, and how long it took.
func runReal(t *testing.T) (map[string]int64, time.Duration) {
	cloud := localcloudtest.Start(t)
	cfg, err := settings(scriptSettings())
	if err != nil {
		t.Fatal(err)
	}
	fill(t, cloud.Firestore)
	s := open(t, cloud, cfg)
	cloud.Faults().ResetCounters()
	begun := time.Now()
	ctx, term := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range scriptWorkers {
		running.Go(func() { _ = s.pool(cfg, i).Run(ctx) })
	}
	for b := range scriptBatches {
		var batch sync.WaitGroup
		for i := range scriptAtOnce {
			batch.Go(func() { s.export(t, b, i) })
		}
		batch.Wait()
	}
	it := cloud.Firestore.Collection("ExportJobs").Snapshots(t.Context())
	defer it.Stop()
	for {
		all, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		if all.Size == 0 {
			break
		}
	}
	took := time.Since(begun)
	term()
	running.Wait()
	return s.counted(cloud.Faults().Counters()), took
}

// real is what real workers work with.
type real struct {
	store   *jobstore.Store
	queue   *jobqueue.Queue
	objects *objectstore.Store
	records *records.Reader
	deletes atomic.Int64
}

func open(t *testing.T, cloud *localcloudtest.Cloud, cfg config.Config) *real {
	t.Helper()
	ctx, e, s := context.Background(), cloud.Endpoints(), &real{}
	count := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		err := invoke(ctx, method, req, reply, cc, opts...)
		if c, ok := req.(*firestorepb.CommitRequest); ok && err == nil {
			for _, w := range c.GetWrites() {
				if w.GetDelete() != "" {
					s.deletes.Add(1)
				}
			}
		}
		return err
	}
	client, err := firestore.NewClient(ctx, cfg.ProjectID, append(localcloud.GRPCOptions(e.Firestore), option.WithGRPCDialOption(grpc.WithUnaryInterceptor(count)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	policy := cfg.Policy()
	scriptPolicy(&policy)
	s.store = jobstore.New(jobstore.Config{Client: client, Policy: policy, Limits: cfg.Limits(), ReuseFor: cfg.ReuseFor})
	if s.queue, err = jobqueue.Open(ctx, jobqueue.Config{ProjectID: cfg.ProjectID, Emulator: e.PubSub}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.queue.Close() })
	if s.objects, err = objectstore.Open(ctx, objectstore.Config{Bucket: cfg.Bucket, EmulatorHost: e.Storage, ProjectID: cfg.ProjectID}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.objects.Close() })
	if s.records, err = records.Open(ctx, records.Config{ProjectID: cfg.ProjectID, Emulator: e.Firestore}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.records.Close() })
	if err := s.queue.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.objects.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *real) pool(cfg config.Config, i int) *worker.Pool {
	return worker.New(worker.Config{
		ID: "worker-" + strconv.Itoa(i), Store: s.store, Queue: s.queue, Log: zap.NewNop(),
		Exporter: export.New(s.records, s.objects, export.Config{PartRows: cfg.PartRows, MaxParts: 1000, Window: cfg.Window}),
		JobSlots: cfg.JobSlots, PartSlots: cfg.PartSlots, Drain: cfg.Drain,
		Callbacks: &worker.CallbackConfig{
			Slots: cfg.CallbackSlots, Sender: answering{}, Keys: anyKey{}, Files: s.objects, URLLife: cfg.URLLife, Rand: func() float64 { return 0.5 },
		},
	})
}

// answering is a receiver that takes everything.
type answering struct{}

func (answering) Send(ctx context.Context, d webhook.Delivery) webhook.Attempt {
	if err := d.Compose(ctx, &d); err != nil {
		return webhook.Attempt{StartedAt: time.Now(), Class: webhook.ClassInternalError, Err: err}
	}
	return webhook.Attempt{StartedAt: time.Now(), Class: "http_200", Status: 200}
}

// anyKey knows every key without a read.
type anyKey struct{}

func (anyKey) CallbackKey(context.Context, string) (worker.CallbackKey, error) {
	return worker.CallbackKey{}, nil
}

var scriptStart = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// fill writes the messages that the exports take the first of: one a second.
func fill(t *testing.T, client *firestore.Client) {
	t.Helper()
	bulk := client.BulkWriter(t.Context())
	for i := range 600 {
		_, err := bulk.Create(client.Collection("VipMessages").Doc(fmt.Sprintf("message-%04d", i)), map[string]any{
			"workspaceId": "w", "mediumId": "m", "kind": "text", "labels": []string{}, "timestamp": scriptStart.Add(time.Duration(i) * time.Second), "text": "hello",
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	bulk.End()
}

// export submits a job of the script as the API does, and waits for it.
func (s *real) export(t *testing.T, batch, i int) {
	org, rows, callback := scriptJob(batch, i)
	sub := jobs.Submission{
		OrgID: fmt.Sprintf("org-%06d", org), KeyID: "key", Kind: "vip-messages", IdempotencyKey: fmt.Sprint(batch, "-", i),
		Params: jobs.Params{
			"workspaceId": "w", "mediumId": "m", "from": scriptStart.Add(-time.Duration(1+100*batch+i) * time.Minute), "to": scriptStart.Add(time.Duration(rows) * time.Second),
			"profile": jobs.ProfileRFC4180,
		},
	}
	if callback {
		sub.CallbackURL = fmt.Sprintf("https://receiver-%06d.example/hook", org)
	}
	done, err := s.store.Submit(t.Context(), sub)
	if err != nil {
		t.Error(err)
		return
	}
	if err := s.queue.Publish(t.Context(), jobs.QueueExports, jobs.Message{JobID: done.Job.ID}); err != nil {
		t.Error(err)
	}
	var end *jobs.Job
	err = s.store.Watch(t.Context(), done.Job.ID, func(j *jobs.Job) bool { end = j; return j.State.Ended() })
	if err != nil || end.State != jobs.Succeeded && end.State != jobs.Expired || end.State == jobs.Succeeded && end.Result.Rows != rows {
		t.Errorf("job of %d rows ended as %+v: %v", rows, end, err)
	}
}

// counted sums up the counters under the names that the test compares.
func (s *real) counted(c fault.Counters) map[string]int64 {
	out := map[string]int64{"deletes": s.deletes.Load(), "written": c.DocumentsWritten, "reads": c.DocumentsRead}
	for name, n := range c.Methods {
		switch {
		case strings.HasSuffix(name, "/Listen"): // callers who wait, and the test itself
			out["reads"] -= n.DocumentsRead
		case strings.HasSuffix(name, "/Publish"):
			out["published"] += n.Messages
		case strings.HasSuffix(name, "/Pull"):
			out["delivered"] += n.Messages
		}
		out[name] = n.Calls
	}
	return out
}
