package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"cloud.google.com/go/firestore"

	"exportd/internal/e2e/e2etest"
	"exportd/jobs"
)

// nextVersion makes of the source what its next version of documents might: as CONTRIBUTING.md says, a field
// of jobs, parts and callbacks has another name, and one of batches. Exports of messages are what the old
// form cannot express; callbacks and batches never go back.
var nextVersion = func() (edits []e2etest.Edit) {
	edit := func(file, old, to string) {
		edits = append(edits, e2etest.Edit{File: file, Old: regexp.MustCompile(old), New: to})
	}
	next, steps := fmt.Sprint("SchemaVersion = ", jobs.SchemaVersion+1), ""
	edit("jobs/version.go", `\tSchemaVersion = \d+`, "\t"+next)
	for _, kind := range []string{"job", "part", "callback"} {
		edit("jobs/"+kind+".go", "Interruptions +int +`firestore:\"interruptions\"`", "Interruptions int `firestore:\"lostLeases\"`\n\tOldInterruptions int `firestore:\"interruptions,omitempty\"`")
		of := strings.ToUpper(kind[:1]) + kind[1:]
		steps += "\t\t" + kind + ": form[" + of + "]{\n\t\t\tup: func(d *" + of + ") { d.Interruptions, d.OldInterruptions = d.OldInterruptions, 0 },\n"
		if kind != "callback" {
			steps += "\t\t\tdown: func(d *" + of + ") bool { d.Interruptions, d.OldInterruptions = 0, d.Interruptions; return CANDO },\n"
		}
		steps += "\t\t},\n"
	}
	steps = strings.Replace(strings.Replace(steps, "CANDO", `d.Kind != "vip-messages"`, 1), "CANDO", "true", 1)
	edit("jobs/batch.go", "MaxPerSecond int +`firestore:\"maxPerSecond\"`", "MaxPerSecond int `firestore:\"rate\"`\n\tOldRate int `firestore:\"maxPerSecond,omitempty\"`")
	steps += "\t\tbatch: form[Batch]{up: func(d *Batch) { d.MaxPerSecond, d.OldRate = d.OldRate, 0 }},\n"
	edit("jobs/version.go", `\}\n\n// Readable`, "\t{\n"+steps+"\t},\n}\n\n// Readable")
	return edits
}()

// deployment is a service of which builds of two versions take turns.
type deployment struct {
	*e2etest.Stack
	env      []string
	old, new string
	client   *firestore.Client
	worker   *e2etest.Process
	receiver *receivers

	users, messages []byte   // the files
	ids             []string // of all jobs
	batches         []string
}

// receivers counts what it is told; of each callback it refuses the first try, so that it waits for the next
// while builds change.
type receivers struct {
	mu        sync.Mutex
	delivered map[string]int // by webhook-id
	tries     map[string]int
}

func (r *receivers) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	_, _ = io.Copy(io.Discard, q.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	id := q.Header.Get("webhook-id")
	if r.tries[id]++; r.tries[id] == 1 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	r.delivered[id]++
}

// roll ends the API and the worker, by a signal, and starts those of a build.
func (d *deployment) roll(t *testing.T, program string, end syscall.Signal) {
	t.Helper()
	for _, p := range []*e2etest.Process{d.Process, d.worker} {
		p.Signal(end)
		p.Wait(t, stopWithin)
	}
	d.Process, d.APIURL = e2etest.API(t, program, d.Hosts, d.env...)
	d.worker = e2etest.Worker(t, program, d.Hosts, d.env...)
}

// slow has a part take half a second.
func (d *deployment) slow(t *testing.T) {
	d.Faults(t, `{"rules": {"Firestore/RunQuery": {"rowsPerSecond": 200}}}`)
}

func (d *deployment) quick(t *testing.T) { d.Faults(t, "{}") }

// submit asks for exports, each a job of its own, with a callback.
func (d *deployment) submit(t *testing.T, kind string, n int, url string) (ids []string) {
	t.Helper()
	query := d.Users
	if kind == "vip-messages" {
		query = d.Messages
	}
	for range n {
		ids = append(ids, d.Caller().Submit(t, kind, query("callbackUrl", url), "Cache-Control", "no-cache"))
	}
	d.ids = append(d.ids, ids...)
	return ids
}

// atVersion lists those of some jobs whose documents have a version.
func (d *deployment) atVersion(t *testing.T, version int64, ids []string) (found []string) {
	t.Helper()
	for _, id := range ids {
		doc, err := d.client.Doc("ExportJobs/" + id).Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if v, _ := doc.DataAt("schema"); v == version {
			found = append(found, id)
		}
	}
	return found
}

// rerunAll begins a batch that runs all succeeded exports of users again, one a second.
func (d *deployment) rerunAll(t *testing.T) {
	t.Helper()
	var batch struct{ BatchID string }
	d.Operator().Do(t, http.MethodPost, "/ops/jobs/rerun", nil, strings.NewReader(`{"filter": {"kind": "vip-users", "state": "succeeded"}, "mode": "fresh", "maxPerSecond": 1, "reason": "r"}`),
		"Content-Type", "application/json").Want(t, http.StatusAccepted).JSON(t, &batch)
	d.batches = append(d.batches, batch.BatchID)
}

