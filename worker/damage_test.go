package worker_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"

	"exportd/internal/export"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/records"
	"exportd/jobs"
)

// damageSample is how many damaged documents are tried besides those that did harm once. All of them, every
// value of every field at every stage, are 9,382: make damage.
var damageSample = flag.Int("damage.sample", 200, "try so many damaged documents, 0 for all")

// damageOnly tries those again that a run has found to be stuck, by what it called them.
var damageOnly = flag.String("damage.only", "", "try the damaged documents whose name matches, instead of a sample")

// openExporter is the real pipeline, with parts of two rows.
func openExporter(ctx context.Context, s *services, host string) (*export.Exporter, func(), error) {
	reader, err := records.Open(ctx, records.Config{ProjectID: localcloudtest.Project, Emulator: host})
	if err != nil {
		return nil, nil, err
	}
	return export.New(reader, s.objects, export.Config{PartRows: 2, MaxParts: jobs.MaxParts}), func() { _ = reader.Close() }, nil
}

// damaged is a document that was damaged, and what leads to it.
type damaged struct {
	what    string
	stage   string // that the document was at
	value   string // that it was given
	ref     *firestore.DocumentRef
	job     string // that is to end
	message jobs.Message
	foreign bool // it says that another build wrote it
}

// damageRig makes documents at every stage, by the transitions that make them.
type damageRig struct {
	*rig
	exporter *export.Exporter
	orgs     atomic.Int64
}

