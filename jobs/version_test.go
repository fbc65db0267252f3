package jobs

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStepsLeadToTheLatest(t *testing.T) {
	if OldestSchema+len(steps) != SchemaVersion {
		t.Errorf("%d steps from version %d do not lead to %d", len(steps), OldestSchema, SchemaVersion)
	}
}

// later are steps as versions 2 to 4 might have: 2 has the request's id in another field, 3 changes parts
// alone, 4 has what 3 cannot express of jobs with a callback.
func later() []step {
	return []step{
		{job: form[Job]{
			up:   func(j *Job) { j.KeyID, j.RequestID = j.RequestID, "" },
			down: func(j *Job) bool { j.KeyID, j.RequestID = "", j.KeyID; return true },
		}},
		{part: form[Part]{up: func(p *Part) { p.Attempt++ }}},
		{job: form[Job]{
			up:   func(j *Job) { j.Attempt *= 10 },
			down: func(j *Job) bool { j.Attempt /= 10; return j.CallbackURL == "" },
		}},
	}
}

func ofJob(s step) form[Job]   { return s.job }
func ofPart(s step) form[Part] { return s.part }

// TestStored: a document is written as the oldest version that can express it and that is none before its
// own, and is read again as it was.
func TestStored(t *testing.T) {
	for what, c := range map[string]struct {
		schema int
		url    string
		want   int
		wire   Job
	}{
		"of the first, goes back":      {1, "", 1, Job{RequestID: "r", Attempt: 3}},
		"of the second, stays":         {2, "", 2, Job{KeyID: "r", Attempt: 3}},
		"of the third, nothing to do":  {3, "", 3, Job{KeyID: "r", Attempt: 3}},
		"of the last, stays":           {4, "", 4, Job{KeyID: "r", Attempt: 30}},
		"of the first, needs the last": {1, "https://a", 4, Job{KeyID: "r", Attempt: 30, CallbackURL: "https://a"}},
		"of none, as of the first":     {0, "", 1, Job{RequestID: "r", Attempt: 3}},
	} {
		latest := Job{KeyID: "r", Attempt: 30, CallbackURL: c.url}
		wire, schema := stored(later(), latest, c.schema, ofJob)
		if schema != c.want || !reflect.DeepEqual(wire, c.wire) {
			t.Errorf("%s: stored as version %d: %+v; want %d: %+v", what, schema, wire, c.want, c.wire)
		}
		if upgrade(later(), &wire, schema, ofJob); !reflect.DeepEqual(wire, latest) {
			t.Errorf("%s: read again: %+v, want %+v", what, wire, latest)
		}
	}
	if p, schema := stored(later(), Part{Attempt: 5}, 1, ofPart); schema != 3 || p.Attempt != 5 {
		t.Errorf("a part that never goes back is stored as version %d: %+v", schema, p)
	}
	for _, schema := range []int{-1, 0, 5, 7, 2000} {
		j := Job{RequestID: "r", Attempt: 3}
		if upgrade(later(), &j, schema, ofJob); j.RequestID != "r" || j.Attempt != 3 {
			t.Errorf("of version %d, which is not read, became %+v", schema, j)
		}
	}
}

// TestPartsRaiseTheirJob: a build that does not read a part does not touch its job either.
func TestPartsRaiseTheirJob(t *testing.T) {
	old := steps
	t.Cleanup(func() { steps = old })
	steps = later()
	j := &Job{Schema: 1, RequestID: "r"}
	parts := j.StoredWith([]*Part{{ID: "1-00000", Schema: 1}, {ID: "1-00001", Schema: 1}})
	if j.Schema != 3 || len(parts) != 2 || parts[0].Schema != 3 || parts[1].ID != "1-00001" {
		t.Errorf("job of version %d with parts %+v", j.Schema, parts)
	}
	if got := j.Stored().Schema; got != 3 {
		t.Errorf("the job is stored as version %d, want 3", got)
	}
}

// TestUnmoved are the fields by which documents are found and queried whatever their version, and those that
// callers are shown: of these no version may move one or give it another meaning.
func TestUnmoved(t *testing.T) {
	for _, c := range []struct {
		of     any
		fields string
	}{
		{Job{}, "schema rev orgId keyId kind params columns fingerprint state phase wakeAt shard createdAt startedAt finishedAt notBefore " +
			"attempt place batchId error result fileExpiresAt deletedAt snapshotTime planEpoch partsTotal partsDone rowsTotal rowsDone rowsFloor bytesDone"},
		{Part{}, "schema rev planEpoch index wakeAt shard begun rowsDone bytesDone exportLapsesAt"},
		{Callback{}, "schema rev jobId orgId origin state createdAt wakeAt shard exportLapsesAt"},
		{Batch{}, "schema rev wakeAt createdAt finishedAt"},
	} {
		var has []string
		for i := range reflect.TypeOf(c.of).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(c.of).Field(i).Tag.Get("firestore"), ",")
			has = append(has, name)
		}
		for _, name := range strings.Fields(c.fields) {
			if !slices.Contains(has, name) {
				t.Errorf("%T has no field %q any more, by which builds of other versions know it", c.of, name)
			}
		}
	}
}

