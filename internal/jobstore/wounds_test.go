package jobstore_test

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"exportd/internal/jobstore"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/telemetry"
	"exportd/jobs"
	"exportd/jobs/jobstest"
)

// woundSample is of the damages of each document; all of them take about a minute.
var woundSample = flag.Int("damage.sample", 25, "try so many damages of each document, 0 for all")

// ward is a kind of document and how it is read.
type ward struct {
	kind telemetry.DocumentKind
	// make makes a whole document, and heal makes it whole again.
	make func(w *wardRig) *firestore.DocumentRef
	// read reads it in each way that there is, and fails where that is of harm to anybody.
	read func(w *wardRig, wound localcloudtest.Wound) error
}

type wardRig struct {
	bench
	t   *testing.T
	ref *firestore.DocumentRef
	ids []string
	n   int
}

func (w *wardRig) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *wardRig) lease(id string) *firestore.DocumentRef {
	return w.client.Collection("ExportLeases").Doc(id)
}

// only gives the one document of a collection.
func (w *wardRig) only(collection string) *firestore.DocumentRef {
	w.t.Helper()
	docs, err := w.client.Collection(collection).Documents(w.t.Context()).GetAll()
	if err != nil || len(docs) != 1 {
		w.t.Fatalf("%d documents in %s, %v", len(docs), collection, err)
	}
	return docs[0].Ref
}

var keyed = func() jobs.Submission { s := request("org1", 1); s.IdempotencyKey = "k"; return s }()

// submitted is for pointers: whoever asks gets a job of its own org and request.
func submitted(w *wardRig, s jobs.Submission) error {
	got, err := w.Submit(w.t.Context(), s)
	if err != nil {
		return err
	}
	if j := got.Job; j.OrgID != s.OrgID || j.Fingerprint != jobs.Fingerprint(s.OrgID, s.Kind, 1, s.Params) || j.State != jobs.Queued {
		return fmt.Errorf("a request of %s was given %+v", s.OrgID, j)
	}
	return nil
}