type batchState struct {
	State string
	Rerun int
}

func (d *deployment) batch(t *testing.T, id string) (b batchState) {
	t.Helper()
	d.Operator().Get(t, "/ops/batches/"+id, nil).Want(t, http.StatusOK).JSON(t, &b)
	return b
}

// awaitFile waits for a job to succeed with its file.
func (d *deployment) awaitFile(t *testing.T, id string) {
	t.Helper()
	j, want := d.Caller().Await(t, id, jobWithin), d.users
	if j.Kind == "vip-messages" {
		want = d.messages
	}
	if j.State != "succeeded" || j.CSVURL == nil {
		t.Errorf("job %s of %s is %s: %+v", id, j.Kind, j.State, j.Error)
	} else if got := e2etest.Download(t, *j.CSVURL).Body; !bytes.Equal(got, want) {
		t.Errorf("file of job %s of %s: %s", id, j.Kind, firstDifference(got, want))
	}
}

// TestRollingDeploy: a build whose documents have another version is rolled out, taken back and rolled out
// again, side by side with the old one and without, with jobs queued and running, callbacks and a batch under
// way. Each job ends once and right; while the old build is the only one, what it cannot read is shown and
// locks nothing.
func TestRollingDeploy(t *testing.T) {
	t.Parallel()
	next, err := e2etest.BuildEdited("../..", t.TempDir(), e2etest.RaceDetector, nextVersion)
	if err != nil {
		t.Fatal(err)
	}
	_, hosts := e2etest.Emulators(t, exportd, t.TempDir(), "--control", "127.0.0.1:0")
	d := &deployment{old: exportd, new: next, receiver: &receivers{delivered: map[string]int{}, tries: map[string]int{}}}
	d.env = append(slices.Clone(callbackSettings), "EXPORTD_LEASE_SECONDS=3", "EXPORTD_DRAIN_SECONDS=1", "EXPORTD_PART_ROWS=100", "EXPORTD_PART_WINDOW=2",
		"EXPORTD_ORG_RUNNING_JOBS=6", "EXPORTD_REUSE_SECONDS=0", "EXPORTD_RATE_KEY_PER_SECOND=0")
	d.Stack = e2etest.Services(t, exportd, hosts, e2etest.Sizes{Users: 250, Messages: 600}, d.env...)
	d.worker = e2etest.Worker(t, exportd, hosts, d.env...)
	d.client = hosts.OpenFirestore(t)
	front := httptest.NewServer(d.receiver)
	defer front.Close()

	_, d.users = d.Caller().Export(t, "vip-users", d.Users())
	_, d.messages = d.Caller().Export(t, "vip-messages", d.Messages())
	for _, id := range d.submit(t, "vip-users", 7, front.URL) {
		d.awaitFile(t, id)
	}
	d.slow(t)
	d.submit(t, "vip-users", 2, front.URL)
	first := d.submit(t, "vip-messages", 3, front.URL)
	e2etest.Until(t, jobWithin, "parts to be under way by the old build", func() bool { return d.Caller().Job(t, first[0], "").Progress.RowsDone > 0 })

	d.sideBySide(t, first)
	d.roll(t, d.new, syscall.SIGTERM)
	second := append(first, d.submit(t, "vip-messages", 2, front.URL)...)
	d.submit(t, "vip-users", 2, front.URL)
	e2etest.Until(t, jobWithin, "jobs under way that the old build cannot read", func() bool {
		j := d.Caller().Job(t, second[4], "")
		return j.State == "running" && len(d.atVersion(t, jobs.SchemaVersion+1, second)) == len(second)
	})

	d.roll(t, d.old, syscall.SIGKILL)
	d.quick(t)
	d.oldAlone(t, second, front.URL)
	d.slow(t)
	last := d.submit(t, "vip-messages", 1, front.URL)
	e2etest.Until(t, jobWithin, "parts to be under way by the old build again", func() bool { return d.Caller().Job(t, last[0], "").Progress.RowsDone > 0 })

	d.roll(t, d.new, syscall.SIGTERM)
	d.quick(t)
	d.allEnded(t)
}

// sideBySide has a worker of each build: the new one rescues, and what it writes the old one leaves.
func (d *deployment) sideBySide(t *testing.T, first []string) {
	t.Helper()
	d.rerunAll(t)
	beside := e2etest.Worker(t, d.new, d.Hosts, d.env...)
	e2etest.Until(t, jobWithin, "the new build to take the shards from the old one, and jobs", func() bool {
		return strings.Contains(beside.Stderr(), `"rescues"`) && len(d.atVersion(t, jobs.SchemaVersion+1, first)) > 0
	})
	e2etest.Until(t, jobWithin, "the new build to run jobs of the old one's batch", func() bool { return d.batch(t, d.batches[0]).Rerun > 1 })
	d.worker.Signal(syscall.SIGTERM)
	d.worker.Wait(t, stopWithin)
	d.worker = beside
}