// TestForeign: every transition refuses a job of a later version, and none takes it for damaged.
func TestForeign(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for state := range map[State]bool{Queued: true, Running: true, Succeeded: true} {
		j := &Job{ID: NewID(), Schema: SchemaVersion + 1, OrgID: "o", State: state, WakeAt: now}
		before := *j
		tx := NewTx(Policy{}, now, "a", j, nil)
		before.Shard = j.Shard // which it is found by
		for name, do := range map[string]func() error{
			"Claim":      func() error { _, err := tx.Claim("w"); return err },
			"Cancel":     func() error { return tx.Cancel("r") },
			"Delete":     func() error { return tx.Delete("r") },
			"Invalidate": tx.Invalidate,
			"Rerun":      func() error { _, err := tx.Rerun(RerunFresh, "r"); return err },
			"Wake":       func() error { _, err := tx.Wake(); return err },
			"GiveUp":     func() error { return tx.GiveUp(1, ErrInvalid) },
			"Refill":     func() error { _, err := tx.Refill(nil); return err },
		} {
			err := do()
			if name != "Invalidate" && !errors.Is(err, ErrUnknownSchema) || errors.Is(err, ErrInvalid) || err == nil {
				t.Errorf("%s of a %s job of a later version = %v", name, state, err)
			}
			if !reflect.DeepEqual(*j, before) || len(tx.Events) > 0 {
				t.Errorf("%s changed it: %+v", name, j)
			}
		}
		if !j.Foreign() || j.Abandoned(now.Add(abandonedAfter)) || !j.Abandoned(now.Add(abandonedAfter+1)) {
			t.Errorf("a %s job: foreign %t, abandoned when just due: %t", state, j.Foreign(), j.Abandoned(now.Add(abandonedAfter)))
		}
		if tx.Overdue() || tx.Forgotten() {
			t.Errorf("a %s job of a later version is taken for lost", state)
		}
	}
}

// TestFileParamsNeedVersion2: a job whose file a build of version 1 would make another way is none of its
// business, and every other one is.
func TestFileParamsNeedVersion2(t *testing.T) {
	plain := Params{"workspaceId": "w", ParamProfile: ProfileExcel, ParamFormulaGuard: false}
	for _, name := range append([]string{""}, laterFileParams...) {
		j, want := Job{Schema: OldestSchema, Params: plain}, 1
		if name != "" {
			j.Params, want = plain.With(name, "x"), 2
		}
		if got := j.Stored(); got.Schema != want || !reflect.DeepEqual(got.Params, j.Params) {
			t.Errorf("a job with %q is stored as version %d, want %d", name, got.Schema, want)
		}
	}
}

// TestBudgetsNeedVersion2: a build of version 1 would end a job and not settle what it has reserved.
func TestBudgetsNeedVersion2(t *testing.T) {
	for want, budget := range map[int]*Reservation{1: nil, 2: {Rows: 1}} {
		if j := (&Job{Schema: OldestSchema, Budget: budget}).Stored(); j.Schema != want || j.Budget != budget {
			t.Errorf("a job with %+v is stored as version %d, want %d", budget, j.Schema, want)
		}
	}
}

// TestBatchesOfCallbacksNeedVersion2: a build of version 1 leaves a batch of callbacks alone, which it would
// take for one of all jobs, and so does this build where the record has lost what tells them apart.
func TestBatchesOfCallbacksNeedVersion2(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	made := BatchRequest{Mode: RerunFresh, Actor: "op", Reason: "r", MaxPerSecond: 5}
	if got := NewBatch(made, now).Stored(); got.Schema != 1 || got.Check(now) != nil {
		t.Errorf("a batch of jobs is stored as version %d, %v; want 1", got.Schema, got.Check(now))
	}
	made.Mode, made.Callbacks = "", &CallbackFilter{State: CallbackExhausted}
	b := NewBatch(made, now).Stored()
	if b.Schema != 2 || b.Check(now) != nil {
		t.Errorf("a batch of callbacks is stored as version %d, %v; want 2", b.Schema, b.Check(now))
	}
	b.Callbacks = nil
	why := b.Check(now)
	if !errors.Is(why, ErrInvalid) {
		t.Fatalf("a batch of version 2 that is of no callbacks is %v, want ErrInvalid", why)
	}
	b.Invalidate(why, now)
	if again := b.Stored(); again.Check(now) != nil || again.FinishedAt.IsZero() || again.Schema != 2 {
		t.Errorf("ended as damaged it is %+v, %v, want it whole", again, again.Check(now))
	}
}