var wards = map[string]ward{
	"ExportFingerprints": {telemetry.FingerprintDocument, func(w *wardRig) *firestore.DocumentRef {
		w.submit(w.t, request("org1", 1))
		return w.only("ExportFingerprints")
	}, func(w *wardRig, _ localcloudtest.Wound) error { return submitted(w, request("org1", 1)) }},
	"ExportIdempotency": {telemetry.IdempotencyDocument, func(w *wardRig) *firestore.DocumentRef {
		w.submit(w.t, keyed)
		return w.only("ExportIdempotency")
	}, func(w *wardRig, _ localcloudtest.Wound) error { return submitted(w, keyed) }},
	"ExportCallbackReceivers": {telemetry.ReceiverDocument, func(w *wardRig) *firestore.DocumentRef {
		w.must(w.ChangeReceiver(w.t.Context(), "org1", "https://x.example", "https://x.example", func(r *jobs.Receiver) {
			now := w.clock.Now()
			*r = jobs.Receiver{FailingSince: now, LastFailure: now, Exhausted: 3, Suspended: true, SuspendedAt: now, Why: "fails"}
		}))
		return w.only("ExportCallbackReceivers")
	}, readReceiver},
	"ExportLeases role": {telemetry.LeaseDocument, func(w *wardRig) *firestore.DocumentRef {
		ok, err := w.HoldPartition(w.t.Context(), 0, "w1")
		if w.must(err); !ok {
			w.t.Fatal("not held")
		}
		return w.lease("role-rescuer-0")
	}, func(w *wardRig, _ localcloudtest.Wound) error {
		if _, held, err := w.Partitions(w.t.Context(), 1); err != nil || len(held[0].Owner) > 1500 {
			return fmt.Errorf("Partitions() = %v", err)
		}
		w.clock.Pass(jobs.RoleTTL + 11*time.Second) // the skew on both sides, and a second
		w.n++
		if ok, err := w.HoldPartition(w.t.Context(), 0, fmt.Sprint("w", w.n)); err != nil || !ok {
			return fmt.Errorf("HoldPartition() = %t, %w", ok, err)
		}
		return nil
	}},
	"ExportLeases worker": {telemetry.LeaseDocument, func(w *wardRig) *firestore.DocumentRef {
		w.must(w.ShowAlive(w.t.Context(), jobs.Worker{ID: "w1", Slots: jobs.Slots{Jobs: 4, Parts: 8}}, time.Minute))
		return w.lease("worker-w1")
	}, func(w *wardRig, _ localcloudtest.Wound) error {
		alive, err := w.Alive(w.t.Context())
		for _, one := range alive {
			if one.ID == "" || len(one.ID) > 1500 {
				return fmt.Errorf("a worker is called %.20q", one.ID)
			}
			if n := one.Slots; min(n.Jobs, n.Parts) < 0 || max(n.Jobs, n.Parts) > jobs.MaxSlots {
				return fmt.Errorf("a worker has %+v", n)
			}
		}
		return err
	}},
	"ExportLeases queue": {telemetry.LeaseDocument, func(w *wardRig) *firestore.DocumentRef {
		w.must(w.SetPaused(w.t.Context(), jobs.QueueParts, true, "me", "to look at it"))
		return w.lease("queue-" + string(jobs.QueueParts))
	}, func(w *wardRig, wound localcloudtest.Wound) error {
		paused, err := w.Paused(w.t.Context())
		p := paused[jobs.QueueParts]
		if err != nil || p.Paused != (wound.Field != "paused" || wound.What == "true") || len(p.Reason) > 4000 {
			return fmt.Errorf("Paused() = %t, %w", p.Paused, err)
		}
		return w.SetPaused(w.t.Context(), jobs.QueueParts, p.Paused, "me", "")
	}},
	"ExportLeases dead": {telemetry.LeaseDocument, func(w *wardRig) *firestore.DocumentRef {
		w.must(w.NoteDead(w.t.Context(), jobs.QueueParts, "x"))
		return w.lease("dead-" + string(jobs.QueueParts))
	}, func(w *wardRig, _ localcloudtest.Wound) error {
		if err := w.NoteDead(w.t.Context(), jobs.QueueParts, "y"); err != nil {
			return err
		}
		st, err := w.Stats(w.t.Context())
		if d := st.DeadLetters[jobs.QueueParts]; err != nil || d.Count < 1 || d.Reason != "y" {
			return fmt.Errorf("Stats() = %+v, %w", d, err)
		}
		return nil
	}},
	"ExportLeases rescuers": {telemetry.LeaseDocument, func(w *wardRig) *firestore.DocumentRef {
		w.must(w.Divide(w.t.Context(), func(d *jobs.Division) { d.Partitions, d.Workers = 4, 40 }))
		return w.lease("rescuers")
	}, func(w *wardRig, _ localcloudtest.Wound) error {
		s, err := w.Switches(w.t.Context())
		d := s.Division
		shards := 0
		for k := range d.Partitions {
			shards += len(d.Shards(k))
		}
		if err != nil || d.Partitions < 1 || d.Partitions > jobs.MaxPartitions || d.Workers < 1 || shards != jobs.Shards {
			return fmt.Errorf("Switches() = %+v, %w", d, err)
		}
		return w.Divide(w.t.Context(), func(*jobs.Division) {})
	}},
	"ExportPlaces": {telemetry.PlaceDocument, makePlace, readPlaces},
	"ExportPlaces free": {telemetry.PlaceDocument, func(w *wardRig) *firestore.DocumentRef {
		ref := makePlace(w)
		w.update(w.t, w.ids[0], func(tx *jobs.Tx) error { return tx.Cancel("") })
		return ref
	}, readFreePlaces},
	"ExportBatches": {telemetry.BatchDocument, func(w *wardRig) *firestore.DocumentRef {
		b, err := w.CreateBatch(w.t.Context(), jobs.BatchRequest{Reason: "r", Mode: jobs.RerunFresh, MaxPerSecond: 5, Filter: jobs.BatchFilter{OrgID: "none", State: jobs.Failed, Search: jobs.Search{Text: "quota", Slow: true, MinAttempts: 2}}})
		w.must(err)
		w.ids = []string{b.ID}
		return w.client.Collection("ExportBatches").Doc(b.ID)
	}, readBatch},
	"ExportBatches of callbacks": {telemetry.BatchDocument, func(w *wardRig) *firestore.DocumentRef {
		b, err := w.CreateBatch(w.t.Context(), jobs.BatchRequest{Reason: "r", MaxPerSecond: 5, Canary: true, Callbacks: &jobs.CallbackFilter{
			State: jobs.CallbackExhausted, OrgID: "org1", Origin: "https://r.example", CreatedAfter: w.clock.Now().Add(-time.Hour),
			Cause: jobs.Cause{Code: jobs.CauseExhausted, What: "https://r.example answers 503"}.ID(),
		}})
		w.must(err)
		w.ids = []string{b.ID}
		return w.client.Collection("ExportBatches").Doc(b.ID)
	}, readBatch},
	"ExportRollups": {telemetry.RollupDocument, func(w *wardRig) *firestore.DocumentRef {
		id := w.submit(w.t, request("org1", 1)).Job.ID
		w.update(w.t, id, func(tx *jobs.Tx) error { return tx.Cancel("no more") })
		return w.rollup("org1")
	}, readRollups},
	"ExportBudgets":   {telemetry.BudgetDocument, makeBudget, readBudget},
	"ExportCauses":    {telemetry.CauseDocument, makeCause, readCauses},
	"ExportAudit":     {telemetry.AuditDocument, makeAudit, readAudit},
	"ExportLinks":     {telemetry.LinksDocument, makeOrgLinks, readOrgLinks},
	"ExportDownloads": {telemetry.DownloadDocument, makeDownload, readDownloads},
	"events": {telemetry.EventDocument, func(w *wardRig) *firestore.DocumentRef {
		id := w.submit(w.t, request("org1", 1)).Job.ID
		w.update(w.t, id, func(tx *jobs.Tx) error { return tx.Cancel("no more") })
		w.ids = []string{id}
		return w.only("ExportJobs/" + id + "/events")
	}, func(w *wardRig, _ localcloudtest.Wound) error {
		events, err := w.Events(w.t.Context(), w.ids[0])
		for _, e := range events {
			if err := e.Check(w.clock.Now()); err != nil {
				return err
			}
		}
		return err
	}},
}