// oldAlone is what the old build does with documents of the new one, and without.
func (d *deployment) oldAlone(t *testing.T, theirs []string, url string) {
	t.Helper()
	c := d.Caller()
	theirs = slices.DeleteFunc(d.atVersion(t, jobs.SchemaVersion+1, theirs), func(id string) bool { return c.Job(t, id, "").Ended() })
	if len(theirs) == 0 {
		t.Fatal("no job of the new build is left when it is taken back")
	}
	for _, id := range theirs {
		for _, r := range []e2etest.Response{
			c.Do(t, http.MethodPost, "/exports/"+id+"/cancel", nil, nil), c.Do(t, http.MethodDelete, "/exports/"+id, nil, nil),
		} {
			if r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
				t.Errorf("cancel or DELETE of a job of the new build = %d, %.200s", r.Status, r.Body)
			}
		}
	}
	for _, path := range []string{"/exports", "/limits"} {
		c.Get(t, path, nil).Want(t, http.StatusOK)
	}
	for _, path := range []string{"/ops/jobs", "/ops/stats", "/ops/batches"} {
		d.Operator().Get(t, path, nil).Want(t, http.StatusOK)
	}
	equal := c.Submit(t, "vip-messages", d.Messages("callbackUrl", url))
	if slices.Contains(theirs, equal) {
		t.Error("an equal request waits for a job of the new build")
	}
	d.awaitFile(t, equal)
	for _, id := range d.ids {
		if !slices.Contains(theirs, id) {
			d.awaitFile(t, id)
		}
	}
	if left := d.atVersion(t, jobs.SchemaVersion+1, theirs); len(left) != len(theirs) {
		t.Errorf("of %d jobs of the new build the old one has left %d alone", len(theirs), len(left))
	}
	if b := d.batch(t, d.batches[0]); b.State != "running" {
		t.Errorf("the batch of the new build is %s after %d jobs", b.State, b.Rerun)
	}
	t.Logf("taken back: %d of %d jobs are left to the new build, all others have ended by the old one", len(theirs), len(d.ids))
}

// allEnded waits for everything, and looks what is left.
func (d *deployment) allEnded(t *testing.T) {
	t.Helper()
	canceled := d.Caller().Submit(t, "vip-messages", d.Messages(), "Cache-Control", "no-cache")
	d.Caller().Do(t, http.MethodPost, "/exports/"+canceled+"/cancel", nil, nil)
	for _, id := range d.ids {
		d.awaitFile(t, id)
	}
	if j := d.Caller().Await(t, canceled, jobWithin); j.State != "canceled" && j.State != "succeeded" {
		t.Errorf("a canceled job is %s", j.State)
	}
	for _, id := range d.batches {
		e2etest.Until(t, jobWithin, "the batch to end", func() bool { return d.batch(t, id).State == "finished" })
		if b := d.batch(t, id); b.Rerun < 7 {
			t.Errorf("the batch has run %d jobs again, want all that had succeeded", b.Rerun)
		}
	}
	for _, id := range d.ids {
		d.awaitFile(t, id) // also those that the batch has run again
		awaitCallback(t, d.Caller(), id, "delivered")
	}
	// Callbacks are sent at least once: what a worker that goes has posted and not recorded is posted again,
	// under the same id. Four workers went.
	d.receiver.mu.Lock()
	again := 0
	for id, n := range d.receiver.delivered {
		if again += n - 1; n > 1+4 {
			t.Errorf("callback %s was delivered %d times", id, n)
		}
	}
	t.Logf("%d callbacks, %d deliveries again", len(d.receiver.delivered), again)
	d.receiver.mu.Unlock()
	var stats struct {
		Jobs        map[string]int64
		DeadLetters map[string]any
	}
	raw := d.Operator().Get(t, "/ops/stats", nil).Want(t, http.StatusOK)
	raw.JSON(t, &stats)
	t.Logf("after all: %s", raw.Body)
	d.nothingHeld(t)
}

// nothingHeld: each place is free, and every document that is left to do something for is in a shard.
func (d *deployment) nothingHeld(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	docs, err := d.client.Collection("ExportPlaces").Documents(ctx).GetAll()
	if err != nil {
		t.Fatal(err)
	}
	newest := map[string]jobs.Place{}
	for _, doc := range docs {
		var p jobs.Place
		if err := doc.DataTo(&p); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprint(p.OrgID, " ", p.Number)
		if was, ok := newest[key]; !ok || p.Turn > was.Turn {
			newest[key] = p
		}
	}
	for key, p := range newest {
		if p.JobID != "" {
			t.Errorf("place %s is taken by job %s, which has ended", key, p.JobID)
		}
	}
	dead, err := d.client.Collection("ExportLeases").Where("kind", "==", "dead").Documents(ctx).GetAll()
	if err != nil || len(dead) > 0 {
		t.Errorf("%d lanes have dead letters, %v", len(dead), err)
	}
}