func (d *damageRig) submit(t *testing.T) string {
	t.Helper()
	sub, err := d.store.Submit(t.Context(), jobs.Submission{
		// An org of its own, so that none waits for the place of another that is never given back.
		OrgID: fmt.Sprintf("org-%d", d.orgs.Add(1)), KeyID: "key_one1", Kind: "vip-users", Fresh: true, CallbackURL: "https://hooks.invalid/x",
		Params: jobs.Params{"workspaceId": "ws1", "mediumId": "m1", "profile": jobs.ProfileRFC4180, "formulaGuard": true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return sub.Job.ID
}

func (d *damageRig) update(t *testing.T, id string, fn func(tx *jobs.Tx) error) *jobs.Job {
	t.Helper()
	j, err := d.store.Update(t.Context(), id, "dead worker", fn)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (d *damageRig) claim(t *testing.T, id string) (j *jobs.Job, l jobs.Lease) {
	t.Helper()
	j = d.update(t, id, func(tx *jobs.Tx) (err error) { l, err = tx.Claim("dead"); return err })
	return j, l
}

// stage makes a job whose worker died there.
func (d *damageRig) stage(t *testing.T, stage string) string {
	t.Helper()
	id := d.submit(t)
	if stage == "queued" {
		return id
	}
	j, l := d.claim(t, id)
	switch stage {
	case "running":
		return id
	case "failed":
		d.update(t, id, func(tx *jobs.Tx) error {
			return tx.EndAttempt(l, jobs.Fail(jobs.CodeTooManyRows, jobs.Permanent, "too many", "", nil))
		})
		return id
	}
	plan, err := d.exporter.Plan(t.Context(), j)
	if err != nil || len(plan.Parts) < 3 {
		t.Fatalf("Plan() = %d parts, %v", len(plan.Parts), err)
	}
	if stage == "succeeded" {
		res, err := d.exporter.Write(t.Context(), export.Spec{Job: j.At(plan.Snapshot), Object: j.ResultName(), Rows: plan.Rows, Header: true, Final: true}, new(export.Progress))
		if err != nil {
			t.Fatal(err)
		}
		d.update(t, id, func(tx *jobs.Tx) error { return tx.Pin(l, plan.Snapshot, plan.Rows) })
		d.update(t, id, func(tx *jobs.Tx) error {
			return tx.Succeed(l, jobs.Result{Object: res.Object, Rows: res.Rows, Size: res.Size, CRC32C: res.CRC32C})
		})
		return id
	}
	j = d.update(t, id, func(tx *jobs.Tx) error { return tx.Plan(l, plan.Snapshot, plan.Parts, 0) })
	for i, p := range plan.Parts {
		if stage == "parts" && i > 0 {
			break
		}
		d.writePart(t, j, i, p)
	}
	if stage == "parts" { // the second is held by the dead
		d.update(t, id, func(tx *jobs.Tx) error { _, _, err := tx.ClaimPart(j.PlanEpoch, 1, "dead"); return err })
	}
	return id
}

func (d *damageRig) writePart(t *testing.T, j *jobs.Job, i int, p jobs.Range) {
	t.Helper()
	var part jobs.Part
	var l jobs.Lease
	d.update(t, j.ID, func(tx *jobs.Tx) error {
		claimed, lease, err := tx.ClaimPart(j.PlanEpoch, i, "dead")
		if err == nil {
			part, l = *claimed, lease
		}
		return err
	})
	res, err := d.exporter.Write(t.Context(), export.Spec{Job: j, Object: part.ObjectName(j, l.Token), From: p.From, To: p.To, Rows: p.Rows, Header: i == 0}, new(export.Progress))
	if err != nil {
		t.Fatal(err)
	}
	d.update(t, j.ID, func(tx *jobs.Tx) error { _, err := tx.CommitPart(j.PlanEpoch, i, l, "dead", res); return err })
}

// stages are where documents are damaged: a job's own, a part done, one held, one that waits.
var damageStages = []string{"queued", "running", "parts", "finalize", "failed", "succeeded", "part 0", "part 1", "part 2", "callback"}

// target makes a whole document for a stage.
func (d *damageRig) target(t *testing.T, stage string) damaged {
	t.Helper()
	col := d.firestore.Collection("ExportJobs")
	switch kind, n, _ := strings.Cut(stage, " "); kind {
	case "part":
		id := d.stage(t, "parts")
		i, _ := strconv.Atoi(n)
		return damaged{ref: col.Doc(id).Collection("parts").Doc(jobs.PartID(1, i)), job: id, message: jobs.Message{JobID: id, PlanEpoch: 1, Part: i}}
	case "callback":
		id := d.stage(t, "failed")
		cb := jobs.CallbackID(&jobs.Job{ID: id, State: jobs.Failed, Epoch: 1})
		return damaged{ref: d.firestore.Collection("ExportCallbacks").Doc(cb), job: id, message: jobs.Message{JobID: id, CallbackID: cb}}
	}
	id := d.stage(t, stage)
	return damaged{ref: col.Doc(id), job: id, message: jobs.Message{JobID: id}}
}

// damage makes a document for each field of each stage and each wrong value, or a sample.
func (d *damageRig) damage(t *testing.T, sample int) []damaged {
	t.Helper()
	type kind struct{ stage, field, value string }
	wrongs := localcloudtest.Wrongs()
	var kinds []kind
	for _, stage := range damageStages {
		doc, err := d.target(t, stage).ref.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range localcloudtest.FieldPaths(doc.Data()) {
			for value := range wrongs {
				kinds = append(kinds, kind{stage, field, value})
			}
		}
		for _, s := range append(jobs.States, "none") {
			for _, p := range []jobs.Phase{jobs.PhaseStart, jobs.PhaseParts, jobs.PhaseFinalize} {
				if !strings.Contains(stage, " ") && stage != "callback" {
					kinds = append(kinds, kind{stage, "state and phase", string(s) + "/" + string(p)})
				}
			}
		}
	}
	slices.SortFunc(kinds, func(a, b kind) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	switch {
	case *damageOnly != "":
		only := regexp.MustCompile(*damageOnly)
		kinds = slices.DeleteFunc(kinds, func(k kind) bool { return !only.MatchString(k.stage + ": " + k.field + " = " + k.value) })
	case sample > 0:
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		kinds = append(kinds[:sample], kind{"parts", "partsTotal", "2e9"}, kind{"queued", "params", "missing"}, kind{"running", "epoch", "-7"},
			kind{"running", "lease.until", "year 2200"}, kind{"queued", "notBefore", "year 2200"}, kind{"queued", "wakeAt", "missing"}, kind{"running", "wakeAt", "year 2200"},
			kind{"part 1", "lease.until", "year 2200"}, kind{"part 1", "wakeAt", "year 2200"}, kind{"queued", "createdAt", "year 2200"}, kind{"succeeded", "result.object", "a path"},
			kind{"queued", "state and phase", "running/parts"}, kind{"queued", "state and phase", "running/finalize"}, kind{"callback", "url", "missing"},
			kind{"parts", "partsDone", "0"}, kind{"parts", "partsDone", "missing"}, kind{"part 1", "shard", "missing"})
	}
	out := make([]damaged, len(kinds))
	var g errgroup.Group
	g.SetLimit(8)
	for i, k := range kinds {
		g.Go(func() error {
			doc := d.target(t, k.stage)
			doc.what, doc.stage, doc.value = k.stage+": "+k.field+" = "+k.value, k.stage, k.value
			if k.field == "state and phase" {
				doc.value = "another state and phase"
			}
			doc.foreign = k.field == "schema" && k.value == "7"
			var ups []firestore.Update
			if s, p, ok := strings.Cut(k.value, "/"); k.field == "state and phase" && ok {
				ups = []firestore.Update{{Path: "state", Value: s}, {Path: "phase", Value: p}}
			} else {
				ups = []firestore.Update{{Path: k.field, Value: wrongs[k.value]}}
			}
			out[i] = doc
			_, err := doc.ref.Update(t.Context(), ups)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return out
}

// others damages the documents that all workers share, and gives a batch that is to end.
func (d *damageRig) others(t *testing.T) {
	t.Helper()
	leases := d.firestore.Collection("ExportLeases")
	far := time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	for id, data := range map[string]map[string]any{
		"role-rescuer": {"kind": "role", "owner": "nobody", "until": far}, "role-rescuer-0": {"kind": "role", "owner": "nobody", "until": far},
		"worker-x": {"kind": "worker", "owner": 5, "until": "x", "jobSlots": "many", "partSlots": -1}, "queue-exports": {"kind": "queue", "paused": "yes"}, "queue-callbacks": {"kind": "queue", "paused": nil, "at": 1},
		"x": {"kind": "dead", "count": -1}, "dead-parts": {"kind": "dead", "count": "many"},
	} {
		if _, err := leases.Doc(id).Set(t.Context(), data); err != nil {
			t.Fatal(err)
		}
	}
	for i, data := range []map[string]any{
		{"maxPerSecond": 0}, {"cursor": "x"}, {"mode": 5}, {"wakeAt": far}, {"schema": nil}, {"filter": "all"}, {"skipped": "x"},
	} {
		b, err := d.store.CreateBatch(t.Context(), jobs.BatchRequest{Reason: "r", Mode: jobs.RerunFresh, MaxPerSecond: 5, Filter: jobs.BatchFilter{OrgID: "none"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.firestore.Collection("ExportBatches").Doc(b.ID).Set(t.Context(), data, firestore.MergeAll); err != nil {
			t.Fatal(i, err)
		}
	}
}

// TestDamagedDocuments: nothing that a document holds ends a worker, costs it memory, keeps a job from
// ending, or makes another file than was asked for.
func TestDamagedDocuments(t *testing.T) {
	t.Parallel()
	r := &damageRig{rig: newRig(t)}
	e := r.cloud.Endpoints()
	var closeReader func()
	var err error
	if r.exporter, closeReader, err = openExporter(context.Background(), r.services, e.Firestore); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeReader)
	for i := range 9 {
		ws := []string{"ws1", "ws1", "ws2"}[i%3]
		_, err := r.firestore.Collection("VipUsers").Doc(fmt.Sprintf("user-%d", i)).Set(t.Context(), map[string]any{"workspaceId": ws, "mediumId": "m1", "ltv": float64(i)})
		if err != nil {
			t.Fatal(err)
		}
	}
	whole, err := r.store.Get(t.Context(), r.stage(t, "succeeded"))
	if err != nil {
		t.Fatal(err)
	}
	want := r.file(t, whole)
	docs := r.damage(t, *damageSample)
	r.others(t)
	w := r.startWorker(t, e.Firestore, e.PubSub, e.Storage)
	notify := func(d damaged) error {
		lane := jobs.QueueExports
		switch {
		case d.message.CallbackID != "":
			lane = jobs.QueueCallbacks
		case d.message.PlanEpoch > 0:
			lane = jobs.QueueParts
		}
		return r.queue.Publish(t.Context(), lane, d.message)
	}
	for _, d := range docs {
		if err := notify(d); err != nil {
			t.Fatal(err)
		}
	}
	rounds := r.untilEnded(t, w, docs)
	r.judge(t, docs, want, rounds)
	if st, err := r.store.Stats(t.Context()); err != nil {
		t.Errorf("Stats() = %v", err)
	} else if n := st.DeadLetters[jobs.QueueParts].Count + st.DeadLetters[jobs.QueueExports].Count; n > int64(len(docs)) {
		t.Errorf("%d dead letters for %d documents", n, len(docs))
	}
	for _, l := range []jobs.List{{PageSize: 100}, {OrgID: "org-1", PageSize: 100}} {
		if _, err := r.store.List(t.Context(), l); err != nil {
			t.Errorf("List(%+v) = %v", l, err)
		}
	}
	if _, err := r.store.Batches(t.Context(), 50); err != nil {
		t.Errorf("Batches() = %v", err)
	}
	peak := w.peak(t)
	t.Logf("worker's memory at its most: %d MiB", peak>>20)
	if peak > 200<<20 && !raceEnabled {
		t.Errorf("the worker grew to %d MiB", peak>>20)
	}
	w.stop(t)
}

// noProgress is how many rounds in a row may bring no end before what is left counts as stuck: an hour of the
// worker's, however slow the machine is. What nothing due leads to is found within a minute, but for what
// stands behind a page of such.
const noProgress = 40

// untilEnded puts the worker's clock forward, a minute and a half at a time, until all have ended.
func (r *damageRig) untilEnded(t *testing.T, w *damageProcess, docs []damaged) (rounds int) {
	t.Helper()
	tick := time.NewTicker(1500 * time.Millisecond)
	defer tick.Stop()
	rest, idle := docs, 0
	for rounds = 1; idle < noProgress; rounds++ {
		<-tick.C
		if w.ended.Load() {
			t.Fatal("the worker died")
		}
		ahead := 90 * rounds
		r.clock.ahead.Store(int64(ahead) * int64(time.Second))
		_, _ = fmt.Fprintln(w.clock, ahead)
		open := r.open(t, rest)
		if idle++; len(open) < len(rest) {
			idle = 0
		}
		if rest = open; len(rest) == 0 {
			break
		}
	}
	return rounds
}

// open lists the documents that keep somebody waiting.
func (r *damageRig) open(t *testing.T, docs []damaged) (open []damaged) {
	t.Helper()
	for page := range slices.Chunk(docs, 100) {
		var refs []*firestore.DocumentRef
		for _, d := range page {
			refs = append(refs, r.firestore.Collection("ExportJobs").Doc(d.job), d.ref)
		}
		got, err := r.firestore.GetAll(t.Context(), refs)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range page {
			state, _ := got[2*i].DataAt("state")
			if s, _ := state.(string); got[2*i].Exists() && !jobs.State(s).Ended() && !d.foreign {
				open = append(open, d)
			} else if own, _ := got[2*i+1].DataAt("state"); d.message.CallbackID != "" && own == string(jobs.CallbackPending) && !d.foreign {
				if tries, _ := got[2*i+1].DataAt("attempt"); tries == int64(0) {
					open = append(open, d)
				}
			}
		}
	}
	return open
}

// judge holds every document's end against what may come of it.
func (r *damageRig) judge(t *testing.T, docs []damaged, want []byte, rounds int) {
	t.Helper()
	stages, values := damageTable{}, damageTable{}
	open := r.open(t, docs)
	for _, d := range docs {
		j, err := r.store.Get(t.Context(), d.job)
		if err != nil {
			t.Errorf("%s: Get() = %v", d.what, err)
			continue
		}
		end := "still right"
		switch {
		case slices.ContainsFunc(open, func(o damaged) bool { return o.what == d.what }):
			end = "stuck"
			t.Errorf("still open: %s", d.what)
		case d.foreign:
			end = "another build's"
		case j.Error != nil && j.Error.Code == jobs.CodeInvalidJob:
			end = "INVALID_JOB"
		case d.message.CallbackID != "":
			if doc, err := d.ref.Get(t.Context()); err != nil {
				t.Errorf("%s: %v", d.what, err)
			} else if state, _ := doc.DataAt("state"); state == string(jobs.CallbackDamaged) {
				end = "said damaged"
			}
		case j.Error != nil && d.stage != "failed" && d.stage != "callback":
			end = "other failure"
		case j.State == jobs.Succeeded:
			if got := r.file(t, j); !bytes.Equal(got, want) || j.Result.Rows != 6 {
				end = "wrong file"
				t.Errorf("%s: the file is %q, want %q", d.what, got, want)
			}
		}
		stages.count(d.stage, end)
		values.count(d.value, end)
	}
	t.Logf("%d documents, %d rounds of the rescuer\n%s\n%s", len(docs), rounds, stages, values)
	if due, err := r.store.DueBatches(t.Context(), r.clock.Now(), 10); err != nil || len(due) > 0 {
		t.Errorf("batches that are due for ever: %d, %v", len(due), err)
	}
}

// damageTable counts ends by what was damaged.
type damageTable map[string]map[string]int

func (d damageTable) count(row, end string) {
	if d[row] == nil {
		d[row] = map[string]int{}
	}
	d[row][end]++
	d[row]["tried"]++
}

func (d damageTable) String() string {
	ends := []string{"tried", "INVALID_JOB", "said damaged", "other failure", "still right", "another build's", "stuck", "wrong file"}
	var out strings.Builder
	fmt.Fprintf(&out, "%-24s", "")
	for _, end := range ends {
		fmt.Fprintf(&out, "%16s", end)
	}
	total := map[string]int{}
	line := func(name string, row map[string]int) {
		fmt.Fprintf(&out, "\n%-24s", name)
		for _, end := range ends {
			fmt.Fprintf(&out, "%16d", row[end])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d)) {
		line(name, d[name])
		for end, n := range d[name] {
			total[end] += n
		}
	}
	line("all", total)
	return out.String()
}

// file reads the result of a job.
func (r *damageRig) file(t *testing.T, j *jobs.Job) []byte {
	t.Helper()
	in, err := r.objects.NewReader(t.Context(), j.Result.Object, 0)
	if err != nil {
		t.Errorf("the file of job %s: %v", j.ID, err)
		return nil
	}
	defer func() { _ = in.Close() }()
	data, err := io.ReadAll(in)
	if err != nil {
		t.Error(err)
	}
	return data
}