// rollup gives the one document of an org.
func (w *wardRig) rollup(org string) *firestore.DocumentRef {
	w.t.Helper()
	docs, err := w.client.Collection("ExportRollups").Documents(w.t.Context()).GetAll()
	docs = slices.DeleteFunc(docs, func(d *firestore.DocumentSnapshot) bool { return d.Data()["orgId"] != org })
	if err != nil || len(docs) != 1 {
		w.t.Fatalf("%d rollups of %q, %v", len(docs), org, err)
	}
	return docs[0].Ref
}

// readRollups: a damaged rollup tells less and never what cannot be, hides no other, and no end waits for it.
func readRollups(w *wardRig, wound localcloudtest.Wound) error {
	if at := wound.Field + wound.What; !slices.Contains(w.ids, at) { // once: it may add to the very document, which is another then
		w.ids = []string{at}
		id := w.submit(w.t, request("org1", 2)).Job.ID
		w.update(w.t, id, func(tx *jobs.Tx) error { return tx.Cancel("no more") })
	}
	hour := w.clock.Now().UTC().Truncate(time.Hour)
	for _, org := range []string{"", "org1"} {
		rs, err := w.Rollups(w.t.Context(), org, hour, hour.Add(time.Hour))
		if err != nil || len(rs) > 1 || org == "" && len(rs) == 0 {
			return fmt.Errorf("%d rollups of %q, %w", len(rs), org, err)
		}
		for _, r := range rs {
			for slot, kinds := range r.Slots {
				for kind, c := range kinds {
					for name, n := range c {
						if n < 0 || slot.Truncate(time.Hour) != hour || len(name) > 100 || kind != "" && !kind.Valid() {
							return fmt.Errorf("%s %s of %s is %d", kind, name, slot, n)
						}
					}
				}
			}
		}
	}
	_, _, err := w.TopRollups(w.t.Context(), hour)
	return err
}

