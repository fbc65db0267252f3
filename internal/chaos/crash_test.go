package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/jobqueue"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/objectstore"
	"exportd/internal/records"
	"exportd/jobs"
)

// crashPlaces is at how many places the only worker is killed: at every second of the about 60 that it passes
// with two jobs, one of them of 4 parts.
const crashPlaces = 30

// buildCrashing compiles an exportd with crash points, once, when the first test asks for it.
var buildCrashing func() (string, error)

// TestMain lets more tests wait side by side than there are cores: they wait for leases to run out, mostly.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "exportd-chaos-")
	if err != nil {
		panic(err)
	}
	buildCrashing = sync.OnceValues(func() (string, error) {
		bin := filepath.Join(dir, "exportd-crash")
		if out, err := exec.Command("go", "build", "-tags", "nomsgpack,crashpoints", "-o", bin, "exportd/cmd/exportd").CombinedOutput(); err != nil {
			return "", fmt.Errorf("build exportd: %w\n%s", err, out)
		}
		return bin, nil
	})
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// TestCrashAnywhere kills the only worker at each of the first places that it passes, starts another, and
// wants both jobs to end right without doing a finished part again.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	crashing, cloud := crashRig(t)
	var crashed, kept atomic.Int64
	t.Run("at", func(t *testing.T) {
		t.Run("before composing", func(t *testing.T) {
			t.Parallel()
			crashBeforeComposing(t, newCrashCase(t, cloud.Endpoints(), crashing, "before composing"))
		})
		for i := range crashPlaces {
			n := 1 + 2*i
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				c := newCrashCase(t, cloud.Endpoints(), crashing, fmt.Sprint(n))
				c.submit(t, "text", "") // one part
				c.submit(t, "", "")     // four
				if c.runUntilCrash(t) {
					crashed.Add(1)
				}
				before := c.doneParts(t)
				c.runToTheEnd(t)
				kept.Add(c.checkKept(t, before))
				c.checkFiles(t)
			})
		}
	})
	t.Logf("%d crashes; %d parts were finished before theirs, none was done again", crashed.Load(), kept.Load())
	if crashed.Load() < 25 {
		t.Errorf("only %d of %d runs crashed, want 25 or more", crashed.Load(), crashPlaces)
	}
}

// crashRig starts a cloud for an exportd with crash points.
func crashRig(t *testing.T) (bin string, cloud *localcloud.Cloud) {
	t.Helper()
	bin, err := buildCrashing()
	if err != nil {
		t.Fatal(err)
	}
	indexes, err := os.ReadFile("../../deployments/firestore.indexes.json")
	if err != nil {
		t.Fatal(err)
	}
	cloud, err = localcloud.Start(t.Context(), localcloud.Config{DataDir: t.TempDir(), IndexesJSON: indexes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close(context.Background()) })
	return bin, cloud
}

// crashCase is a project of its own in the shared cloud: database, queues and bucket.
type crashCase struct {
	bin   string
	env   []string
	at    string // EXPORTD_TEST_CRASH_AT
	store *jobstore.Store
	queue *jobqueue.Queue
	in    *inspector
	jobs  []string
}

func newCrashCase(t *testing.T, e localcloud.Endpoints, bin, at string) *crashCase {
	t.Helper()
	project := "crash-" + strings.ReplaceAll(at, " ", "-")
	c := &crashCase{bin: bin, at: at, env: append(os.Environ(),
		"EXPORTD_PROJECT_ID="+project, "FIRESTORE_EMULATOR_HOST="+e.Firestore, "PUBSUB_EMULATOR_HOST="+e.PubSub, "STORAGE_EMULATOR_HOST="+e.Storage,
		"EXPORTD_LEASE_SECONDS=3", "EXPORTD_PART_ROWS=100", "EXPORTD_PART_SLOTS=2", "EXPORTD_JOB_SLOTS=1", "EXPORTD_DRAIN_SECONDS=1",
		"EXPORTD_TEST_SHEET_ROWS=200", "EXPORTD_CALLBACK_ALLOW_HTTP=true", "EXPORTD_CALLBACK_ALLOW_CIDRS=127.0.0.0/8", "EXPORTD_CALLBACK_ALLOW_PORTS=0")}
	ctx := context.Background()
	client, err := firestore.NewClient(ctx, project, localcloud.GRPCOptions(e.Firestore)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	policy := jobs.Policy{NotifyAgain: time.Second, RecordLife: time.Hour, Jitter: func() float64 { return 0 }}
	c.store = jobstore.New(jobstore.Config{Client: client, Policy: policy})
	source, err := records.Open(ctx, records.Config{ProjectID: project, Emulator: e.Firestore})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = source.Close() })
	objects, err := objectstore.Open(ctx, objectstore.Config{Bucket: project + "-exports", EmulatorHost: e.Storage})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = objects.Close() })
	c.in = &inspector{firestore: client, store: c.store, records: source, objects: objects, right: map[string][sha256.Size]byte{}}
	if c.queue, err = jobqueue.Open(ctx, jobqueue.Config{ProjectID: project, Emulator: e.PubSub}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.queue.Close() })
	if err := errors.Join(c.queue.Ensure(ctx), objects.Ensure(ctx)); err != nil {
		t.Fatal(err)
	}
	fill(t, client)
	return c
}