func readReceiver(w *wardRig, _ localcloudtest.Wound) error {
	rs, err := w.Receivers(w.t.Context(), "org1", "https://x.example")
	if err != nil || len(rs[0].Why) > 300 || rs[0] != (jobs.Receiver{}) && rs[0].OrgID != "org1" {
		return fmt.Errorf("Receivers() = %w", err)
	}
	list, err := w.SuspendedReceivers(w.t.Context())
	for _, r := range list {
		if r != rs[0] {
			return fmt.Errorf("SuspendedReceivers() has one of %.30q", r.OrgID)
		}
	}
	if err != nil {
		return err
	}
	return w.ChangeReceiver(w.t.Context(), "org1", "https://x.example", "https://x.example", func(r *jobs.Receiver) {
		if r.FailingSince.IsZero() {
			r.FailingSince = w.clock.Now()
		}
		r.LastFailure = w.clock.Now()
	})
}

// makePlace makes the place of a job that runs, for which another waits.
func makePlace(w *wardRig) *firestore.DocumentRef {
	w.n++
	org := fmt.Sprint("org", w.n)
	w.ids = nil
	for month := range 2 {
		id := w.submit(w.t, request(org, month+1)).Job.ID
		_, err := w.claim(id)
		w.must(err)
		w.ids = append(w.ids, id)
	}
	docs, err := w.client.Collection("ExportPlaces").Documents(w.t.Context()).GetAll()
	w.must(err)
	for _, doc := range docs {
		if got, _ := doc.DataAt("orgId"); got == org {
			return doc.Ref
		}
	}
	w.t.Fatalf("no place of %s", org)
	return nil
}

// placeWait is how long a job may wait for a free place whose document is damaged: a few looks of the
// rescuer's, where it was an hour.
const placeWait = 12 * time.Minute

// readPlaces ends the job that had the place: the other is notified for it within placeWait, by what the
// rescuer does, and gets it.
func readPlaces(w *wardRig, wound localcloudtest.Wound) error {
	w.update(w.t, w.ids[0], func(tx *jobs.Tx) error { return tx.Cancel("") })
	return readFreePlaces(w, wound)
}

func readFreePlaces(w *wardRig, _ localcloudtest.Wound) error {
	for waited := time.Duration(0); ; waited += time.Minute {
		notified, err := w.rescuePlaces()
		if err != nil {
			return err
		}
		if notified {
			break
		}
		if waited > placeWait {
			return fmt.Errorf("the job that waits is not notified for %s", waited)
		}
		w.clock.Pass(time.Minute)
	}
	if runs, err := w.claim(w.ids[1]); err != nil || !runs {
		return fmt.Errorf("the job that waited runs: %t, %w", runs, err)
	}
	w.update(w.t, w.ids[1], func(tx *jobs.Tx) error { return tx.Cancel("") })
	return nil
}

// rescuePlaces does what is due for places, and what the looking through finds, and reports whether the job
// that waits was notified.
func (w *wardRig) rescuePlaces() (notified bool, err error) {
	page, err := w.Due(w.t.Context(), jobs.DuePlaces, jobs.AllShards(), w.clock.Now(), 100, nil)
	if err != nil {
		return false, err
	}
	for _, d := range page.Docs {
		var next []string
		if d.Foreign {
			err = w.Retire(w.t.Context(), d)
		} else {
			next, err = w.WakePlace(w.t.Context(), d)
		}
		if err != nil {
			return false, err
		}
		notified = notified || slices.Contains(next, w.ids[1])
	}
	found, _, _, err := w.Suspects(w.t.Context(), jobs.AuditQueued, "")
	for _, m := range found {
		w.update(w.t, m.JobID, func(tx *jobs.Tx) error {
			duty, err := tx.Wake()
			notified = notified || duty == jobs.NotifyJob && m.JobID == w.ids[1]
			return err
		})
	}
	return notified, err
}

func readBatch(w *wardRig, _ localcloudtest.Wound) error {
	b, _, err := w.Batch(w.t.Context(), w.ids[0])
	if err != nil || b.Check(w.clock.Now()) != nil && b.Schema == jobs.SchemaVersion {
		return fmt.Errorf("Batch() = %+v, %w", b, err)
	}
	if _, err := w.Batches(w.t.Context(), 50); err != nil {
		return err
	}
	if _, err := w.DueBatches(w.t.Context(), w.clock.Now(), 10); err != nil {
		return err
	}
	return nil
}

// TestWounds: a document of every small collection, damaged in every way, is of harm to nobody who reads it,
// and each is told of once.
func TestWounds(t *testing.T) {
	t.Parallel()
	for name, w := range wards {
		t.Run(name, func(t *testing.T) { t.Parallel(); w.tryAll(t) })
	}
}

func (d ward) tryAll(t *testing.T) {
	cloud := localcloudtest.Start(t)
	c := jobstest.NewClock()
	core, lines := observer.New(zap.WarnLevel)
	w := &wardRig{t: t, bench: bench{jobstore.New(jobstore.Config{
		Client: cloud.Firestore, Policy: policy(), Limits: jobs.Limits{RunningJobs: 1}, ReuseFor: time.Minute, Now: c.Now, Damage: telemetry.NewDamage(zap.New(core)),
	}), c, cloud.Firestore, nil}}
	w.ref = d.make(w)
	whole, err := w.ref.Get(t.Context())
	w.must(err)
	if err := d.read(w, localcloudtest.Wound{Field: "nothing"}); err != nil || lines.Len() > 0 {
		t.Fatalf("it is read whole: %v, %v", err, lines.All())
	}
	wounds := localcloudtest.Wounds(whole.Data(), *woundSample)
	told := 0
	for _, wound := range wounds {
		what := wound.Field + " = " + wound.What
		d.wound(w, whole.Data(), wound)
		lines.TakeAll()
		for range 2 {
			if err := d.read(w, wound); err != nil {
				t.Errorf("%s: %v", what, err)
				break
			}
			if d.kind == telemetry.PlaceDocument {
				break // its jobs have ended
			}
		}
		for _, l := range lines.All() {
			if l.ContextMap()["kind"] != string(d.kind) || len(fmt.Sprint(l.ContextMap())) > 1000 {
				t.Errorf("%s: the log says %.300v", what, l.ContextMap())
			}
		}
		if lines.Len() > 1 {
			t.Errorf("%s: told of %d times", what, lines.Len())
		}
		told += lines.Len()
	}
	t.Logf("%d damages, %d told of", len(wounds), told)
	if told < len(wounds)/4 {
		t.Errorf("of %d damages, %d were told of", len(wounds), told)
	}
}

// wound makes the document whole and then damages it.
func (d ward) wound(w *wardRig, whole map[string]any, wound localcloudtest.Wound) {
	if d.kind == telemetry.PlaceDocument {
		w.ref = d.make(w)
	} else {
		_, err := w.ref.Set(context.Background(), whole)
		w.must(err)
	}
	_, err := w.ref.Update(context.Background(), wound.Update())
	w.must(err)
}