// submit asks for the messages of a kind, all if it is empty, and notifies for the job.
func (c *crashCase) submit(t *testing.T, kind, callbackURL string) {
	t.Helper()
	c.submitAs(t, callbackURL, jobs.Params{"contentType": kind, jobs.ParamFormulaGuard: true})
}

// submitAs asks for messages by more parameters.
func (c *crashCase) submitAs(t *testing.T, callbackURL string, p jobs.Params) {
	t.Helper()
	maps.Copy(p, jobs.Params{"workspaceId": "w", "mediumId": "m", "from": day, "to": day.AddDate(0, 0, 2), "profile": jobs.ProfileRFC4180})
	c.submission(t, jobs.Submission{OrgID: "org", KeyID: crashKey, Kind: "vip-messages", CallbackURL: callbackURL, Params: p})
}

// submission makes the job of a submission, and notifies for it.
func (c *crashCase) submission(t *testing.T, sub jobs.Submission) {
	t.Helper()
	s, err := c.store.Submit(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	c.jobs = append(c.jobs, s.Job.ID)
	if err := c.queue.Publish(t.Context(), jobs.QueueExports, jobs.Message{JobID: s.Job.ID}); err != nil {
		t.Fatal(err)
	}
}

// crashKey is the API key of all jobs.
const crashKey = "key_crash"

var day = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// fill writes 350 messages, 50 of them texts.
func fill(t *testing.T, client *firestore.Client) {
	t.Helper()
	err := client.RunTransaction(t.Context(), func(_ context.Context, tx *firestore.Transaction) error {
		for i := range 350 {
			kind := "postback"
			if i%7 == 0 {
				kind = "text"
			}
			err := tx.Create(client.Collection("VipMessages").Doc(fmt.Sprintf("message-%05d", i)), map[string]any{
				"workspaceId": "w", "mediumId": "m", "kind": kind, "source": "user", "playerId": fmt.Sprint(i), "displayName": "Player",
				"text": fmt.Sprintf("text %d", i), "labels": []string{"a", "b"}, "timestamp": day.Add(time.Duration(i) * time.Minute),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// runUntilCrash runs the worker with a crash point and says whether it was reached: a worker that has done
// everything before is killed from outside.
func (c *crashCase) runUntilCrash(t *testing.T) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), c.bin, "worker")
	cmd.Env = append(c.env, "EXPORTD_TEST_CRASH_AT="+c.at)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute) // of a loaded machine, as below
	defer cancel()
	for {
		select {
		case err := <-exited:
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("worker ended with %v, want SIGKILL by its own hand", err)
			}
			return true
		case <-time.After(50 * time.Millisecond):
		}
		if c.ended(ctx, t) {
			_ = cmd.Process.Kill()
			<-exited
			return false
		}
	}
}

func (c *crashCase) ended(ctx context.Context, t *testing.T) bool {
	t.Helper()
	for _, id := range c.jobs {
		j, err := c.store.Get(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if !j.State.Ended() {
			return false
		}
		if j.CallbackURL != "" && c.callback(ctx, t, id).State == jobs.CallbackPending {
			return false
		}
	}
	return true
}

// runToTheEnd runs a worker until all jobs, and their callbacks, have ended.
func (c *crashCase) runToTheEnd(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), c.bin, "worker")
	cmd.Env = c.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	for !c.ended(ctx, t) {
		if !pause(ctx, 100*time.Millisecond) {
			t.Fatal("the jobs did not end after the restart")
		}
	}
}

// doneParts gives the objects of the parts that are done, by job and part.
func (c *crashCase) doneParts(t *testing.T) map[string]string {
	t.Helper()
	done := map[string]string{}
	for _, id := range c.jobs {
		j, err := c.store.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := c.store.Parts(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if p.State == jobs.PartDone {
				done[id+p.ID] = p.Object
			}
		}
	}
	return done
}

// checkKept wants each part that was done before the crash to be the same work after it.
func (c *crashCase) checkKept(t *testing.T, before map[string]string) int64 {
	t.Helper()
	after := c.doneParts(t)
	for id, object := range before {
		if after[id] != object {
			t.Errorf("part %s was done by %s before the crash and again by %s", id, object, after[id])
		}
	}
	return int64(len(before))
}

func (c *crashCase) checkFiles(t *testing.T) {
	t.Helper()
	for i, id := range c.jobs {
		j, err := c.store.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if j.State != jobs.Succeeded || j.RowsTotal != []int64{50, 350}[i] || j.Attempt != 1 {
			t.Errorf("job %d is %s with %d rows at attempt %d, want succeeded at attempt 1: %+v", i, j.State, j.RowsTotal, j.Attempt, j.Error)
			continue
		}
		c.checkFile(t, j)
	}
}

// checkFile wants the file of a job to be as it should.
func (c *crashCase) checkFile(t *testing.T, j *jobs.Job) {
	t.Helper()
	if fault, err := c.in.compare(t.Context(), j, c.object(t, j.Result.Object)); err != nil || fault != "" {
		t.Error(fault, err)
	}
}
